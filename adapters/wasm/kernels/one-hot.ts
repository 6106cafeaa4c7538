/**
 * OneHot. The wasm backend's own (4.22.0) writes whole numbers whatever the dtype is: asked for float32 labels it gives
 * 1.4e−45 for 1, and training learns nothing. Indices out of range give a row of `offValue`, as on the cpu backend.
 */
import { Fill, type OneHotAttrs, type TensorInfo } from '@tensorflow/tfjs-core';
import { heapOf, kernel, runKernel } from '../heap';

export const oneHot = kernel<{ indices: TensorInfo }, OneHotAttrs>(({ indices }, backend, attrs) => {
  const { depth, dtype, offValue, onValue } = attrs;
  const rows = runKernel(Fill, {}, { shape: [...indices.shape, depth], value: offValue, dtype });
  // After the allocation: it may have moved the heap.
  const from = heapOf(backend, indices);
  const to = heapOf(backend, rows);
  for (let i = 0; i < from.length; i++) {
    if (from[i] >= 0 && from[i] < depth) to[i * depth + from[i]] = onValue;
  }
  return rows;
});
