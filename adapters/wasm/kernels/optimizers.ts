/** TuneAdam and TuneMomentum (see src/own-op.ts): a step of an optimizer on one variable in one pass. */
import { type TensorInfo, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../../src/errors';
import { addressOf, kernels } from '../heap';
import { simd } from '../simd';

interface AdamInputs {
  value: TensorInfo;
  m: TensorInfo;
  v: TensorInfo;
  gradient: TensorInfo;
  correction1: TensorInfo;
  correction2: TensorInfo;
}

export const adam = kernels<AdamInputs, { beta1: number; beta2: number; epsilon: number; learningRate: number }>(
  (inputs, backend, { beta1, beta2, epsilon, learningRate }, outputs) => {
    const { value, m, v, gradient, correction1, correction2 } = inputs;
    checkSizes('TuneAdam', value, [m, v, gradient]);
    const results = [value, m, v].map(({ shape }) => outputs.make(shape));
    const [to, toM, toV] = results.map((result) => addressOf(backend, result));
    const at = (tensor: TensorInfo) => addressOf(backend, tensor);
    simd(backend).adam(
      at(value),
      at(m),
      at(v),
      at(gradient),
      to,
      toM,
      toV,
      util.sizeFromShape(value.shape),
      at(correction1),
      at(correction2),
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
      epsilon,
      -learningRate,
    );
    return results;
  },
);

interface MomentumInputs {
  value: TensorInfo;
  accumulation: TensorInfo;
  gradient: TensorInfo;
}

export const momentum = kernels<MomentumInputs, { momentum: number; learningRate: number; nesterov: boolean }>(
  ({ value, accumulation, gradient }, backend, { momentum, learningRate, nesterov }, outputs) => {
    checkSizes('TuneMomentum', value, [accumulation, gradient]);
    const results = [value, accumulation].map(({ shape }) => outputs.make(shape));
    const [to, toAccumulation] = results.map((result) => addressOf(backend, result));
    simd(backend).momentum(
      addressOf(backend, value),
      addressOf(backend, accumulation),
      addressOf(backend, gradient),
      to,
      toAccumulation,
      util.sizeFromShape(value.shape),
      momentum,
      -learningRate,
      nesterov,
    );
    return results;
  },
);

function checkSizes(kernelName: string, value: TensorInfo, others: TensorInfo[]): void {
  const wrong = others.find(({ shape }) => !util.arraysEqual(shape, value.shape));
  if (wrong === undefined) return;
  throw new TuneModeError(
    'unsupported',
    `${kernelName} on wasm: found a moment or gradient of shape [${wrong.shape}], expected [${value.shape}], the variable's.`,
  );
}
