/**
 * The geometries of the convolutions: forward product and the two gradients of each, on channelsLast tensors.
 */
import {
  Conv2D,
  Conv2DBackpropFilter,
  Conv2DBackpropInput,
  Conv3D,
  Conv3DBackpropFilterV2,
  Conv3DBackpropInputV2,
  DepthwiseConv2dNative,
  DepthwiseConv2dNativeBackpropFilter,
  DepthwiseConv2dNativeBackpropInput,
  getBackend,
  matMul,
  pad as padTensor,
  slice,
  type Tensor,
  transpose,
} from '@tensorflow/tfjs-core';
import { type Geometry, type View, viewed } from '../geometry';
import { dilatedGradients, type Padding } from './dilation';
import { biasAndActivation, fusedConv, fusedMatMul, runKernel } from './kernels';

export interface ConvShape {
  strides: number[];
  pad: Padding;
  /** One rate per spatial axis. */
  dilations: number[];
}

/** x [batch, h, w, in], w [kh, kw, in, out], y [batch, h′, w′, out]. */
export function conv2d({ strides, pad, dilations }: ConvShape): Geometry {
  const attrs = { strides, pad, dataFormat: 'NHWC' };
  return {
    gradientKernels: [Conv2DBackpropInput, Conv2DBackpropFilter],
    forward: (x, w, b, activation) => fusedConv(Conv2D, x, w, b, activation, { ...attrs, dilations }),
    ...dilatedGradients(dilations, pad, (pad) => ({
      gradInput: (dy, filter, inputShape) =>
        runKernel(Conv2DBackpropInput, { dy, filter }, { ...attrs, pad, inputShape }),
      gradKernel: (x, dy, filterShape) => runKernel(Conv2DBackpropFilter, { x, dy }, { ...attrs, pad, filterShape }),
    })),
  };
}

/** x [batch, h, w, in], w [kh, kw, in, multiplier], y [batch, h′, w′, in · multiplier]. */
export function depthwiseConv2d({ strides, pad, dilations }: ConvShape): Geometry {
  const attrs = { strides, pad, dataFormat: 'NHWC', dilations: [1, 1] };
  return {
    gradientKernels: [DepthwiseConv2dNativeBackpropInput, DepthwiseConv2dNativeBackpropFilter],
    forward: (x, w, b, activation) => fusedConv(DepthwiseConv2dNative, x, w, b, activation, { ...attrs, dilations }),
    ...dilatedGradients(dilations, pad, (pad) => ({
      gradInput: (dy, filter, inputShape) =>
        runKernel(DepthwiseConv2dNativeBackpropInput, { dy, filter }, { ...attrs, pad, inputShape }),
      gradKernel: (x, dy, filterShape) =>
        runKernel(DepthwiseConv2dNativeBackpropFilter, { x, dy }, { ...attrs, pad, filterShape }),
    })),
  };
}

/** Zeros before and after the rows and the columns of x. */
export type ZeroPadding = [rows: [number, number], columns: [number, number]];

/**
 * A 2D convolution that pads x by itself, so that no padded copy of x is made or kept. `convolution` is `conv2d` or
 * `depthwiseConv2d`.
 */
export function padded(
  convolution: (shape: ConvShape) => Geometry,
  { strides, dilations }: ConvShape,
  [rows, columns]: ZeroPadding,
): Geometry {
  const paddings: [number, number][] = [[0, 0], rows, columns, [0, 0]];
  const explicit = convolution({ strides, dilations, pad: paddings });
  const view: View = {
    into: (x) => padTensor(x, paddings),
    from: (dx) => {
      const size = dx.shape.map((length, axis) => length - paddings[axis][0] - paddings[axis][1]);
      const begin = paddings.map(([before]) => before);
      return slice(dx, begin, size);
    },
    shape: (shape) => shape.map((length, axis) => length + paddings[axis][0] + paddings[axis][1]),
  };
  const copying = viewed(convolution({ strides, dilations, pad: 'valid' }), () => ({ x: view }));
  // tfjs-node's depthwise convolution takes 'same' and 'valid' only (4.22.0), and takes anything else for 'same'.
  const chosen = () => (getBackend() === 'tensorflow' ? copying : explicit);
  return {
    gradientKernels: explicit.gradientKernels,
    forward: (...args) => chosen().forward(...args),
    gradInput: (...args) => chosen().gradInput(...args),
    gradKernel: (...args) => chosen().gradKernel(...args),
  };
}

/** x [batch, d, h, w, in], w [kd, kh, kw, in, out], y [batch, d′, h′, w′, out]. */
export function conv3d({ strides, pad, dilations }: ConvShape): Geometry {
  const attrs = { strides, pad, dataFormat: 'NDHWC' };
  return {
    gradientKernels: [Conv3DBackpropInputV2, Conv3DBackpropFilterV2],
    forward: (x, filter, b, activation) =>
      biasAndActivation(runKernel(Conv3D, { x, filter }, { ...attrs, dilations }), b, activation),
    ...dilatedGradients(dilations, pad, (pad) => ({
      gradInput: (dy, filter, inputShape) =>
        runKernel(Conv3DBackpropInputV2, { dy, filter }, { ...attrs, pad, inputShape }),
      gradKernel: (x, dy, filterShape) => runKernel(Conv3DBackpropFilterV2, { x, dy }, { ...attrs, pad, filterShape }),
    })),
  };
}

/**
 * A transposed convolution is the input gradient of a convolution that maps y to x; its gradients are that convolution
 * and its kernel gradient. Kernels [kh, kw, out, in] and [kd, kh, kw, out, in]. tfjs-layers knows no dilation here.
 * @param outputShape The shape of y for x's shape, channelsLast.
 */
export function convTranspose(
  spatial: 2 | 3,
  { strides, pad }: ConvShape,
  outputShape: (xShape: number[]) => number[],
): Geometry {
  const attrs = { strides, pad, dataFormat: spatial === 2 ? 'NHWC' : 'NDHWC' };
  const dilations = spatial === 2 ? [1, 1] : [1, 1, 1];
  const [Conv, BackpropInput, BackpropFilter] =
    spatial === 2
      ? [Conv2D, Conv2DBackpropInput, Conv2DBackpropFilter]
      : [Conv3D, Conv3DBackpropInputV2, Conv3DBackpropFilterV2];
  return {
    gradientKernels: [BackpropInput, BackpropFilter],
    forward: (x, filter, b, activation) => {
      const z = runKernel(BackpropInput, { dy: x, filter }, { ...attrs, inputShape: outputShape(x.shape) });
      return biasAndActivation(z, b, activation);
    },
    gradInput: (dz, filter) => runKernel(Conv, { x: dz, filter }, { ...attrs, dilations }),
    gradKernel: (x, dz, filterShape) => runKernel(BackpropFilter, { x: dz, dy: x }, { ...attrs, filterShape }),
  };
}

/** x [rows, in], w [in, out], y [rows, out]. */
export function dense(): Geometry {
  return {
    gradientKernels: [],
    forward: fusedMatMul,
    gradInput: (dz, w) => matMul(dz as never, transpose(w)),
    gradKernel: (x: Tensor, dz) => matMul(transpose(x), dz as never),
  };
}
