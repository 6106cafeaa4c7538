/**
 * Conv2DBackpropFilter: dw [kh, kw, in, out] from x [batch, h, w, in] and dy [batch, h′, w′, out]:
 *
 *   dw[i, j, ·, ·] = Σ_{n,r,c} x[n, r·s + i − top, c·s + j − left, ·]ᵀ · dy[n, r, c, ·].
 *
 * Padding is left out, not multiplied, so NaN and ∞ come out where the cpu backend has them.
 */
import { type Conv2DBackpropFilterAttrs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { type ConvAttrs, geometryOf, windowOf } from '../conv-geometry';
import { addressOf, kernel, zeros } from '../heap';
import { simd } from '../simd';

interface Inputs {
  x: TensorInfo;
  dy: TensorInfo;
}

export const conv2dBackpropFilter = kernel<Inputs, Conv2DBackpropFilterAttrs>(({ x, dy }, backend, attrs) => {
  const { filterShape } = attrs;
  const g = geometryOf('Conv2DBackpropFilter', false, x.shape, filterShape, dy.shape, attrs as ConvAttrs);
  const dw = zeros(filterShape);
  if (util.sizeFromShape(dy.shape) === 0 || util.sizeFromShape(x.shape) === 0) return dw;
  simd(backend).conv2dBackpropFilter(
    addressOf(backend, x),
    addressOf(backend, dy),
    addressOf(backend, dw),
    g.batch,
    g.h.size,
    g.w.size,
    g.inChannels,
    g.h.out,
    g.w.out,
    g.outChannels,
    ...windowOf(g),
  );
  return dw;
});
