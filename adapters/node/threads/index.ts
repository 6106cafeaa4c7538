/** The wasm backend on several threads: tfjs's own for XNNPACK's operations, and ours for the training kernels. */
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { registerBackend, removeBackend } from '@tensorflow/tfjs-core';
import { compileSimd, useParallelKernels } from '../../wasm/simd';
import { KernelPool } from './kernel-pool';
import { parallelKernels } from './parallel-kernels';
import { THREADS } from './running';
import { startThreadedModule, type ThreadedModule } from './threaded-wasm';

/**
 * Registers the backend 'wasm' on `threads` threads, for `tf.setBackend('wasm')` to take. Kernels stay registered.
 * @param threads How many are to compute, the main one included: 2 or more.
 * @throws Error where they cannot be started. Everything is as before then, and the plain backend can be used.
 */
export async function registerThreadedWasm(threads: number): Promise<void> {
  const { BackendWasm } = await import('@tensorflow/tfjs-backend-wasm');
  const module = await startThreadedModule(threads);
  let pool: KernelPool;
  try {
    pool = await KernelPool.start(threads, compileSimd(true), module.wasmMemory);
  } catch (error) {
    module.PThread.terminateAllThreads();
    throw error;
  }
  Object.assign(module, { [THREADS]: threads });
  useParallelKernels(module, (kernels) => parallelKernels(kernels, pool, module));
  closeWithBackend(module, pool);
  removeBackend('wasm');
  registerBackend('wasm', () => new (BackendWasm as new (module: unknown) => BackendWasm)(module), 2);
}

/** Our threads end when tfjs's do: as the backend is disposed. */
function closeWithBackend({ PThread }: ThreadedModule, pool: KernelPool): void {
  const terminate = PThread.terminateAllThreads.bind(PThread);
  PThread.terminateAllThreads = () => {
    terminate();
    void pool.close();
  };
}
