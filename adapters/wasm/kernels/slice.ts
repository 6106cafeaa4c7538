/**
 * Slice of floats, as the gradient of every padding asks for it. The backend's own (4.22.0) first copies all of x out of
 * the heap; here runs of numbers that lie together in both tensors are copied once.
 */
import { type KernelFunc, type SliceAttrs, slice_util, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { addressOf, type WasmBackend } from '../heap';

const BYTES_PER_FLOAT = 4;

export function slice(native: KernelFunc): KernelFunc {
  return (args) => {
    const x = args.inputs.x as TensorInfo;
    const attrs = args.attrs as unknown as SliceAttrs;
    if (x.dtype !== 'float32' || x.shape.length === 0) return native(args);
    const [begin, size] = slice_util.parseSliceParams(x as never, attrs.begin, attrs.size);
    slice_util.assertParamsValid(x as never, begin, size);
    const backend = args.backend as WasmBackend;
    const y = backend.makeOutput(size, 'float32');
    if (util.sizeFromShape(size) === 0) return y;
    // Axes after `last` are taken whole, so a run is what is taken of `last`, with all that lies behind it.
    let last = size.length - 1;
    while (last > 0 && size[last] === x.shape[last]) last--;
    const strides = [...util.computeStrides(x.shape), 1];
    const run = size[last] * strides[last] * BYTES_PER_FLOAT;
    const bytes = backend.wasm.HEAPU8;
    let to = addressOf(backend, y);
    const copy = (axis: number, from: number): void => {
      const start = from + begin[axis] * strides[axis] * BYTES_PER_FLOAT;
      if (axis === last) {
        bytes.copyWithin(to, start, start + run);
        to += run;
        return;
      }
      for (let i = 0; i < size[axis]; i++) copy(axis + 1, start + i * strides[axis] * BYTES_PER_FLOAT);
    };
    copy(0, addressOf(backend, x));
    return y;
  };
}
