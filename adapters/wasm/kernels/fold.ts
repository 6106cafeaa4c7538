/** TuneFold and TuneFoldGrad (see src/own-op.ts): a BatchNorm folded into a kernel and a bias, and the gradients of that. */
import { type TensorInfo, util } from '@tensorflow/tfjs-core';
import { addressOf, kernels, type WasmBackend, withTotals } from '../heap';
import { simd } from '../simd';

interface Attrs {
  epsilon: number;
  scaleShape: number[];
}

interface FoldInputs {
  kernel: TensorInfo;
  bias?: TensorInfo;
  gamma?: TensorInfo;
  beta?: TensorInfo;
  mean: TensorInfo;
  variance: TensorInfo;
}

export const fold = kernels<FoldInputs, Attrs>((inputs, backend, { epsilon, scaleShape }, outputs) => {
  const { kernel, mean } = inputs;
  const results = [kernel.shape, mean.shape, mean.shape].map(outputs.make);
  const [foldedKernel, foldedBias, scale] = results.map((result) => addressOf(backend, result));
  const at = addresses(backend);
  simd(backend).foldBatchNorm(
    at(kernel),
    at(inputs.bias),
    at(inputs.gamma),
    at(inputs.beta),
    at(mean),
    at(inputs.variance),
    epsilon,
    foldedKernel,
    foldedBias,
    scale,
    ...axesOf(kernel.shape, scaleShape),
  );
  return results;
});

interface GradInputs {
  dKernel: TensorInfo;
  dBias: TensorInfo;
  kernel: TensorInfo;
  bias?: TensorInfo;
  mean: TensorInfo;
  variance: TensorInfo;
  scale: TensorInfo;
}

export const foldGradient = kernels<GradInputs, Attrs>((inputs, backend, { epsilon, scaleShape }, outputs) => {
  const { kernel, mean } = inputs;
  const results = [kernel.shape, mean.shape, mean.shape].map(outputs.make);
  const at = addresses(backend);
  withTotals(backend, mean.shape[0], (totals) => {
    const [dw, db, dGamma] = results.map((result) => addressOf(backend, result));
    simd(backend).foldBatchNormGradient(
      at(inputs.dKernel),
      at(inputs.dBias),
      at(kernel),
      at(inputs.bias),
      at(mean),
      at(inputs.variance),
      epsilon,
      at(inputs.scale),
      dw,
      db,
      dGamma,
      totals,
      ...axesOf(kernel.shape, scaleShape),
    );
  });
  return results;
});

/** 0, the module's word for absent, where there is no tensor. */
function addresses(backend: WasmBackend): (tensor: TensorInfo | undefined) => number {
  return (tensor) => (tensor === undefined ? 0 : addressOf(backend, tensor));
}

/** The kernel as [outer, channels, inner]: s runs along those of its axes that `scaleShape` does not say 1 of. */
function axesOf(shape: number[], scaleShape: number[]): [outer: number, channels: number, inner: number] {
  const axes = scaleShape.flatMap((size, axis) => (size === 1 ? [] : [axis]));
  // A single channel: everything is its own.
  if (axes.length === 0) return [1, 1, util.sizeFromShape(shape)];
  const [first, last] = [axes[0], axes[axes.length - 1]];
  return [
    util.sizeFromShape(shape.slice(0, first)),
    util.sizeFromShape(shape.slice(first, last + 1)),
    util.sizeFromShape(shape.slice(last + 1)),
  ];
}
