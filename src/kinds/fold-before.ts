/**
 * Folding `x′ = s·x + t`, per input channel, into the kernel that takes x′. The shift is what the kernel makes of t:
 * every tap sees it, since these layers run without padding.
 */
import { mul, reshape, sum, type Tensor } from '@tensorflow/tfjs-core';

/** Kernels [...spatial, in, out], Dense's [in, out] among them. */
export function foldBeforeProduct([kernel]: Tensor[], s: Tensor, t: Tensor): { kernels: Tensor[]; shift: Tensor } {
  const alongIn = kernel.shape.map((size, axis) => (axis === kernel.rank - 2 ? size : 1));
  const allButOut = kernel.shape.map((_, axis) => axis).slice(0, -1);
  return {
    kernels: [mul(kernel, reshape(s, alongIn))],
    shift: sum(mul(kernel, reshape(t, alongIn)), allButOut),
  };
}

/** Kernels [kh, kw, in, multiplier], whose outputs are [in · multiplier]. */
export function foldBeforeDepthwise([kernel]: Tensor[], s: Tensor, t: Tensor): { kernels: Tensor[]; shift: Tensor } {
  const [, , channels, multiplier] = kernel.shape;
  const alongIn = [1, 1, channels, 1];
  return {
    kernels: [mul(kernel, reshape(s, alongIn))],
    shift: reshape(sum(mul(kernel, reshape(t, alongIn)), [0, 1]), [channels * multiplier]),
  };
}

/** Depthwise, then pointwise [1, 1, in · multiplier, out]: the depthwise shift goes on through the pointwise kernel. */
export function foldBeforeSeparable(
  [depthwise, pointwise]: Tensor[],
  s: Tensor,
  t: Tensor,
): { kernels: Tensor[]; shift: Tensor } {
  const { kernels, shift } = foldBeforeDepthwise([depthwise], s, t);
  return {
    kernels: [...kernels, pointwise],
    shift: sum(mul(pointwise, reshape(shift, [1, 1, shift.size, 1])), [0, 1, 2]),
  };
}
