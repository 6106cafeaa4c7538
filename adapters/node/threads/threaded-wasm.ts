/**
 * The wasm backend's binary that computes on several threads, started in Node.
 *
 * tfjs ships a binary with XNNPACK's thread pool but never loads it in Node (tfjs issue 3830: the loader is handed Blob
 * URLs there, which Node's workers do not take). The loader itself works in Node, called with files and with threads of
 * our making; that is all that is done here. Nothing in node_modules is changed, and globals and process listeners are as
 * before afterwards.
 */
import { readFile } from 'node:fs/promises';
import { withoutEmscriptenListeners } from '../crash-listeners';
import { LoaderThread, NoThread } from './loader-thread';
import type { Heap } from './parallel-kernels';

/** What XNNPACK's pool accepts in tfjs 4.22.0 (`max_num_threads` in its backend.cc). */
const MAX_THREADS = 4;

/** Milliseconds within which all threads must have answered. They take about 100. */
const START_TIMEOUT = 20_000;

/** The parts of Emscripten's module that are used here. The loader completes the very object that it is given. */
export interface ThreadedModule extends Heap {
  /** Shared among threads. It grows in place: a view sees only what was there when it was made. */
  wasmMemory: WebAssembly.Memory;
  asm: Record<string, (...args: number[]) => number>;
  PThread: { unusedWorkers: unknown[]; terminateAllThreads(): void };
  tfjs?: object;
}
type Imports = Record<string, Record<string, WebAssembly.ImportValue>>;
type Receive = (instance: WebAssembly.Instance, module: WebAssembly.Module) => void;

/**
 * @param wanted How many threads are to compute, the main one included; XNNPACK itself uses four of them at most.
 * @returns What tfjs's `BackendWasm` is made from.
 * @throws Error where the threads cannot be started; none is left then.
 */
export async function startThreadedModule(wanted: number): Promise<ThreadedModule> {
  const threads = Math.min(wanted, MAX_THREADS);
  const folder = '@tensorflow/tfjs-backend-wasm/wasm-out';
  const [loaderFile, programFile] = await Promise.all([
    import(`${folder}/tfjs-backend-wasm-threaded-simd.js`),
    import(`${folder}/tfjs-backend-wasm-threaded-simd.worker.js`),
  ]);
  const loader: (config: object) => Promise<ThreadedModule> = loaderFile.default ?? loaderFile;
  // Written for a template literal within a template literal: one line break is one escape short.
  const program: string = (programFile.default ?? programFile).wasmWorkerContents.replace(/\n/g, '\\n');

  let onEnd: (reason: unknown) => void = () => {};
  const failing = new Promise<never>((_, reject) => {
    onEnd = reject;
  });
  failing.catch(() => {}); // where the loader has thrown already
  const started: LoaderThread[] = [];
  const config = configOf(
    threads,
    () => {
      if (started.length >= threads - 1) return new NoThread();
      const thread = new LoaderThread(program, (reason) => onEnd(reason));
      started.push(thread);
      return thread;
    },
    (reason) => onEnd(reason),
  );
  const timer = setTimeout(() => onEnd(new Error('its threads do not answer')), START_TIMEOUT);
  try {
    const loading = withoutEmscriptenListeners(() => withoutGlobalWorker(() => loader(config)));
    // Where nobody answers that it has loaded, the loader waits for ever.
    if (started.length === 0) (config as ThreadedModule).PThread.unusedWorkers = [new NoThread()];
    else (config as ThreadedModule).PThread.unusedWorkers = [...started];
    const module = await Promise.race([loading, failing]);
    const { asm } = module;
    // With a thread missing, every operation would wait for its share for ever.
    onEnd = () => asm.init_with_threads_count(1);
    module.tfjs = {
      init: asm.init,
      // Returns when all threads wait for work; whatever number tfjs would ask for.
      initWithThreadsCount: () => asm.init_with_threads_count(threads),
      getThreadsCount: asm.get_threads_count,
      registerTensor: asm.register_tensor,
      disposeData: asm.dispose_data,
      // Not the loader's own wrapper of it, which takes away the crash listeners of everybody.
      dispose: asm.dispose,
    };
    return module;
  } catch (error) {
    for (const thread of started) thread.terminate();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function configOf(threads: number, newThread: () => object, fail: (reason: unknown) => void): object {
  let binary = '';
  // A function, as its result is then what `new` gives.
  function NewWorker(): object {
    return newThread();
  }
  return {
    locateFile(name: string, prefix: string): string {
      if (name.endsWith('.wasm')) binary = prefix + name;
      // Asked just before each `new Worker`, of which the loader makes eight, whatever is needed, and all of them
      // before it returns.
      else (globalThis as { Worker?: unknown }).Worker = NewWorker;
      return prefix + name;
    },
    instantiateWasm(imports: Imports, receive: Receive): object {
      // As it starts, the binary bounds its pool by half the cores that it sees.
      imports.env.emscripten_num_logical_cores = () => 2 * threads;
      readFile(binary)
        .then((bytes) => WebAssembly.instantiate(withShortSpin(bytes), imports))
        .then(({ instance, module }) => receive(instance, module))
        .catch(fail);
      return {};
    },
    printErr(): void {}, // it prints only what it also throws
  };
}

/** Puts back the global that the loader is led by, as soon as it has made its threads. */
function withoutGlobalWorker<T>(run: () => T): T {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'Worker');
  try {
    return run();
  } finally {
    if (before) Object.defineProperty(globalThis, 'Worker', before);
    else Reflect.deleteProperty(globalThis, 'Worker');
  }
}

/**
 * XNNPACK's threads look for work a million times after each operation, about 0.6 ms, before they sleep: on a machine
 * whose cores are all in use, as ours are by our own threads, they take them from whoever computes. Two thousand times
 * make short operations that follow each other closely a little slower, and everything else faster.
 * The number stands three times in the binary (4.22.0); any other binary is left alone.
 */
function withShortSpin(binary: Uint8Array): Uint8Array<ArrayBuffer> {
  const million = [0x41, 0xc0, 0x84, 0x3d]; // i32.const 1000000
  const fewer = [0x41, 0xd0, 0x8f, 0x00]; // i32.const 2000, in as many bytes
  const bytes = new Uint8Array(binary);
  const at: number[] = [];
  for (let i = bytes.indexOf(0x41); i >= 0; i = bytes.indexOf(0x41, i + 1)) {
    if (million.every((byte, k) => bytes[i + k] === byte)) at.push(i);
  }
  if (at.length === 3) for (const i of at) bytes.set(fewer, i);
  return bytes;
}
