import { engine } from '@tensorflow/tfjs-core';

/**
 * Where the number of threads is written down: on the backend's module, as this package can be loaded twice in one process
 * (as ESM and as CommonJS), while tfjs has one backend.
 */
export const THREADS = Symbol.for('tfjs-tune-mode.threads');

/** @returns On how many threads the wasm backend runs; undefined where it does not run yet. */
export function runningThreads(): number | undefined {
  const { wasm } = engine().registry as { wasm?: { wasm?: { [THREADS]?: number } } };
  return wasm === undefined ? undefined : (wasm.wasm?.[THREADS] ?? 1);
}
