/** Pictures that are tensors already, as in a page that took them from a camera. */
import {
  add,
  clipByValue,
  gather,
  image,
  mul,
  sub,
  sum,
  type Tensor2D,
  type Tensor4D,
  tensor1d,
  tensor2d,
  tensor4d,
  tidy,
} from '@tensorflow/tfjs-core';
import { shuffled } from '../random';
import { type Augmentation, drawAugmentation } from './augmentation';
import type { Batch, BatchSource, Pass } from './data';

export interface TensorData {
  /** float32 [count, height, width, channels] in the model's input range. */
  xs: Tensor4D;
  /** float32 [count, classes], one-hot. */
  ys: Tensor2D;
}

/** @param range what black and white are, which the augmentation must not leave. */
export function fromTensors(
  { xs, ys }: TensorData,
  batchSize: number,
  seed: number,
  range: readonly [number, number],
): BatchSource {
  const [count] = xs.shape;
  const indices = Array.from({ length: count }, (_, index) => index);
  return {
    size: Math.ceil(count / batchSize),
    async *batches({ epoch, shuffle, augment }: Pass): AsyncGenerator<Batch, void, undefined> {
      const order = shuffle ? shuffled(indices, `${seed}:epoch:${epoch}`) : indices;
      for (let at = 0; at < count; at += batchSize) {
        const chosen = order.slice(at, at + batchSize);
        const draw = (index: number) => drawAugmentation(`${seed}:augment:${epoch}:${index}`);
        yield tidy(() => {
          const rows = tensor1d(chosen, 'int32');
          return { xs: augment ? augmented(xs, chosen, chosen.map(draw), range) : gather(xs, rows), ys: gather(ys, rows) };
        }) as Batch;
      }
    },
  };
}

/** The chosen pictures, each changed in its own way. */
function augmented(all: Tensor4D, chosen: number[], changes: Augmentation[], [black, white]: readonly [number, number]) {
  const [, height, width, channels] = all.shape;
  // A box whose left side is right of its right side gives the mirror image.
  const boxes = changes.map(({ flip, zoom, x, y }) => {
    const left = x * (1 - 1 / zoom);
    const top = y * (1 - 1 / zoom);
    const [x1, x2] = flip ? [left + 1 / zoom, left] : [left, left + 1 / zoom];
    return [top, x1, top + 1 / zoom, x2];
  });
  const perPicture = (of: (change: Augmentation) => number) => tensor4d(changes.map(of), [changes.length, 1, 1, 1]);
  let pictures = image.cropAndResize(all, tensor2d(boxes), tensor1d(chosen, 'int32'), [height, width]);
  if (channels === 3) {
    const luminance = tensor4d([0.299, 0.587, 0.114], [1, 1, 1, 3]);
    const grey = sum(mul(pictures, luminance), 3, true);
    pictures = add(grey, mul(sub(pictures, grey), perPicture(({ saturation }) => saturation)));
  }
  const middle = (black + white) / 2;
  const contrasted = mul(sub(pictures, middle), perPicture(({ contrast }) => contrast));
  const lit = add(contrasted, perPicture(({ brightness }) => middle + brightness * (white - black)));
  return clipByValue(lit, black, white) as Tensor4D;
}
