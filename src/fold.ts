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
 * Under a gradient tape the fold is differentiated like the rest of the pass, and γ, β, w and b get the gradients they get
 * in Eval mode:
 *
 *     ∂L/∂w = s · ∂L/∂w′    ∂L/∂b = s · ∂L/∂b′    ∂L/∂β = ∂L/∂b′
 *     ∂L/∂γ = (Σ ∂L/∂w′ · w + ∂L/∂b′ · (b − μ)) / sqrt(σ² + ε)    summed over the weights of the channel
 *
 * Written with plain tfjs ops, some twenty-five small ones a pass; where the backend has a kernel for it, two.
 */
import {
  add,
  engine,
  mul,
  type NamedTensorMap,
  reshape,
  rsqrt,
  sub,
  sum,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';
import { backwardPass } from './backward-pass';
import { fusedKernel, ownOp } from './own-op';

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
  // The kernels have no gradients of their own, so a gradient of a gradient takes the plain ops.
  const fused = engine().state.gradientDepth <= 1 ? fusedKernel('TuneFold') : null;
  const gradient = fusedKernel('TuneFoldGrad');
  if (fused !== null && gradient !== null) return fusedFold(kernel, bias, bn, scaleShape, fused, gradient);
  const s = channelScale(bn);
  const shift = bias === null ? mul(s, mul(bn.mean, -1)) : mul(s, sub(bias, bn.mean));
  return {
    kernel: mul(kernel, reshape(s, scaleShape)),
    bias: bn.beta === null ? shift : add(shift, bn.beta),
  };
}

type Kernel = NonNullable<ReturnType<typeof fusedKernel>>;

function fusedFold(
  kernel: Tensor,
  bias: Tensor | null,
  { gamma, beta, mean, variance, epsilon }: BatchNormWeights,
  scaleShape: number[],
  fused: Kernel,
  gradient: Kernel,
): { kernel: Tensor; bias: Tensor } {
  const attrs = { epsilon, scaleShape };
  const inputs: NamedTensorMap = {
    kernel,
    ...(bias === null ? {} : { bias }),
    ...(gamma === null ? {} : { gamma }),
    ...(beta === null ? {} : { beta }),
  };
  type Saved = {
    kernel: Tensor;
    mean: Tensor;
    variance: Tensor;
    scale: Tensor;
    bias: Tensor | null;
    gamma: Tensor | null;
  };
  const { output } = ownOp<Tensor[], Saved>(
    inputs,
    () => {
      const [w, b, scale] = fused({ ...inputs, mean, variance }, attrs);
      return { output: [w, b], keep: { kernel, mean, variance, scale, bias, gamma } };
    },
    ([dKernel, dBias], saved) => {
      const { kernel, bias, gamma, mean, variance, scale } = saved;
      const given = { dKernel, dBias, kernel, mean, variance, scale };
      const [dw, db, dGamma] = backwardPass().first
        ? gradient(bias === null ? given : { ...given, bias }, attrs)
        : plainGradient(dKernel, dBias, kernel, bias, scaleShape, { gamma, beta: null, mean, variance, epsilon });
      return { kernel: () => dw, bias: () => db, gamma: () => dGamma, beta: () => dBias.clone() };
    },
  );
  return { kernel: output[0], bias: output[1] };
}

/** [∂L/∂w, ∂L/∂b, ∂L/∂γ] in ops that have gradients themselves. */
function plainGradient(
  dKernel: Tensor,
  dBias: Tensor,
  kernel: Tensor,
  bias: Tensor | null,
  scaleShape: number[],
  bn: BatchNormWeights,
): Tensor[] {
  const s = channelScale(bn);
  const others = scaleShape.flatMap((size, axis) => (size === 1 ? [axis] : []));
  const ofKernel = reshape(sum(mul(dKernel, kernel), others), s.shape);
  const ofBias = mul(dBias, bias === null ? mul(bn.mean, -1) : sub(bias, bn.mean));
  const dScale = add(ofKernel, ofBias);
  return [mul(dKernel, reshape(s, scaleShape)), mul(dBias, s), mul(dScale, channelScale({ ...bn, gamma: null }))];
}
