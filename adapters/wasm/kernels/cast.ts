/**
 * Cast to bool: true is whatever is not 0. The wasm backend (4.22.0) cuts numbers off to a byte instead, so 0.5 and 256 are
 * false, and 3 stays 3. Every other cast is left to it.
 */
import { type CastAttrs, Fill, type KernelFunc, type TensorInfo } from '@tensorflow/tfjs-core';
import { heapOf, kernel, runKernel } from '../heap';

const castToBool = kernel<{ x: TensorInfo }, CastAttrs>(({ x }, backend) => {
  const flags = runKernel(Fill, {}, { shape: x.shape, value: 0, dtype: 'bool' });
  // After the allocation: it may have moved the heap.
  const from = heapOf(backend, x);
  const to = heapOf(backend, flags);
  for (let i = 0; i < from.length; i++) to[i] = from[i] !== 0 ? 1 : 0;
  return flags;
});

export function cast(native: KernelFunc): KernelFunc {
  return (args) => {
    const { dtype } = args.attrs as unknown as CastAttrs;
    const { x } = args.inputs as { x: TensorInfo };
    return dtype === 'bool' && x.dtype !== 'string' && x.dtype !== 'bool' ? castToBool(args) : native(args);
  };
}
