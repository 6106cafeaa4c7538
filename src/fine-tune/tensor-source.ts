/** Pictures that are tensors already, as in a page that took them from a camera. */
import {
  add,
  clipByValue,
  concat,
  gather,
  mirrorPad,
  mul,
  reverse,
  slice,
  sub,
  sum,
  type Tensor4D,
  tensor1d,
  tensor4d,
  tidy,
} from '@tensorflow/tfjs-core';
import { shuffled } from '../random';
import { type Augmentation, drawAugmentation, MAX_SHIFT } from './augmentation';
import type { Batch, BatchSource, Pass, TensorData } from './data';

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
  // Not by cropAndResize: its positions are rounded, and one beyond the last pixel by a rounding error is black.
  const cuts = changes.map(({ flip, x, y }, index) => {
    const [top, left] = [Math.round(y * 2 * reachY), Math.round(x * 2 * reachX)];
    const cut = slice(padded, [index, top, left, 0], [1, height, width, channels]);
    return flip ? reverse(cut, 2) : cut;
  });
  let pictures: Tensor4D = concat(cuts, 0);
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
