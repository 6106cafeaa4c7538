/**
 * TuneFrozenBatchNormGrad (see src/own-op.ts): dx = dy · s, Σ dy and Σ dy · (x − μ) over all but the channels, in one pass.
 * With `reuse`, and if nobody else refers to dy's memory, dx takes its place.
 */
import { type TensorInfo, util } from '@tensorflow/tfjs-core';
import { addressOf, kernels, withTotals } from '../heap';
import { simd } from '../simd';

interface Inputs {
  dy: TensorInfo;
  x: TensorInfo;
  scale: TensorInfo;
  mean: TensorInfo;
}

export const frozenBatchNormGradient = kernels<Inputs, { reuse: boolean }>((inputs, backend, { reuse }, outputs) => {
  const { dy, x, scale, mean } = inputs;
  const channels = dy.shape[dy.shape.length - 1];
  const size = util.sizeFromShape(dy.shape);
  const dx = reuse ? outputs.inPlaceOf(dy) : outputs.make(dy.shape);
  const sums = outputs.make([channels]);
  const products = outputs.make([channels]);
  const { roundTotals, scaledGradient } = simd(backend);
  withTotals(backend, 2 * channels, (totals) => {
    const second = totals + 8 * channels;
    const [from, by, s, m, to] = [dy, x, scale, mean, dx].map((tensor) => addressOf(backend, tensor));
    if (size > 0) scaledGradient(from, by, s, m, to, totals, second, size / channels, channels);
    roundTotals(totals, addressOf(backend, sums), channels);
    roundTotals(second, addressOf(backend, products), channels);
  });
  return [dx, sums, products];
});
