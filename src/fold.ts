/**
 * The algebra of Tune mode on tensors, before any layer.
 *
 * With γ (scale), β (offset), μ (moving mean), σ² (moving variance), ε, per output channel of the conv:
 *
 *     s  = γ / sqrt(σ² + ε)
 *     w′ = s · w                (s on the kernel's output-channel axes)
 *     b′ = s · (b − μ) + β      (b = 0 where the conv has no bias)
 *
 * so that `conv(x; w′) + b′ = BN(conv(x; w) + b)` with BN's moving statistics. Source: "Efficient ConvBN Blocks for
 * Transfer Learning and Beyond", ICLR 2024. The normaliser is `sqrt(σ² + ε)`; tfjs-layers' docstring, which says
 * `sqrt(σ²) + ε`, is wrong about its own code.
 *
 * Written with plain tfjs ops and nothing else: under a gradient tape the fold is differentiated like the rest of the
 * pass, and γ, β, w and b get the gradients they get in Eval mode.
 */
import { add, mul, reshape, rsqrt, sub, type Tensor, type Tensor1D } from '@tensorflow/tfjs-core';

/** What a BatchNormalization knows: γ and β are absent with `scale: false` and `center: false`. All shapes are [channels]. */
export interface BatchNormWeights {
  gamma: Tensor | null;
  beta: Tensor | null;
  mean: Tensor;
  variance: Tensor;
  epsilon: number;
}

/** s = γ / sqrt(σ² + ε), shape [channels]. */
export function channelScale({ gamma, variance, epsilon }: BatchNormWeights): Tensor1D {
  const inverseDeviation = rsqrt(add(variance, epsilon)) as Tensor1D;
  return gamma === null ? inverseDeviation : mul(gamma, inverseDeviation);
}

/**
 * Folds a BatchNormalization into the kernel and bias before it.
 * @param kernel The conv's kernel, any layout.
 * @param bias The conv's bias, shape [channels], or null.
 * @param scaleShape Shape to which s, [channels], is brought so that it broadcasts along the kernel's output channels.
 */
export function fold(
  kernel: Tensor,
  bias: Tensor | null,
  bn: BatchNormWeights,
  scaleShape: number[],
): { kernel: Tensor; bias: Tensor } {
  const s = channelScale(bn);
  const shift = bias === null ? mul(s, mul(bn.mean, -1)) : mul(s, sub(bias, bn.mean));
  return {
    kernel: mul(kernel, reshape(s, scaleShape)),
    bias: bn.beta === null ? shift : add(shift, bn.beta),
  };
}
