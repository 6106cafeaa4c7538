/**
 * Identity as one more reference to the same memory.
 *
 * tfjs clones every tensor that it keeps for a backward pass. On cpu and webgl a clone shares its data; the wasm backend
 * copies it (4.22.0), so that every kept feature map exists twice. The backend counts references (its Reshape relies
 * on that), and a tensor is written in place only where the one reference to its memory is a gradient that the backward
 * pass itself made (`Outputs.inPlaceOf` in heap.ts and `mayFree` in src/backward-pass.ts), so sharing is safe.
 */
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

interface CountsReferences {
  incRef(dataId: object): void;
}

export function identity(native: KernelFunc): KernelFunc {
  return (args) => {
    const { x } = args.inputs as { x: TensorInfo };
    if (x.dtype === 'string') return native(args);
    (args.backend as CountsReferences).incRef(x.dataId);
    return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
  };
}
