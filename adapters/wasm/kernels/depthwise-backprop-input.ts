/**
 * DepthwiseConv2dNativeBackpropInput: dx [batch, h, w, in] from dy [batch, h′, w′, in · m] and w [kh, kw, in, m]:
 *
 *   dx[n, r, c, k] = Σ_{i,j,q} dy[n, (r + top − i)/s, (c + left − j)/s, k·m + q] · w[i, j, k, q].
 *
 * That is a forward depthwise convolution of dy, one filter for each of its in · m channels, taps reversed, s − 1 zeros
 * put between its rows and columns; the m channels that belong to one channel of x are then summed. With stride 1 and
 * m = 1 the convolution is dx. Otherwise it goes image by image (or a few), so that dy with its zeros never lies in memory
 * as a whole. Convolving the phases of the stride one by one (as conv2d-backprop-input.ts does) multiplies no zeros, but
 * XNNPACK has no fast depthwise kernel for their 1 × 2 taps: three times slower.
 */
import {
  DepthwiseConv2dNative,
  type DepthwiseConv2dNativeBackpropInputAttrs,
  PadV2,
  type Tensor,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import { type Axis, type ConvAttrs, type ConvGeometry, geometryOf, outputsInside } from '../conv-geometry';
import {
  finiteness,
  heapOf,
  kernel,
  runKernel,
  unwritten,
  viewAs,
  type WasmBackend,
  withAlias,
  withoutTemporaries,
  zeros,
} from '../heap';
import { isWhole, phasesOf, scatterPhase } from '../phases';

interface Inputs {
  dy: TensorInfo;
  filter: TensorInfo;
}

/** About 1 MiB of floats: what the images that are done together may take with their zeros; one image at least. */
const IMAGES_BUDGET = 256 * 1024;

export const depthwiseBackpropInput = kernel<Inputs, DepthwiseConv2dNativeBackpropInputAttrs>(
  ({ dy, filter }, backend, attrs) => {
    const { inputShape } = attrs;
    const name = 'DepthwiseConv2dNativeBackpropInput';
    const g = geometryOf(name, true, inputShape, filter.shape, dy.shape, attrs as ConvAttrs);
    if (util.sizeFromShape(dy.shape) === 0 || util.sizeFromShape(inputShape) === 0) return zeros(inputShape);
    // 0 · ∞ is NaN, and the cpu backend does not see the zeros around dy. And XNNPACK's kernel for a single tap makes
    // −∞ of NaN.
    if (g.h.taps * g.w.taps === 1 || finiteness(heapOf(backend, filter)) === 'mixed') {
      return tapByTap(dy, filter, backend, g, inputShape);
    }
    const reversed = reversedFilter(filter, backend, g);
    const h = withZeros(g.h);
    const w = withZeros(g.w);
    const [p] = phasesOf(h);
    const [q] = phasesOf(w);
    const pad = [
      [0, 0],
      [p.padBefore, p.padAfter],
      [q.padBefore, q.padAfter],
      [0, 0],
    ];
    const convolve = (x: TensorInfo) =>
      runKernel(DepthwiseConv2dNative, { x, filter: reversed }, { strides: 1, pad, dilations: 1 });
    const multiplier = g.outChannels / g.inChannels;
    const strided = g.h.stride > 1 || g.w.stride > 1;
    if (!strided && multiplier === 1 && isWhole(p, h) && isWhole(q, w)) return convolve(dy);
    const dx = unwritten(inputShape, backend);
    const dyImage = g.h.out * g.w.out * g.outChannels;
    const dxImage = g.h.size * g.w.size * g.inChannels;
    const several = Math.max(1, Math.floor(IMAGES_BUDGET / (h.out * w.out * g.outChannels)));
    for (let n = 0; n < g.batch; n += several) {
      const images = Math.min(several, g.batch - n);
      const shape = [images, g.h.out, g.w.out, g.outChannels];
      withAlias(backend, dy, n * dyImage, shape, (part) => {
        withoutTemporaries(() => {
          const whole = convolve(strided ? insertZeros(part, g) : part);
          const to = heapOf(backend, dx).subarray(n * dxImage);
          scatterPhase(to, heapOf(backend, whole), images, g.inChannels, multiplier, [h, w], [p, q]);
        });
      });
    }
    return dx;
  },
);

/** The axis as it is once zeros stand between the rows of dy. */
function withZeros(axis: Axis): Axis {
  return { ...axis, out: axis.out * axis.stride, stride: 1 };
}

/** [n, h′, w′, c] → [n, h′·s, w′·s, c], each pixel followed by s − 1 zeros both ways: one padding of the right view. */
function insertZeros(dy: TensorInfo, g: ConvGeometry): TensorInfo {
  const [images, rows, columns, channels] = dy.shape;
  const x = viewAs(dy, [images * rows, 1, columns, channels]);
  const paddings = [
    [0, 0],
    [0, g.h.stride - 1],
    [0, 0],
    [0, (g.w.stride - 1) * channels],
  ];
  const padded = runKernel(PadV2, { x }, { paddings, constantValue: 0 });
  return viewAs(padded, [images, rows * g.h.stride, columns * g.w.stride, channels]);
}

/** [kh, kw, in · m, 1]: w with its taps in reverse order. */
function reversedFilter(w: TensorInfo, backend: WasmBackend, g: ConvGeometry): Tensor {
  const { outChannels } = g;
  const taps = g.h.taps * g.w.taps;
  const filter = zeros([g.h.taps, g.w.taps, outChannels, 1]);
  const from = heapOf(backend, w);
  const to = heapOf(backend, filter);
  for (let tap = 0; tap < taps; tap++) {
    to.set(from.subarray(tap * outChannels, (tap + 1) * outChannels), (taps - 1 - tap) * outChannels);
  }
  return filter;
}

/** The formula as it stands, leaving padding out: for filters that hold NaN or ∞, and for a single tap. */
function tapByTap(dy: TensorInfo, filter: TensorInfo, backend: WasmBackend, g: ConvGeometry, shape: number[]): Tensor {
  const dx = zeros(shape);
  const from = heapOf(backend, dy);
  const w = heapOf(backend, filter);
  const to = heapOf(backend, dx);
  const { h, w: v, inChannels, outChannels } = g;
  const multiplier = outChannels / inChannels;
  for (let i = 0; i < h.taps; i++) {
    const [top, bottom] = outputsInside(h, i);
    for (let j = 0; j < v.taps; j++) {
      const [left, right] = outputsInside(v, j);
      const tap = (i * v.taps + j) * outChannels;
      for (let n = 0; n < g.batch; n++) {
        for (let r = top; r < bottom; r++) {
          for (let c = left; c < right; c++) {
            const y = ((n * h.out + r) * v.out + c) * outChannels;
            const x = (n * h.size + r * h.stride + i - h.before) * v.size + c * v.stride + j - v.before;
            for (let o = 0; o < outChannels; o++) {
              to[x * inChannels + Math.floor(o / multiplier)] += from[y + o] * w[tap + o];
            }
          }
        }
      }
    }
  }
  return dx;
}
