/**
 * Sum over the leading axes, [rows…, channels] → [channels], as the gradient of every bias asks for it.
 *
 * The wasm backend transposes the whole tensor first and adds up in float32 (4.22.0). Here nothing is copied, and the
 * additions are in double precision. Every other sum is left to the backend.
 */
import { type KernelFunc, type SumAttrs, type SumInputs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { heapOf, type WasmBackend } from '../heap';

export function sum(native: KernelFunc): KernelFunc {
  return (args) => {
    const x = (args.inputs as unknown as SumInputs).x as TensorInfo;
    const { axis, keepDims } = args.attrs as unknown as SumAttrs;
    const axes = util.parseAxisParam(axis, x.shape).sort((a, b) => a - b);
    const leading = axes.length > 0 && axes.length < x.shape.length && axes.every((a, i) => a === i);
    if (x.dtype !== 'float32' || !leading || keepDims) return native(args);
    const backend = args.backend as WasmBackend;
    const shape = x.shape.slice(axes.length);
    const totals = new Float64Array(util.sizeFromShape(shape));
    const out = backend.makeOutput(shape, 'float32');
    // After the allocation: it may have moved the heap.
    const values = heapOf(backend, x);
    const width = totals.length;
    for (let row = 0; row < values.length; row += width) {
      for (let i = 0; i < width; i++) totals[i] += values[row + i];
    }
    heapOf(backend, out).set(totals);
    return out;
  };
}
