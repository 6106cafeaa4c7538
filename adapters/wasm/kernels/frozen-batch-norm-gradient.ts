/**
 * TuneFrozenBatchNormGrad (see src/own-op.ts): dx = dy · s, Σ dy and Σ dy · (x − μ) over all but the channels, in one pass.
 * With `reuse`, and if nobody else refers to dy's memory, dx takes its place.
 */
import { type TensorInfo, util } from '@tensorflow/tfjs-core';
import { addressOf, kernels, viewAs, withTotals } from '../heap';
import { simd } from '../simd';

interface Inputs {
  dy: TensorInfo;
  x: TensorInfo;
  scale: TensorInfo;
  mean: TensorInfo;
}

export const frozenBatchNormGradient = kernels<Inputs, { reuse: boolean }>((inputs, backend, { reuse }) => {
  const { dy, x, scale, mean } = inputs;
  const channels = dy.shape[dy.shape.length - 1];
  const size = util.sizeFromShape(dy.shape);
  const inPlace = reuse && backend.refCount(dy.dataId) === 1;
  if (inPlace) backend.incRef(dy.dataId);
  const dx = inPlace ? viewAs(dy, dy.shape) : backend.makeOutput(dy.shape, 'float32');
  const sums = backend.makeOutput([channels], 'float32');
  const products = backend.makeOutput([channels], 'float32');
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
