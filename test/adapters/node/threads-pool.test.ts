/** The pool itself: what happens when a kernel fails, when a thread ends, and when none can be started. */
import type { Worker } from 'node:worker_threads';
import { KernelPool } from '../../../adapters/node/threads/kernel-pool';
import { BUSY, CELL, EXITED, FIRST_THREAD_CELL } from '../../../adapters/node/threads/pool-programs';
import { compileSimd } from '../../../adapters/wasm/simd';

/** What tests reach for inside. */
interface Inside {
  cells: Int32Array;
  kernels: ((...args: number[]) => unknown)[];
  numbers: Map<string, number>;
  supervisor: Worker;
}
const inside = (pool: KernelPool) => pool as unknown as Inside;

const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
const floats = new Float32Array(memory.buffer);
const OUTSIDE = 2 ** 31;
const open: KernelPool[] = [];

async function start(threads: number): Promise<KernelPool> {
  const pool = await KernelPool.start(threads, compileSimd(true), memory);
  open.push(pool);
  return pool;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((pool) => pool.close()));
});

/** to[i] = 5 for each i, by a kernel that copies one number. */
function expectToCompute(pool: KernelPool, count = 1000): void {
  floats.fill(0);
  floats[0] = 5;
  pool.run(
    'repeatChannels',
    Array.from({ length: count }, (_, i) => [0, 1024 + 4 * i, 1, 1, 1]),
  );
  expect(floats.slice(256, 256 + count).every((value) => value === 5)).toBe(true);
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test.each([2, 4, 9])('%i threads do each task once, however many there are', async (threads) => {
  const pool = await start(threads);
  for (const count of [1, 2, 255, 256, 257, 1000]) expectToCompute(pool, count);
});

test('a kernel that fails tells why, on whichever thread, and the pool goes on', async () => {
  const pool = await start(3);
  for (let round = 0; round < 20; round++) {
    const failing = () =>
      pool.run(
        'repeatChannels',
        [...Array(8)].map(() => [OUTSIDE, 1024, 1, 1, 1]),
      ); // prettier-ignore
    expect(failing).toThrow(WebAssembly.RuntimeError);
    expect(failing).toThrow(/out of bounds/);
    expectToCompute(pool);
  }
});

test('where two threads fail, the first error is told and the other one forgotten', async () => {
  const pool = await start(2);
  const { cells, kernels, numbers } = inside(pool);
  const kernel = numbers.get('repeatChannels') as number;
  const original = kernels[kernel];
  kernels[kernel] = () => {
    while (Atomics.load(cells, CELL.failed) === 0);
    throw new Error('mine');
  };
  const task = [OUTSIDE, 1024, 1, 1, 1];
  expect(() => pool.run('repeatChannels', [task, task])).toThrow('mine');
  kernels[kernel] = original;
  expectToCompute(pool);
});

test('a kernel that does not exist', async () => {
  const pool = await start(2);
  expect(() => pool.run('nonsense', [[1]])).toThrow("There is no kernel 'nonsense'");
});

test('threads that end between jobs are done without', async () => {
  const pool = await start(3);
  inside(pool).supervisor.postMessage('end');
  const { cells } = inside(pool);
  for (let at = FIRST_THREAD_CELL; at < FIRST_THREAD_CELL + 4; at += 2) {
    while (Atomics.load(cells, at + EXITED) === 0) await later(5);
  }
  expectToCompute(pool);
  await pool.close();
  expectToCompute(pool);
});

test('a thread that ends in the middle of a task: an error, not a wait without end', async () => {
  const pool = await start(2);
  const { cells, kernels, numbers, supervisor } = inside(pool);
  const kernel = numbers.get('foldBatchNorm') as number;
  const original = kernels[kernel];
  // In this thread: waits until the other one has taken its task, and has it ended.
  kernels[kernel] = () => {
    while (Atomics.load(cells, FIRST_THREAD_CELL + BUSY) === 0);
    while (Atomics.load(cells, CELL.left) > 0);
    supervisor.postMessage('end');
  };
  // Four thousand million rounds of nothing: some seconds.
  const forLong = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 ** 32 - 1, 0, 2];
  const error = (() => {
    try {
      pool.run('foldBatchNorm', [forLong, forLong]);
    } catch (error) {
      return error;
    }
  })();
  expect(error).toMatchObject({ name: 'TuneModeError', code: 'backend-unavailable' });
  expect((error as Error).message).toMatch(/A thread of the wasm backend ended while it computed/);
  kernels[kernel] = original;
  expectToCompute(pool);
});

test('a module that the threads cannot start: the reason, and no thread is left', async () => {
  // The threads get a memory that is not shared, which cannot even be sent to them.
  const own = new WebAssembly.Memory({ initial: 1 });
  await expect(KernelPool.start(2, compileSimd(false), own)).rejects.toThrow(/could not be cloned/);
});
