/** HDF5 in a thread of its own, asked and answered in turn. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { TuneModeError } from '../../../src/errors';
import { MOST_JSON_BYTES } from '../../json-limits';
import { H5_PROGRAM } from './h5-program';

/** Milliseconds after which HDF5 is taken to be going round in circles, as it does in some damaged files. */
const LONGEST_CALL_MS = 15_000;
/** For calls that move numbers: a slice from a slow disk takes seconds. */
const LONGEST_TRANSFER_MS = 120_000;

/** What HDF5 says of a call that failed. */
export interface H5Failure {
  told: string;
  reason: string;
  /** Another file that the call wanted to open. */
  outside?: string;
}

/**
 * A thread for each file, for three reasons: HDF5 in wasm may abort or never return in a damaged file, and takes down
 * only its thread; its memory goes back when the thread ends; and h5wasm is an ES module, which CommonJS cannot load.
 */
export class H5Thread {
  private isBroken = false;
  private isClosed = false;

  private constructor(
    private readonly file: string,
    private readonly worker: Worker,
    private readonly port: MessagePort,
    /** Counts the answers. */
    private readonly signal: Int32Array,
  ) {}

  /** @throws TuneModeError `unsupported` where h5wasm is missing or does not start. */
  static async start(file: string): Promise<H5Thread> {
    const library = findLibrary();
    const { port1, port2 } = new MessageChannel();
    const state = new SharedArrayBuffer(4);
    const worker = new Worker(H5_PROGRAM, {
      eval: true,
      execArgv: [],
      env: {}, // HDF5 reads its environment, for plugins and external files
      workerData: { file, library, port: port2, state, longest: MOST_JSON_BYTES },
      transferList: [port2],
    });
    try {
      await new Promise((resolve, reject) => {
        worker.once('message', resolve).once('error', reject).once('exit', reject);
      });
    } catch (error) {
      port1.close();
      await worker.terminate();
      throw new TuneModeError(
        'unsupported',
        `'${file}' is an HDF5 file, and h5wasm, which reads and writes them, does not start here. Install again.`,
        { cause: error },
      );
    }
    worker.removeAllListeners();
    const thread = new H5Thread(file, worker, port1, new Int32Array(state));
    worker.on('error', () => {
      thread.isBroken = true;
    });
    worker.unref(); // whoever forgets `close` is not kept waiting
    port1.unref();
    return thread;
  }

  /**
   * Waits for the answer: a weight is read where it is asked for.
   * @throws what `fail` makes of a failure.
   */
  call<Result>(op: string, args: unknown[], fail: (failure: H5Failure) => TuneModeError): Result {
    if (this.isClosed) throw new TuneModeError('unsupported', `'${this.file}' was closed before this was read.`);
    if (this.isBroken) throw fail({ told: 'an earlier failure', reason: '' });
    const before = Atomics.load(this.signal, 0);
    const moved = args.filter(
      (arg): arg is ArrayBuffer => Object.prototype.toString.call(arg) === '[object ArrayBuffer]',
    );
    this.port.postMessage({ op, args }, moved);
    const longest = op === 'read' || op === 'write' || op === 'close' ? LONGEST_TRANSFER_MS : LONGEST_CALL_MS;
    const deadline = performance.now() + longest;
    // Woken is not answered: the call before may have seen its answer without waiting, and its wake comes only now.
    while (Atomics.load(this.signal, 0) === before) {
      if (Atomics.wait(this.signal, 0, before, Math.max(deadline - performance.now(), 0)) !== 'timed-out') continue;
      this.isBroken = true;
      void this.worker.terminate();
      throw fail({ told: `HDF5 did not come to an end within ${longest / 1000} s`, reason: '' });
    }
    const { message } = receiveMessageOnPort(this.port)!;
    if (message.error === undefined) return message.result;
    if (/abort|unreachable|out of bounds|memory access/i.test(message.error.told)) this.isBroken = true;
    throw fail(message.error);
  }

  /** Ends the thread, and with it all that it held open. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.port.close();
    await this.worker.terminate();
  }
}

/** h5wasm's Node build, which only an ES module's `import` could name: found as Node finds it, from folder to folder. */
function findLibrary(): string {
  for (let folder = path.dirname(fileURLToPath(import.meta.url)); ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'node_modules/h5wasm/dist/node/hdf5_hl.js');
    if (fs.existsSync(file)) return pathToFileURL(file).href;
    if (folder === path.dirname(folder)) {
      throw new TuneModeError(
        'unsupported',
        "h5wasm, which reads HDF5 files, is not installed. Run 'npm install h5wasm'.",
      );
    }
  }
}
