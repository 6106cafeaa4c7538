/**
 * Conv3DBackpropFilterV2: dw [kd, kh, kw, in, out] from x [batch, d, h, w, in] and dy [batch, d′, h′, w′, out]; for each
 * tap of depth the sum of the 2D filter gradients of the slices that it joins (see volumes.ts).
 *
 * Replaces the backend's own kernel, which is wrong wherever a stride is not 1 (4.22.0; checked against the cpu backend
 * and by ⟨dy, conv(x; w)⟩ = ⟨dw, w⟩).
 */
import { Conv2DBackpropFilter, type Conv3DBackpropFilterV2Attrs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { heapOf, kernel, runKernel, withAlias, withoutTemporaries, zeros } from '../heap';
import { runsOf, type VolumeAttrs, volumeOf } from '../volumes';

interface Inputs {
  x: TensorInfo;
  dy: TensorInfo;
}

export const conv3dBackpropFilter = kernel<Inputs, Conv3DBackpropFilterV2Attrs>(({ x, dy }, backend, attrs) => {
  const { filterShape } = attrs;
  const v = volumeOf('Conv3DBackpropFilterV2', x.shape, filterShape, dy.shape, attrs as VolumeAttrs);
  const dw = zeros(filterShape);
  if (util.sizeFromShape(x.shape) === 0 || util.sizeFromShape(dy.shape) === 0) return dw;
  const size = util.sizeFromShape(v.wSlice);
  for (let tap = 0; tap < v.depth.taps; tap++) {
    for (const run of runsOf(v, tap)) {
      const xShape = [run.count, ...v.xSlice];
      const dyShape = [run.count, ...v.ySlice];
      withAlias(backend, x, run.x * util.sizeFromShape(v.xSlice), xShape, (x) => {
        withAlias(backend, dy, run.y * util.sizeFromShape(v.ySlice), dyShape, (dy) => {
          withoutTemporaries(() => {
            const term = runKernel(Conv2DBackpropFilter, { x, dy }, { ...v.attrs, filterShape: v.wSlice });
            const terms = heapOf(backend, term);
            const sums = heapOf(backend, dw).subarray(tap * size, (tap + 1) * size);
            for (let i = 0; i < size; i++) sums[i] += terms[i];
          });
        });
      });
    }
  }
  return dw;
});
