/** One Eval step on tfjs's cpu backend: what somebody without this package's wasm kernels trains on. */
import { dispose, setBackend } from '@tensorflow/tfjs-core';
import { useBestBackend } from '../adapters/node';
import { progress } from './command-line';
import { watchKernels } from './kernel-times';
import { timeStep } from './measure';
import { compileFor, loadInMode, noiseFor } from './subjects';

const SAID_EVERY_MS = 1000;

/** Milliseconds of a single step without warm-up: it takes a minute. The backend that was active is active again. */
export async function cpuEvalStep(path: string, batch: number, backendBefore: string): Promise<number> {
  await useBestBackend({ backend: 'cpu' });
  try {
    const model = await loadInMode(path, 'eval');
    const optimizer = compileFor(model);
    const { x, y } = noiseFor(model, batch);
    const start = performance.now();
    let said = start;
    let kernels = 0;
    const onBegin = (name: string) => {
      kernels++;
      if (performance.now() - said < SAID_EVERY_MS) return;
      said = performance.now();
      progress(`cpu backend, one Eval step: ${((said - start) / 1000).toFixed(0)} s, kernel ${kernels}, ${name}`);
    };
    const ms = await watchKernels(() => timeStep(model, x, y), { onBegin });
    dispose([x, y]);
    optimizer.dispose();
    model.dispose();
    return ms;
  } finally {
    progress('');
    await setBackend(backendBefore);
  }
}
