/** Training steps, one epoch at a time. */
import { add, dispose, memory, mul, type Optimizer, profile, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { Batch } from './data';

/** Sums over the steps of an epoch so far. Plain data: a checkpoint keeps it. */
export interface EpochSums {
  steps: number;
  pictures: number;
  /** Σ loss · pictures */
  loss: number;
  /** Pictures that were right. */
  right: number;
}

export const NO_STEPS: EpochSums = { steps: 0, pictures: 0, loss: 0, right: 0 };

/** One step on a compiled model, with smoothed labels: ys · (1 − s) + s / classes. The batch is disposed. */
export async function trainStep(model: LayersModel, { xs, ys }: Batch, labelSmoothing: number) {
  const smoothed = tidy(() => add(mul(ys, 1 - labelSmoothing), labelSmoothing / ys.shape[1]));
  try {
    const [loss, accuracy] = (await model.trainOnBatch(xs, smoothed)) as number[];
    return { loss, accuracy, pictures: xs.shape[0] };
  } finally {
    dispose([xs, ys, smoothed]);
  }
}

/** What `run` needs at most, in bytes of tensors above those alive before. */
export async function weigh<T>(run: () => Promise<T>): Promise<{ result: T; peakBytes: number }> {
  const before = memory().numBytes;
  let result: T | undefined;
  // tfjs reuses the profile object and keeps the peak as an absolute number (4.22.0).
  const { peakBytes } = await profile(async () => {
    result = await run();
    return {} as Tensor;
  });
  return { result: result as T, peakBytes: peakBytes - before };
}

export function compile(model: LayersModel, optimizer: Optimizer): void {
  model.compile({ optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
}
