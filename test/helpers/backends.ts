/**
 * Backends for tests. Both work inside jest's vm context as they are (checked: node's `util.types` decides what a typed
 * array is, not `instanceof`), so all that is left to do is to load, register and switch.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import { registerWasmTrainingKernels } from '../../adapters/wasm/register';

// Silences tfjs' advertisement of its node backend on the console; it changes nothing else (tfjs-core 4.22.0).
tf.env().set('PROD', true);

/** Switches tfjs to a backend that can train; throws, rather than falling back to another one, if it cannot start. */
export async function useBackend(name: 'cpu' | 'wasm'): Promise<void> {
  if (name === 'wasm') registerWasmTrainingKernels();
  const started = await tf.setBackend(name);
  if (!started || tf.getBackend() !== name) throw new Error(`backend '${name}' did not start`);
  await tf.ready();
}
