/** One training step, timed and weighed. */
import { memory, profile, type Tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';

/** Milliseconds of one `trainOnBatch`. */
export async function timeStep(model: LayersModel, x: Tensor, y: Tensor): Promise<number> {
  const start = performance.now();
  await model.trainOnBatch(x, y);
  return performance.now() - start;
}

/** Peak bytes of one `trainOnBatch`, above what was alive before it. */
export async function peakBytes(model: LayersModel, x: Tensor, y: Tensor): Promise<number> {
  const before = memory().numBytes;
  // tfjs reuses the profile object and keeps the peak as an absolute number (4.22.0).
  const { peakBytes: peak } = await profile(async () => {
    await model.trainOnBatch(x, y);
    return {};
  });
  return peak - before;
}

/** Milliseconds of one `predict`. */
export async function timePredict(model: LayersModel, x: Tensor): Promise<number> {
  const start = performance.now();
  const y = model.predict(x) as Tensor;
  await y.data();
  y.dispose();
  return performance.now() - start;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
