import { Worker } from 'node:worker_threads';

/** What tfjs's loader sets on a thread, and calls when the thread says something. */
type Listener = (event: { data: unknown }) => void;

/**
 * What tfjs's loader takes for a web worker: a thread of Node that never keeps the process alive once it has started, and
 * whose failure is told to us. The loader would throw it from an event listener, which ends the process.
 */
export class LoaderThread {
  /** Set by the loader, as are properties of its own. */
  onmessage?: Listener;
  private readonly worker: Worker;
  private ended = false;

  /** @param onEnd Called if the thread ends, unless it was asked to. */
  constructor(program: string, onEnd: (reason: Error) => void) {
    // Without the flags of this process: a loader of TypeScript, say, has no business in there.
    this.worker = new Worker(program, { eval: true, execArgv: [], name: 'tfjs-wasm' });
    this.worker.on('message', (data) => this.onmessage?.({ data }));
    this.worker.on('error', onEnd);
    this.worker.on('exit', (code) => {
      if (!this.ended) onEnd(new Error(`a thread of it ended with code ${code}`));
    });
  }

  postMessage(message: unknown): void {
    this.worker.postMessage(message);
  }

  /** Called when the thread has loaded the binary. */
  unref(): void {
    this.worker.unref();
  }

  /** The loader asks for it when the thread begins to wait for work, which it will never end. */
  ref(): void {}

  /** Messages and errors are handled above. */
  on(): void {}

  terminate(): void {
    this.ended = true;
    void this.worker.terminate();
  }
}

/** Stands where the loader wants a thread that will not be needed. */
export class NoThread {
  onmessage?: Listener;

  postMessage(): void {
    queueMicrotask(() => this.onmessage?.({ data: { cmd: 'loaded' } }));
  }

  unref(): void {}
  on(): void {}
  terminate(): void {}
}
