/**
 * UnsortedSegmentSum: y[s, ·] = Σ x[i, ·] over the rows i with segmentIds[i] = s, and 0 where there are none.
 *
 * The gradient of Gather, so what an Embedding trains by; the wasm backend lacks it (4.22.0). Rows whose id is negative or
 * too large belong to no segment, as on the cpu backend. That one multiplies each row by 0 for all the other segments, so
 * that a NaN in one row makes every segment NaN; here it stays in its own.
 */
import { Fill, type TensorInfo, type UnsortedSegmentSumAttrs, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../../src/errors';
import { heapOf, kernel, runKernel } from '../heap';

interface Inputs {
  x: TensorInfo;
  segmentIds: TensorInfo;
}

export const unsortedSegmentSum = kernel<Inputs, UnsortedSegmentSumAttrs>(({ x, segmentIds }, backend, attrs) => {
  const { numSegments } = attrs;
  const rows = x.shape[0];
  if (segmentIds.shape.length !== 1 || segmentIds.shape[0] !== rows) {
    throw new TuneModeError(
      'unsupported',
      `UnsortedSegmentSum on wasm: found segmentIds of shape [${segmentIds.shape}] for x of shape [${x.shape}], expected ` +
        'one id for each row of x, a list.',
    );
  }
  const dtype = x.dtype === 'float32' ? 'float32' : 'int32';
  const rowShape = x.shape.slice(1);
  const sums = runKernel(Fill, {}, { shape: [numSegments, ...rowShape], value: 0, dtype });
  const width = util.sizeFromShape(rowShape);
  // After the allocation: it may have moved the heap.
  const ids = heapOf(backend, segmentIds);
  const from = heapOf(backend, x);
  const to = heapOf(backend, sums);
  for (let row = 0; row < rows; row++) {
    const segment = ids[row];
    if (!(segment >= 0 && segment < numSegments && Number.isInteger(segment))) continue;
    const source = row * width;
    const target = segment * width;
    for (let i = 0; i < width; i++) to[target + i] += from[source + i];
  }
  return sums;
});
