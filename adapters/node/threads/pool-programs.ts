/**
 * What the pool's threads run, as strings: they must reach a thread from ESM, CommonJS and jest alike, without a file. And
 * the block of shared memory by which the main thread and they speak; see kernel-pool.ts for who does what.
 */

/** 32-bit cells of the control block. */
export const CELL = {
  /** Number of the job; threads sleep on it. */
  job: 0,
  /** Tasks that nobody has taken: whoever lowers it by one has taken the task of the new number. Below 0 there is none. */
  left: 1,
  /** Tasks that are not finished; the main thread sleeps on it. */
  running: 2,
  /** Threads that wait for jobs, counted as they start. */
  ready: 3,
  /** Which kernel, and how many arguments it takes. */
  kernel: 4,
  arity: 5,
  /** Bytes of the message of the first task that failed; 0: none did. */
  failed: 6,
} as const;

/** After the cells above, two for each thread. */
export const FIRST_THREAD_CELL = 8;
export const BUSY = 0; // the thread may have taken a task that it has not finished
export const EXITED = 1;

/** Doubles for each task, its arguments. No kernel takes more. */
export const TASK_SIZE = 24;
export const MESSAGE_BYTES = 512;

/** Where the parts of a control block begin, in bytes. */
export function layoutOf(helpers: number, maxTasks: number) {
  const message = 4 * (FIRST_THREAD_CELL + 2 * helpers);
  const tasks = Math.ceil((message + MESSAGE_BYTES) / 8) * 8;
  return { message, tasks, bytes: tasks + maxTasks * TASK_SIZE * 8 };
}

/**
 * A thread that computes. It never comes back to its event loop: a message would reach it too late.
 *
 * `busy` is set before a task is taken, so that no task can be lost with a thread that seems to have none.
 */
const HELPER = `
const { workerData: { module, memory, control, layout, names, spin, thread } } = require('node:worker_threads');
const { exports } = new WebAssembly.Instance(module, { env: { memory } });
const kernels = names.map((name) => exports[name]);
const cells = new Int32Array(control, 0, layout.message / 4);
const tasks = new Float64Array(control, layout.tasks);
const busy = ${FIRST_THREAD_CELL} + 2 * thread + ${BUSY};
function fail(error) {
  const bytes = new TextEncoder().encode(String(error && error.message || error)).slice(0, ${MESSAGE_BYTES});
  if (Atomics.compareExchange(cells, ${CELL.failed}, 0, -1) !== 0) return;
  new Uint8Array(control, layout.message).set(bytes);
  Atomics.store(cells, ${CELL.failed}, Math.max(1, bytes.length));
}
let job = Atomics.load(cells, ${CELL.job});
Atomics.add(cells, ${CELL.ready}, 1);
for (;;) {
  for (let i = 0; i < spin && Atomics.load(cells, ${CELL.job}) === job; i++);
  Atomics.wait(cells, ${CELL.job}, job);
  job = Atomics.load(cells, ${CELL.job});
  Atomics.store(cells, busy, 1);
  for (;;) {
    const task = Atomics.sub(cells, ${CELL.left}, 1) - 1;
    if (task < 0) break;
    const at = task * ${TASK_SIZE};
    const args = [];
    for (let i = 0; i < cells[${CELL.arity}]; i++) args.push(tasks[at + i]);
    try {
      kernels[cells[${CELL.kernel}]](...args);
    } catch (error) {
      fail(error);
    }
    if (Atomics.sub(cells, ${CELL.running}, 1) === 1) Atomics.notify(cells, ${CELL.running});
  }
  Atomics.store(cells, busy, 0);
}`;

/**
 * The thread that starts the others and does nothing more but notice when one ends. The main thread could not: while it
 * waits for a task it is deaf to events.
 *
 * A message, whatever it says, ends all of them.
 */
export const SUPERVISOR = `
const { parentPort, Worker, workerData } = require('node:worker_threads');
const cells = new Int32Array(workerData.control, 0, workerData.layout.message / 4);
const helpers = Array.from({ length: workerData.helpers }, (_, thread) => {
  const helper = new Worker(${JSON.stringify(HELPER)}, {
    eval: true, execArgv: [], name: 'kernels', workerData: { ...workerData, thread },
  });
  let reason = 'it ended by itself';
  helper.on('error', (error) => { reason = String(error && error.message || error); });
  helper.on('exit', () => {
    Atomics.store(cells, ${FIRST_THREAD_CELL} + 2 * thread + ${EXITED}, 1);
    Atomics.notify(cells, ${CELL.running});
    parentPort.postMessage(reason);
  });
  return helper;
});
parentPort.once('message', () => {
  Promise.all(helpers.map((helper) => helper.terminate())).then(() => parentPort.close());
});`;
