/**
 * Sum over the leading axes, [rows…, channels] → [channels], as the gradient of every bias asks for it.
 *
 * The wasm backend transposes the whole tensor first and adds up in float32 (4.22.0). Here nothing is copied, and the
 * additions are in double precision. Every other sum is left to the backend.
 */
import { type KernelFunc, type SumAttrs, type SumInputs, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { addressOf, type WasmBackend, withTotals } from '../heap';
import { simd } from '../simd';

export function sum(native: KernelFunc): KernelFunc {
  return (args) => {
    const x = (args.inputs as unknown as SumInputs).x as TensorInfo;
    const { axis, keepDims } = args.attrs as unknown as SumAttrs;
    const axes = util.parseAxisParam(axis, x.shape).sort((a, b) => a - b);
    const leading = axes.length > 0 && axes.length < x.shape.length && axes.every((a, i) => a === i);
    if (x.dtype !== 'float32' || !leading || keepDims) return native(args);
    const backend = args.backend as WasmBackend;
    const shape = x.shape.slice(axes.length);
    const channels = util.sizeFromShape(shape);
    const kernels = simd(backend);
    return withTotals(backend, channels, (totals) => {
      if (channels > 0) {
        kernels.columnSums(addressOf(backend, x), totals, util.sizeFromShape(x.shape) / channels, channels);
      }
      // Last: nothing can throw after it.
      const out = backend.makeOutput(shape, 'float32');
      kernels.roundTotals(totals, addressOf(backend, out), channels);
      return out;
    });
  };
}
