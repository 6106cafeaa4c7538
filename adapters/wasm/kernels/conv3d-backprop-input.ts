/**
 * Conv3DBackpropInputV2, also the forward pass of Conv3DTranspose: dx [batch, d, h, w, in] from dy [batch, d′, h′, w′, out]
 * and w [kd, kh, kw, in, out]; each slice of dx is the sum, over the taps of depth, of the 2D input gradients of the slices
 * of dy that it was joined with (see volumes.ts).
 *
 * Replaces the backend's own kernel, which is wrong (4.22.0; checked against the cpu backend and by
 * ⟨dy, conv(x; w)⟩ = ⟨dx, x⟩).
 */
import { Conv2DBackpropInput, type Conv3DBackpropInputV2Attrs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { heapOf, kernel, runKernel, withAlias, withoutTemporaries, zeros } from '../heap';
import { runsOf, type VolumeAttrs, volumeOf } from '../volumes';

interface Inputs {
  dy: TensorInfo;
  filter: TensorInfo;
}

export const conv3dBackpropInput = kernel<Inputs, Conv3DBackpropInputV2Attrs>(({ dy, filter }, backend, attrs) => {
  const { inputShape } = attrs;
  const v = volumeOf('Conv3DBackpropInputV2', inputShape, filter.shape, dy.shape, attrs as VolumeAttrs);
  const dx = zeros(inputShape);
  if (util.sizeFromShape(inputShape) === 0 || util.sizeFromShape(dy.shape) === 0) return dx;
  const xSize = util.sizeFromShape(v.xSlice);
  for (let tap = 0; tap < v.depth.taps; tap++) {
    withAlias(backend, filter, tap * util.sizeFromShape(v.wSlice), v.wSlice, (w) => {
      for (const run of runsOf(v, tap)) {
        const dyShape = [run.count, ...v.ySlice];
        withAlias(backend, dy, run.y * util.sizeFromShape(v.ySlice), dyShape, (part) => {
          withoutTemporaries(() => {
            const attrs2d = { ...v.attrs, inputShape: [run.count, ...v.xSlice] };
            const term = runKernel(Conv2DBackpropInput, { dy: part, filter: w }, attrs2d);
            const terms = heapOf(backend, term);
            const sums = heapOf(backend, dx).subarray(run.x * xSize, (run.x + run.count) * xSize);
            for (let i = 0; i < terms.length; i++) sums[i] += terms[i];
          });
        });
      }
    });
  }
  return dx;
});
