/** The head first: a softmax regression on features that the frozen net computes once. */
import {
  add,
  dispose,
  dropout as dropOut,
  gather,
  keep,
  losses,
  matMul,
  type Scalar,
  type Tensor,
  type Tensor2D,
  tensor1d,
  tensor2d,
  tidy,
} from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { DenseLayer } from '../internals';
import { seededRandom, shuffled } from '../random';
import type { BatchSource } from './data';
import { disposeOptimizer, makeOptimizer, setLearningRate } from './optimizer';
import { learningRateAt } from './schedule';

/** Features of a set of pictures, in plain memory. */
export interface Features {
  values: Float32Array;
  oneHot: Float32Array;
  count: number;
  /** Pictures of each class, of the whole set. */
  perClass: number[];
}

/** Features are kept up to this size; of a larger set, as many pictures as fit are used for the head. */
const MAX_FEATURE_BYTES = 64 * 2 ** 20;
const EPOCHS = 60;
const BATCH = 32;
const LEARNING_RATE = 1e-2;

/**
 * Runs the net once over the pictures. Afterwards a set of files knows which of them cannot be read, so that all epochs
 * are of one length.
 * @param model null where no features are wanted.
 * @param afterBatch called after each batch; it may throw to stop.
 */
export async function computeFeatures(
  model: LayersModel | null,
  pictures: BatchSource,
  afterBatch: (done: number) => void | Promise<void> = () => {},
): Promise<Features> {
  const values: Float32Array[] = [];
  const oneHots: Float32Array[] = [];
  const perClass: number[] = [];
  let [count, bytes, batches] = [0, 0, 0];
  // Shuffled: where not all of them fit, those that do shall be of all classes.
  for await (const { xs, ys } of pictures.batches({ epoch: 0, shuffle: true, augment: false })) {
    let output: Tensor | undefined;
    try {
      const oneHot = (await ys.data()) as Float32Array;
      const classes = ys.shape[1];
      oneHot.forEach((value, index) => {
        perClass[index % classes] = (perClass[index % classes] ?? 0) + value;
      });
      if (model !== null && bytes < MAX_FEATURE_BYTES) {
        output = model.predictOnBatch(xs) as Tensor;
        const found = (await output.data()) as Float32Array;
        bytes += found.byteLength;
        values.push(found);
        oneHots.push(oneHot);
        count += xs.shape[0];
      }
    } finally {
      dispose([xs, ys, ...(output ? [output] : [])]);
    }
    await afterBatch(++batches);
  }
  return { values: concatenate(values), oneHot: concatenate(oneHots), count, perClass };
}

/** Trains the Dense layer in place, with Adam, dropout, label smoothing and a cosine schedule. Everything random is fixed by the seed. */
export async function trainHead(
  dense: DenseLayer,
  features: Features,
  { dropout, labelSmoothing, seed }: { dropout: number; labelSmoothing: number; seed: number },
  afterEpoch: (done: number, epochs: number) => void | Promise<void> = () => {},
): Promise<void> {
  const kernel = dense.kernel.read();
  const bias = (dense.bias as NonNullable<DenseLayer['bias']>).read();
  const [size, classes] = kernel.shape as [number, number];
  const { values, oneHot, count } = features;
  const xs = keep(tensor2d(values, [count, size]));
  const ys = keep(tensor2d(oneHot, [count, classes]));
  const optimizer = makeOptimizer('adam', LEARNING_RATE);
  const indices = Array.from({ length: count }, (_, index) => index);
  const steps = EPOCHS * Math.ceil(count / BATCH);
  let step = 0;
  try {
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const order = shuffled(indices, `${seed}:head:${epoch}`);
      for (let at = 0; at < count; at += BATCH) {
        setLearningRate(optimizer, learningRateAt(step, steps, LEARNING_RATE));
        const mask = Math.floor(seededRandom(`${seed}:head-dropout:${step++}`)() * 2 ** 31);
        tidy(() => {
          const rows = tensor1d(order.slice(at, at + BATCH), 'int32');
          const x = gather(xs, rows) as Tensor2D;
          const y = gather(ys, rows) as Tensor2D;
          optimizer.minimize(
            () => {
              const dropped = dropout > 0 ? dropOut(x, dropout, undefined, mask) : x;
              const logits = add(matMul(dropped as Tensor2D, kernel as Tensor as Tensor2D), bias);
              return losses.softmaxCrossEntropy(y, logits, undefined, labelSmoothing) as Scalar;
            },
            false,
            [kernel, bias],
          );
        });
      }
      await afterEpoch(epoch + 1, EPOCHS);
    }
  } finally {
    dispose([xs, ys]);
    disposeOptimizer(optimizer);
  }
}

function concatenate(parts: Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
