/**
 * BatchNormalization in Eval mode: γ (x − μ) / sqrt(σ² + ε) + β with the moving statistics, which are never written.
 *
 * tfjs-layers cannot do this (4.22.0): its layer ignores `trainable`, so that a BN inside `fit` always normalises with
 * the batch's statistics and overwrites the moving ones; it throws for `scale: false` and `center: false` (tfjs issue
 * 2868) and for rank 5; with `axis: 1` its kernels read the statistics along the wrong axis. The gradient of
 * FusedBatchNorm throws without scale and offset, hence the ones and zeros.
 */
import {
  batchNorm,
  onesLike,
  reshape,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
  tidy,
  transpose,
  zerosLike,
} from '@tensorflow/tfjs-core';
import type { BatchNormWeights } from './fold';

/**
 * Normalises x, any rank ≥ 2, along `axis` (negative: from the end).
 * @returns A new tensor of x's shape.
 */
export function frozenBatchNorm(x: Tensor, weights: BatchNormWeights, axis: number): Tensor {
  return tidy(() => {
    const last = x.rank - 1;
    const channelAxis = axis < 0 ? axis + x.rank : axis;
    if (channelAxis === last) return normaliseLast(x, weights);
    const order = x.shape.map((_, i) => i).filter((i) => i !== channelAxis);
    order.push(channelAxis);
    const inverse = order.map((_, i) => order.indexOf(i));
    return transpose(normaliseLast(transpose(x, order), weights), inverse);
  });
}

function normaliseLast(x: Tensor, { gamma, beta, mean, variance, epsilon }: BatchNormWeights): Tensor {
  const scale = (gamma ?? onesLike(mean)) as Tensor1D;
  const offset = (beta ?? zerosLike(mean)) as Tensor1D;
  // batchNorm takes rank 2 to 4; the axes before the last are all alike to it.
  const input = x.rank <= 4 ? x : reshape(x, [x.shape[0], -1, 1, x.shape[x.rank - 1]]);
  const y = batchNorm(input as Tensor4D, mean as Tensor1D, variance as Tensor1D, offset, scale, epsilon);
  return x.rank <= 4 ? y : reshape(y, x.shape);
}
