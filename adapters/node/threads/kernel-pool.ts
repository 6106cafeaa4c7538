/**
 * Threads of our own that run the SIMD kernels on the backend's shared memory, beside the main thread.
 *
 * A job is one kernel with several lists of arguments, the tasks. All threads, the main one included, take tasks until none
 * is left: a thread that wakes late, or shares its core with another program, delays nobody. `run` returns when all tasks
 * are done. Between jobs the threads sleep.
 *
 * A thread that ends between jobs is done without, as the others take its share. One that ends in the middle of a task,
 * which only another program's hand can bring about, leaves numbers unwritten: then `run` throws.
 */
import { Worker } from 'node:worker_threads';
import { TuneModeError } from '../../../src/errors';
import { BUSY, CELL, EXITED, FIRST_THREAD_CELL, layoutOf, SUPERVISOR, TASK_SIZE } from './pool-programs';

/** How often a thread looks before it goes to sleep: about 100 µs, what passes between two kernels. Waking one takes 50. */
const SPIN = 30_000;

/** Milliseconds within which all threads must have started. They take about 50. */
const START_TIMEOUT = 20_000;

/** Milliseconds after which the main thread, waiting for a task, looks whether all threads are still there. */
const LOOK_AFTER = 100;

const MAX_TASKS = 256;

type KernelFunction = (...args: number[]) => unknown;

export class KernelPool {
  private readonly cells: Int32Array;
  private readonly tasks: Float64Array;
  private readonly message: Uint8Array;
  private readonly numbers: Map<string, number>;

  private constructor(
    /** How many compute, the main one included. */
    readonly threads: number,
    private readonly kernels: readonly KernelFunction[],
    names: readonly string[],
    control: SharedArrayBuffer,
    private readonly supervisor: Worker,
  ) {
    const layout = layoutOf(threads - 1, MAX_TASKS);
    this.cells = new Int32Array(control, 0, layout.message / 4);
    this.message = new Uint8Array(control, layout.message, layout.tasks - layout.message);
    this.tasks = new Float64Array(control, layout.tasks);
    this.numbers = new Map(names.map((name, i) => [name, i]));
  }

  /**
   * @param threads how many are to compute, the main one included: 2 or more.
   * @param module imports its memory as `env.memory`, and keeps nothing there of its own.
   * @throws Error where a thread cannot be started; none is left then.
   */
  static async start(threads: number, module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<KernelPool> {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const names = Object.keys(exports).filter((name) => typeof exports[name] === 'function');
    const kernels = names.map((name) => exports[name] as KernelFunction);
    const layout = layoutOf(threads - 1, MAX_TASKS);
    const control = new SharedArrayBuffer(layout.bytes);
    const workerData = { module, memory, control, layout, names, spin: SPIN, helpers: threads - 1 };
    // Without the flags of this process: a loader for TypeScript, say, has no business in there.
    const supervisor = new Worker(SUPERVISOR, { eval: true, execArgv: [], workerData, name: 'kernels' });
    try {
      await readiness(supervisor, new Int32Array(control), threads - 1);
    } catch (error) {
      await supervisor.terminate();
      throw error;
    }
    supervisor.unref();
    return new KernelPool(threads, kernels, names, control, supervisor);
  }

  /**
   * Runs a kernel once for each list of arguments, in any order and at the same time: none may write what another reads or
   * writes.
   * @throws whatever the first kernel that failed threw; TuneModeError `backend-unavailable` if a thread ended in a task.
   */
  run(kernel: string, tasks: readonly (readonly number[])[]): void {
    const number = this.numbers.get(kernel);
    if (number === undefined) throw new Error(`There is no kernel '${kernel}'.`);
    for (let from = 0; from < tasks.length; from += MAX_TASKS)
      this.runSome(number, tasks.slice(from, from + MAX_TASKS));
  }

  /** Ends the threads. What is run afterwards, the main thread does alone. */
  async close(): Promise<void> {
    if (this.supervisor.threadId < 0) return; // it has ended
    const ended = new Promise((resolve) => this.supervisor.once('exit', resolve));
    this.supervisor.ref();
    this.supervisor.postMessage('end');
    await ended;
  }

  private runSome(kernel: number, list: readonly (readonly number[])[]): void {
    const { cells, tasks } = this;
    list.forEach((args, i) => {
      tasks.set(args, i * TASK_SIZE);
    });
    cells[CELL.kernel] = kernel;
    cells[CELL.arity] = list[0].length;
    Atomics.store(cells, CELL.running, list.length);
    Atomics.store(cells, CELL.left, list.length); // from here on they are taken
    Atomics.add(cells, CELL.job, 1);
    Atomics.notify(cells, CELL.job);
    let failure: unknown;
    for (;;) {
      const task = Atomics.sub(cells, CELL.left, 1) - 1;
      if (task < 0) break;
      try {
        this.kernels[kernel](...list[task]);
      } catch (error) {
        failure ??= error;
      }
      Atomics.sub(cells, CELL.running, 1);
    }
    this.waitForOthers();
    const failureOfOthers = this.failureOfOthers(); // taken away in any case: the next job is to begin without
    failure ??= failureOfOthers;
    if (failure !== undefined) throw failure;
  }

  private waitForOthers(): void {
    const { cells } = this;
    for (let i = 0; i < SPIN; i++) if (Atomics.load(cells, CELL.running) === 0) return;
    for (;;) {
      const running = Atomics.load(cells, CELL.running);
      if (running === 0) return;
      // Not before the other threads are done: whoever is told of the error may free the memory that they write to.
      const lost = this.lostTasks();
      if (lost.length >= running) {
        for (const thread of lost) Atomics.store(cells, thread + BUSY, 0);
        throw new TuneModeError(
          'backend-unavailable',
          'A thread of the wasm backend ended while it computed, so this result is lost. Nothing in this package ends it; ' +
            'start the process anew, with threads: 1 if it happens again.',
        );
      }
      Atomics.wait(cells, CELL.running, running, LOOK_AFTER);
    }
  }

  /** The threads that have ended with a task, one each. */
  private lostTasks(): number[] {
    const lost: number[] = [];
    for (let at = FIRST_THREAD_CELL; at < FIRST_THREAD_CELL + 2 * (this.threads - 1); at += 2) {
      if (Atomics.load(this.cells, at + EXITED) === 1 && Atomics.load(this.cells, at + BUSY) === 1) lost.push(at);
    }
    return lost;
  }

  private failureOfOthers(): Error | undefined {
    const bytes = Atomics.exchange(this.cells, CELL.failed, 0);
    if (bytes === 0) return undefined;
    // A copy: TextDecoder takes no shared memory.
    return new WebAssembly.RuntimeError(new TextDecoder().decode(this.message.slice(0, bytes)));
  }
}

/**
 * Resolves when all threads wait for jobs. They cannot send a message, as they never come back to their event loops. The
 * listeners stay: without one, an error of a thread would end the process.
 */
async function readiness(supervisor: Worker, cells: Int32Array, helpers: number): Promise<void> {
  let failed: Error | undefined;
  supervisor.on('message', (reason) => {
    failed ??= new Error(reason);
  });
  supervisor.on('error', (error) => {
    failed ??= error;
  });
  supervisor.on('exit', (code) => {
    failed ??= new Error(`a thread ended with code ${code}`);
  });
  const deadline = performance.now() + START_TIMEOUT;
  while (Atomics.load(cells, CELL.ready) < helpers) {
    if (failed !== undefined) throw failed;
    if (performance.now() > deadline) throw new Error('its threads do not answer');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
