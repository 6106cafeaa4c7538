/**
 * BatchNormalization in Eval mode: γ (x − μ) / sqrt(σ² + ε) + β with the moving statistics, which are never written.
 *
 * tfjs-layers cannot do this (4.22.0): its layer ignores `trainable`, so that a BN inside `fit` always normalises with
 * the batch's statistics and overwrites the moving ones; it throws for `scale: false` and `center: false` (tfjs issue
 * 2868) and for rank 5; with `axis: 1` its kernels read the statistics along the wrong axis. The gradient of
 * FusedBatchNorm throws without scale and offset, hence the ones and zeros; and it is a chain of feature-map-sized ops.
 * With frozen statistics it is short, s being γ / sqrt(σ² + ε):
 *
 *     dx = dy · s        dγ = Σ dy · (x − μ) / sqrt(σ² + ε)        dβ = Σ dy
 */
import {
  batchNorm,
  engine,
  mul,
  onesLike,
  reshape,
  sub,
  sum,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
  tidy,
  transpose,
  zerosLike,
} from '@tensorflow/tfjs-core';
import { backwardPass } from './backward-pass';
import { type BatchNormWeights, channelScale } from './fold';
import { fusedKernel, ownOp } from './own-op';

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

function normaliseLast(x: Tensor, weights: BatchNormWeights): Tensor {
  const { mean, variance, epsilon } = weights;
  const gamma = (weights.gamma ?? onesLike(mean)) as Tensor1D;
  const beta = (weights.beta ?? zerosLike(mean)) as Tensor1D;
  // batchNorm takes rank 2 to 4; the axes before the last are all alike to it.
  const flat = (t: Tensor) => (t.rank <= 4 ? t : reshape(t, [t.shape[0], -1, 1, t.shape[t.rank - 1]]));
  const normalise = () => {
    const y = batchNorm(flat(x) as Tensor4D, mean as Tensor1D, variance as Tensor1D, beta, gamma, epsilon);
    return x.rank <= 4 ? y : reshape(y, x.shape);
  };
  // A gradient of a gradient takes tfjs's own ops, all of which have one.
  if (engine().state.gradientDepth !== 1) return normalise();
  type Saved = { x: Tensor; gamma: Tensor; mean: Tensor; variance: Tensor };
  const { output } = ownOp<Tensor, Saved>(
    { gamma, beta, x },
    () => ({ output: normalise(), keep: { x, gamma, mean, variance } }),
    (dy, { x, gamma, mean, variance }) => {
      const pass = backwardPass();
      const frozen = { gamma, beta: null, mean, variance, epsilon };
      const [dx, dBeta, products] = gradients(dy, x, channelScale(frozen), mean, pass);
      pass.freeGradient(dy);
      pass.free(x);
      return {
        gamma: () => mul(products, channelScale({ ...frozen, gamma: null })),
        beta: () => dBeta,
        x: () => dx,
      };
    },
  );
  return output;
}

/** [dy · s, Σ dy, Σ dy · (x − μ)], sums over all but the last axis. dx takes dy's memory where that may go. */
function gradients(
  dy: Tensor,
  x: Tensor,
  scale: Tensor,
  mean: Tensor,
  pass: ReturnType<typeof backwardPass>,
): Tensor[] {
  const fused = pass.first ? fusedKernel('TuneFrozenBatchNormGrad') : null;
  if (fused !== null) return fused({ dy, x, scale, mean }, { reuse: pass.mayFree(dy) });
  const axes = dy.shape.map((_, axis) => axis).slice(0, -1);
  return [mul(dy, scale), sum(dy, axes), tidy(() => sum(mul(dy, sub(x, mean)), axes))];
}
