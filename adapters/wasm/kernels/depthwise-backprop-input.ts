/**
 * DepthwiseConv2dNativeBackpropInput: dx [batch, h, w, in] from dy [batch, h′, w′, in · m] and filter [kh, kw, in, m]:
 *
 *   dx[n, r, c, k] = Σ_{i,j,q} dy[n, (r + top − i)/s, (c + left − j)/s, k·m + q] · filter[i, j, k, q].
 *
 * Nothing outside dy is multiplied, so NaN and ∞ come out where the cpu backend has them.
 */
import { type DepthwiseConv2dNativeBackpropInputAttrs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { type ConvAttrs, geometryOf, windowOf } from '../conv-geometry';
import { addressOf, kernel, unwritten, withScratch, zeros } from '../heap';
import { simd } from '../simd';

interface Inputs {
  dy: TensorInfo;
  filter: TensorInfo;
}

export const depthwiseBackpropInput = kernel<Inputs, DepthwiseConv2dNativeBackpropInputAttrs>(
  ({ dy, filter }, backend, attrs) => {
    const { inputShape } = attrs;
    const name = 'DepthwiseConv2dNativeBackpropInput';
    const g = geometryOf(name, true, inputShape, filter.shape, dy.shape, attrs as ConvAttrs);
    if (util.sizeFromShape(dy.shape) === 0 || util.sizeFromShape(inputShape) === 0) return zeros(inputShape);
    const dx = unwritten(inputShape, backend);
    const kernels = simd(backend);
    const { inChannels, outChannels, h, w } = g;
    const [from, by, to] = [dy, filter, dx].map((tensor) => addressOf(backend, tensor));
    const write = (dyAt: number, dxAt: number, images: number) =>
      kernels.depthwiseBackpropInput(dyAt, by, dxAt, images, h.size, w.size, outChannels, h.out, w.out, ...windowOf(g));
    if (inChannels === outChannels) {
      write(from, to, g.batch);
      return dx;
    }
    const pixels = h.size * w.size;
    withScratch(backend, pixels * outChannels * 4, (each) => {
      for (let n = 0; n < g.batch; n++) {
        write(from + n * h.out * w.out * outChannels * 4, each, 1);
        kernels.sumGroups(each, to + n * pixels * inChannels * 4, pixels, inChannels, outChannels / inChannels);
      }
    });
    return dx;
  },
);
