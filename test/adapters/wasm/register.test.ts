import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { registerWasmTrainingKernels } from '../../../adapters/wasm/register';
import { useBackend } from '../../helpers/backends';

const ADDED = [
  'Conv2DBackpropFilter',
  'DepthwiseConv2dNativeBackpropFilter',
  'DepthwiseConv2dNativeBackpropInput',
  'Einsum',
  'UnsortedSegmentSum',
  'TuneActivationGrad',
  'TuneAdam',
  'TuneFold',
  'TuneFoldGrad',
  'TuneFrozenBatchNormGrad',
  'TuneMomentum',
];
const REPLACED = [
  'Identity',
  'Sum',
  'Conv2D',
  'FusedConv2D',
  'DepthwiseConv2dNative',
  'FusedDepthwiseConv2D',
  'Conv2DBackpropInput',
  'Conv3DBackpropFilterV2',
  'Conv3DBackpropInputV2',
  'MaxPoolGrad',
  'MaxPool3D',
  'MaxPool3DGrad',
  'MaxPool',
  'AvgPool',
  'AvgPoolGrad',
  'AvgPool3DGrad',
  'Slice',
  'Cast',
  'OneHot',
  '_FusedMatMul',
];
const kernels = () => new Map(tf.getKernelsForBackend('wasm').map((k) => [k.kernelName, k.kernelFunc]));

// One test, in this order: the registry is global, and "before" is there only once.
test('registers once, adds what is missing, replaces what it means to and nothing else', async () => {
  const stock = kernels();
  for (const name of ADDED) expect(stock.has(name)).toBe(false);

  registerWasmTrainingKernels();
  const registered = kernels();
  const changed = [...registered.keys()].filter((name) => registered.get(name) !== stock.get(name));
  expect(changed.sort()).toEqual([...ADDED, ...REPLACED].sort());

  registerWasmTrainingKernels();
  await useBackend('wasm');
  registerWasmTrainingKernels();
  expect(kernels()).toEqual(registered);
});

test('leaves a kernel alone that the backend brings itself', () => {
  const kernelFunc = () => [];
  tf.unregisterKernel('Conv2DBackpropFilter', 'wasm');
  tf.registerKernel({ kernelName: 'Conv2DBackpropFilter', backendName: 'wasm', kernelFunc });
  registerWasmTrainingKernels();
  expect(tf.getKernel('Conv2DBackpropFilter', 'wasm').kernelFunc).toBe(kernelFunc);
});

test('prints no warning about kernels that are already registered', () => {
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  registerWasmTrainingKernels();
  expect(warn).not.toHaveBeenCalled();
  warn.mockRestore();
});
