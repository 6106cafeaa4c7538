/** A convolution as three products on tensors, and the same seen through other layouts. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { BlockActivation } from './activations';

/** The three products of a convolution, without autodiff. Implementations may leave temporaries to the caller's tidy. */
export interface Geometry {
  /** y = act(conv(x; w) + b), in one kernel where the backend has one. */
  forward(x: Tensor, w: Tensor, b: Tensor | null, activation: BlockActivation | null): Tensor;
  /** dx for an input of shape `xShape`. */
  gradInput(dz: Tensor, w: Tensor, xShape: number[]): Tensor;
  /** dw for a kernel of shape `wShape`. */
  gradKernel(x: Tensor, dz: Tensor, wShape: number[]): Tensor;
  /** The backend's kernels that the gradients call and that some backends lack. */
  readonly gradientKernels: readonly string[];
}

/** Another layout of a tensor: `into` brings one into the geometry's own layout, `from` back. */
export interface View {
  into(t: Tensor): Tensor;
  from(t: Tensor): Tensor;
  /** The shape of `into`'s result. */
  shape(shape: number[]): number[];
}

/** The same convolution seen through other layouts of x, y and (for Conv1D) w; `views` may depend on the shape of x. */
export function viewed(inner: Geometry, views: (xShape: number[]) => { x: View; y?: View; w?: View }): Geometry {
  return {
    gradientKernels: inner.gradientKernels,
    forward: (input, kernel, b, activation) => {
      const { x, y = SAME, w = SAME } = views(input.shape);
      return y.from(inner.forward(x.into(input), w.into(kernel), b, activation));
    },
    gradInput: (dz, kernel, xShape) => {
      const { x, y = SAME, w = SAME } = views(xShape);
      return x.from(inner.gradInput(y.into(dz), w.into(kernel), x.shape(xShape)));
    },
    gradKernel: (input, dz, wShape) => {
      const { x, y = SAME, w = SAME } = views(input.shape);
      return w.from(inner.gradKernel(x.into(input), y.into(dz), w.shape(wShape)));
    },
  };
}

const SAME: View = { into: (t) => t, from: (t) => t, shape: (shape) => shape };
