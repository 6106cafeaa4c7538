/** What computes: `--backend` and `--threads`, checked before tfjs is asked. */
import type { BackendOptions } from '../adapters/node';
import { UsageError, type Values } from './command';
import { oneOf, threadsOf } from './values';

export const COMPUTING_OPTIONS = { backend: { type: 'string' }, threads: { type: 'string' } } as const;

export const COMPUTING_HELP = {
  backend: 'wasm, cpu, tfjs-node or tfjs-node-gpu (default: the fastest that works)',
  threads: 'how many compute, on wasm; about as many as there are cores (default 1)',
};

const BACKENDS = ['wasm', 'cpu', 'tfjs-node', 'tfjs-node-gpu', 'tensorflow'] as const;

/** @throws UsageError. */
export function computingOf(values: Values): BackendOptions {
  const backend = oneOf(values, 'backend', BACKENDS);
  const threads = threadsOf(values);
  if (threads !== undefined && threads > 1 && backend !== undefined && backend !== 'wasm') {
    throw new UsageError(`--threads is for the backend wasm; leave it out with --backend ${backend}`);
  }
  return { backend, threads };
}
