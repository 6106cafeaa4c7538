/** Pictures that are tensors already, as in a page that took them from a camera. */
import {
  add,
  clipByValue,
  gather,
  image,
  mirrorPad,
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
import { type Augmentation, drawAugmentation, MAX_SHIFT } from './augmentation';
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
          return {
            xs: augment ? augmented(xs, chosen, chosen.map(draw), range) : gather(xs, rows),
            ys: gather(ys, rows),
          };
        }) as Batch;
      }
    },
  };
}

/**
 * The chosen pictures, each changed in its own way. They are shifted by whole pixels, with mirrored edges, not zoomed:
 * a picture that is enlarged from its final size is blurred, and a net trained on blurred pictures does worse on sharp
 * ones (measured: 73 % instead of 89 % on 153 pictures of ants and bees).
 */
function augmented(
  all: Tensor4D,
  chosen: number[],
  changes: Augmentation[],
  [black, white]: readonly [number, number],
) {
  const [, height, width, channels] = all.shape;
  const reachY = Math.floor(height * MAX_SHIFT);
  const reachX = Math.floor(width * MAX_SHIFT);
  const padding: [number, number][] = [
    [0, 0],
    [reachY, reachY],
    [reachX, reachX],
    [0, 0],
  ];
  const padded = mirrorPad(gather(all, tensor1d(chosen, 'int32')), padding, 'reflect');
  // Boxes are given from the centre of the first pixel to that of the last one; whole pixels are taken over unchanged.
  const lastY = Math.max(1, height + 2 * reachY - 1);
  const lastX = Math.max(1, width + 2 * reachX - 1);
  const boxes = changes.map(({ flip, x, y }) => {
    const top = Math.round(y * 2 * reachY);
    const left = Math.round(x * 2 * reachX);
    const [x1, x2] = flip ? [left + width - 1, left] : [left, left + width - 1]; // from right to left: mirrored
    return [top / lastY, x1 / lastX, (top + height - 1) / lastY, x2 / lastX];
  });
  const own = Array.from(chosen.keys());
  let pictures = image.cropAndResize(padded, tensor2d(boxes), tensor1d(own, 'int32'), [height, width]);
  const perPicture = (of: (change: Augmentation) => number) => tensor4d(changes.map(of), [changes.length, 1, 1, 1]);
  if (channels === 3) {
    const luminance = tensor4d([0.299, 0.587, 0.114], [1, 1, 1, 3]);
    const grey = sum(mul(pictures, luminance), 3, true);
    pictures = add(
      grey,
      mul(
        sub(pictures, grey),
        perPicture(({ saturation }) => saturation),
      ),
    );
  }
  const middle = (black + white) / 2;
  const contrasted = mul(
    sub(pictures, middle),
    perPicture(({ contrast }) => contrast),
  );
  const lit = add(
    contrasted,
    perPicture(({ brightness }) => middle + brightness * (white - black)),
  );
  return clipByValue(lit, black, white) as Tensor4D;
}
