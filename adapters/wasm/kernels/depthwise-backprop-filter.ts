/**
 * DepthwiseConv2dNativeBackpropFilter: dw [kh, kw, in, m] from x [batch, h, w, in] and dy [batch, h′, w′, in · m]:
 *
 *   dw[i, j, k, q] = Σ_{n,r,c} x[n, r·s + i − top, c·s + j − left, k] · dy[n, r, c, k·m + q].
 *
 * Padding is left out, not multiplied.
 */
import { type DepthwiseConv2dNativeBackpropFilterAttrs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { type ConvAttrs, geometryOf, windowOf } from '../conv-geometry';
import { addressOf, kernel, withScratch, zeros } from '../heap';
import { simd } from '../simd';

interface Inputs {
  x: TensorInfo;
  dy: TensorInfo;
}

export const depthwiseBackpropFilter = kernel<Inputs, DepthwiseConv2dNativeBackpropFilterAttrs>(
  ({ x, dy }, backend, attrs) => {
    const { filterShape } = attrs;
    const name = 'DepthwiseConv2dNativeBackpropFilter';
    const g = geometryOf(name, true, x.shape, filterShape, dy.shape, attrs as ConvAttrs);
    const dw = zeros(filterShape);
    if (util.sizeFromShape(dy.shape) === 0 || util.sizeFromShape(x.shape) === 0) return dw;
    const kernels = simd(backend);
    const { inChannels, outChannels, h, w } = g;
    const [from, by, to] = [x, dy, dw].map((tensor) => addressOf(backend, tensor));
    const add = (xAt: number, dyAt: number, images: number) =>
      kernels.depthwiseBackpropFilter(xAt, dyAt, to, images, h.size, w.size, outChannels, h.out, w.out, ...windowOf(g));
    if (inChannels === outChannels) {
      add(from, by, g.batch);
      return dw;
    }
    const pixels = h.size * w.size;
    withScratch(backend, pixels * outChannels * 4, (repeated) => {
      for (let n = 0; n < g.batch; n++) {
        const image = from + n * pixels * inChannels * 4;
        kernels.repeatChannels(image, repeated, pixels, inChannels, outChannels / inChannels);
        add(repeated, by + n * h.out * w.out * outChannels * 4, 1);
      }
    });
    return dw;
  },
);
