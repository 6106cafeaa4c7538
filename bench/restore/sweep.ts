/**
 * A sweep over learning rates: the whole net is trained for some epochs, from the same head, on the
 * same batches, with the schedule of fineTune (warm-up, cosine). A run that ends in NaN, or at chance, has diverged.
 */
import { concat, dispose, mean, type Optimizer, type Tensor2D, type Tensor4D, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { BatchSource, TensorData } from '../../src/fine-tune/data';
import { evaluate } from '../../src/fine-tune/evaluate';
import { FusedAdam, FusedMomentum } from '../../src/fine-tune/fused-optimizers';
import { withNewHead } from '../../src/fine-tune/head';
import { disposeOptimizer, setLearningRate } from '../../src/fine-tune/optimizer';
import { learningRateAt } from '../../src/fine-tune/schedule';
import { compile, trainStep } from '../../src/fine-tune/steps';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { computeFeatures, trainHead } from '../../src/fine-tune/train-head';
import { restoreSnapshot, type Snapshot, takeSnapshot } from '../../src/fine-tune/weights';

export const BATCH = 16;
const RANGE = [-1, 1] as const;
const LABEL_SMOOTHING = 0.1;

export const OPTIMIZERS = { sgd: 'SGD, momentum 0.9', adam: 'Adam' } as const;
export type SweepOptimizer = keyof typeof OPTIMIZERS;

const MAKE: Record<SweepOptimizer, (rate: number) => Optimizer> = {
  sgd: (rate) => new FusedMomentum(rate, 0.9, false),
  adam: (rate) => new FusedAdam(rate, 0.9, 0.999),
};

export interface Pictures {
  train: TensorData;
  val: TensorData;
  classes: number;
}

/** A folder's pictures in memory, so that no run waits for them; in grey for a net that takes one channel. */
export async function inMemory(
  sets: { train: BatchSource; val: BatchSource; classNames: readonly string[] },
  channels: number,
) {
  const all = async (set: BatchSource): Promise<TensorData> => {
    const batches: { xs: Tensor4D; ys: Tensor2D }[] = [];
    for await (const { xs, ys } of set.batches({ epoch: 0, shuffle: false, augment: false })) batches.push({ xs, ys });
    const whole = tidy(() => {
      const xs = concat(batches.map((batch) => batch.xs)) as Tensor4D;
      return { xs: channels === 1 ? mean(xs, 3, true) : xs, ys: concat(batches.map((batch) => batch.ys)) };
    });
    for (const { xs, ys } of batches) dispose([xs, ys]);
    return whole as unknown as TensorData;
  };
  return { train: await all(sets.train), val: await all(sets.val), classes: sets.classNames.length };
}

/** A net with a new head, ready to be trained again and again from the same weights. */
export interface Arm {
  name: string;
  model: LayersModel;
  start: Snapshot;
}

/** Puts a head on a net and trains it alone, on the features as they are. */
export async function makeArm(name: string, net: LayersModel, { train, classes }: Pictures): Promise<Arm> {
  const { model, features, dense } = withNewHead(net, classes, 0);
  const found = await computeFeatures(features, fromTensors(train, BATCH, 0, RANGE));
  await trainHead(dense, found, { dropout: 0.2, labelSmoothing: 0.1, seed: 0 });
  return { name, model, start: await takeSnapshot(model) };
}

export async function accuracyOf(model: LayersModel, { val }: Pictures): Promise<number> {
  try {
    return (await evaluate(model, fromTensors(val, BATCH, 0, RANGE))).accuracy;
  } catch {
    // Weights so large that a softmax of them is NaN.
    return Number.NaN;
  }
}

export interface Outcome {
  /** Validation accuracy after the last epoch, NaN where the loss was. */
  accuracy: number;
  /** Mean loss of the last epoch's steps: how far the training set was learnt. */
  loss: number;
}

export async function trainOnce(
  { model, start }: Arm,
  pictures: Pictures,
  { optimizer: name, rate, seed, epochs }: { optimizer: SweepOptimizer; rate: number; seed: number; epochs: number },
): Promise<Outcome> {
  restoreSnapshot(model, start);
  const optimizer = MAKE[name](rate);
  compile(model, optimizer);
  const source = fromTensors(pictures.train, BATCH, seed, RANGE);
  const steps = epochs * source.size;
  let step = 0;
  let sum = 0;
  try {
    for (let epoch = 0; epoch < epochs; epoch++) {
      for await (const batch of source.batches({ epoch, shuffle: true, augment: true })) {
        setLearningRate(optimizer, learningRateAt(step++, steps, rate));
        const { loss } = await trainStep(model, batch, LABEL_SMOOTHING);
        if (!Number.isFinite(loss)) return { accuracy: Number.NaN, loss: Number.NaN };
        if (epoch === epochs - 1) sum += loss;
      }
    }
    return { accuracy: await accuracyOf(model, pictures), loss: sum / source.size };
  } finally {
    disposeOptimizer(optimizer);
  }
}
