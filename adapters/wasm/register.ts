/**
 * The table of kernels that this package gives to the wasm backend. A new kernel is one file and one line here.
 */
import '@tensorflow/tfjs-backend-wasm';
import {
  _FusedMatMul,
  AvgPool,
  AvgPool3DGrad,
  AvgPoolGrad,
  Cast,
  Conv2D,
  Conv2DBackpropFilter,
  Conv2DBackpropInput,
  Conv3DBackpropFilterV2,
  Conv3DBackpropInputV2,
  DepthwiseConv2dNative,
  DepthwiseConv2dNativeBackpropFilter,
  DepthwiseConv2dNativeBackpropInput,
  Einsum,
  engine,
  FusedConv2D,
  FusedDepthwiseConv2D,
  getKernel,
  Identity,
  type KernelFunc,
  MaxPool,
  MaxPool3D,
  MaxPool3DGrad,
  MaxPoolGrad,
  OneHot,
  registerKernel,
  Slice,
  Sum,
  UnsortedSegmentSum,
  unregisterKernel,
} from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import type { FusedKernel } from '../../src/own-op';
import { guardAllocations, type WasmBackend } from './heap';
import { activationGradient } from './kernels/activation-gradient';
import { averagePool3dGradient, averagePoolGradient } from './kernels/average-pool-gradient';
import { cast } from './kernels/cast';
import { conv2dBackpropFilter } from './kernels/conv2d-backprop-filter';
import { conv2dBackpropInput } from './kernels/conv2d-backprop-input';
import { conv3dBackpropFilter } from './kernels/conv3d-backprop-filter';
import { conv3dBackpropInput } from './kernels/conv3d-backprop-input';
import { depthwiseBackpropFilter } from './kernels/depthwise-backprop-filter';
import { depthwiseBackpropInput } from './kernels/depthwise-backprop-input';
import { einsum } from './kernels/einsum';
import { fold, foldGradient } from './kernels/fold';
import { repairedConvolution } from './kernels/forward-convolutions';
import { repairedPooling } from './kernels/forward-pooling';
import { frozenBatchNormGradient } from './kernels/frozen-batch-norm-gradient';
import { fusedMatMul } from './kernels/fused-mat-mul';
import { identity } from './kernels/identity';
import { maxPool3d, maxPool3dGrad, maxPoolGrad } from './kernels/max-pool';
import { oneHot } from './kernels/one-hot';
import { adam, momentum } from './kernels/optimizers';
import { slice } from './kernels/slice';
import { sum } from './kernels/sum';
import { unsortedSegmentSum } from './kernels/unsorted-segment-sum';
import { prepareSimd } from './simd';

/** Kernels that the backend lacks; one that a later version brings itself is left as it is. */
const ADDED: Record<string, KernelFunc> = {
  [Conv2DBackpropFilter]: conv2dBackpropFilter,
  [DepthwiseConv2dNativeBackpropFilter]: depthwiseBackpropFilter,
  [DepthwiseConv2dNativeBackpropInput]: depthwiseBackpropInput,
  [UnsortedSegmentSum]: unsortedSegmentSum,
  [Einsum]: einsum,
};

/** This package's own fused kernels. */
const FUSED: Record<FusedKernel, KernelFunc> = {
  TuneActivationGrad: activationGradient,
  TuneFold: fold,
  TuneFoldGrad: foldGradient,
  TuneFrozenBatchNormGrad: frozenBatchNormGradient,
  TuneAdam: adam,
  TuneMomentum: momentum,
};

/** Kernels that the backend has, but wrong in some cases or slow: replaced, given the backend's own one to go on using. */
const REPLACED: Record<string, (native: KernelFunc) => KernelFunc> = {
  [Conv2D]: (native) => repairedConvolution(Conv2D, false, native),
  [FusedConv2D]: (native) => repairedConvolution(FusedConv2D, false, native),
  [DepthwiseConv2dNative]: (native) => repairedConvolution(DepthwiseConv2dNative, true, native),
  [FusedDepthwiseConv2D]: (native) => repairedConvolution(FusedDepthwiseConv2D, true, native),
  [Conv2DBackpropInput]: conv2dBackpropInput,
  [Conv3DBackpropFilterV2]: () => conv3dBackpropFilter,
  [Conv3DBackpropInputV2]: () => conv3dBackpropInput,
  [Identity]: identity,
  [Cast]: cast,
  [_FusedMatMul]: fusedMatMul,
  [OneHot]: () => oneHot,
  [MaxPool]: (native) => repairedPooling('max', native),
  [AvgPool]: (native) => repairedPooling('mean', native),
  [Sum]: sum,
  [Slice]: slice,
  [AvgPoolGrad]: () => averagePoolGradient,
  [AvgPool3DGrad]: () => averagePool3dGradient,
  [MaxPoolGrad]: () => maxPoolGrad,
  [MaxPool3D]: () => maxPool3d,
  [MaxPool3DGrad]: () => maxPool3dGrad,
};

const backendName = 'wasm';
const ours = new WeakSet<KernelFunc>();

/**
 * Makes the wasm backend able to train convolutional nets. Call it at any time, before or after the backend has started,
 * and as often as you like.
 * @throws TuneModeError `backend-unavailable` if another copy of tfjs-core than this one holds the backend's kernels.
 */
export function registerWasmTrainingKernels(): void {
  for (const [kernelName, kernelFunc] of Object.entries({ ...ADDED, ...FUSED })) {
    if (getKernel(kernelName, backendName) == null) registerKernel({ kernelName, backendName, kernelFunc });
  }
  for (const [kernelName, replace] of Object.entries(REPLACED)) {
    const native = getKernel(kernelName, backendName);
    if (native == null) {
      throw new TuneModeError(
        'backend-unavailable',
        `The wasm backend's kernel '${kernelName}' was expected, but is not registered with this copy of ` +
          "'@tensorflow/tfjs-core'. Check that only one copy of it is installed (npm ls @tensorflow/tfjs-core).",
      );
    }
    if (ours.has(native.kernelFunc)) continue;
    const kernelFunc = replace(native.kernelFunc);
    ours.add(kernelFunc);
    unregisterKernel(kernelName, backendName);
    registerKernel({
      ...native,
      kernelFunc,
      // Run when the backend starts: the native kernel's binds the wasm export.
      setupFunc: (backend) => {
        native.setupFunc?.(backend);
        guardAllocations(backend as unknown as WasmBackend);
      },
    });
  }
  prepareSimd();
  const running = engine().registry[backendName] as unknown as WasmBackend | undefined;
  if (running !== undefined) guardAllocations(running);
}
