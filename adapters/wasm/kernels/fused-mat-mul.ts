/**
 * Repair of _FusedMatMul. The wasm backend's own (4.22.0) adds a bias rightly only to one product of two matrices as they
 * stand: for batches and transposed matrices it adds what comes after the bias in memory from the second row on, and
 * so for a bias of one number. And it refuses a bias that is no list. There: product, sum and activation one after the other. Everything else, a Dense layer's
 * product among it, is left to the backend.
 */
import {
  Add,
  BatchMatMul,
  type _FusedMatMulAttrs as FusedMatMulAttrs,
  type KernelFunc,
  type NamedTensorInfoMap,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../../src/errors';
import { kernel, runKernel } from '../heap';

interface Inputs extends NamedTensorInfoMap {
  a: TensorInfo;
  b: TensorInfo;
}

/** tfjs' names of fused activations → kernels. */
const ACTIVATIONS: Record<string, string> = {
  relu: 'Relu',
  relu6: 'Relu6',
  elu: 'Elu',
  sigmoid: 'Sigmoid',
  leakyrelu: 'LeakyRelu',
  prelu: 'Prelu',
};

const stepByStep = kernel<Inputs, FusedMatMulAttrs>((inputs, _backend, attrs) => {
  const { a, b, bias, preluActivationWeights } = inputs;
  const { transposeA, transposeB, activation, leakyreluAlpha } = attrs;
  const x = runKernel(Add, { a: runKernel(BatchMatMul, { a, b }, { transposeA, transposeB }), b: bias }, {});
  if (activation === 'linear') return x;
  const name = ACTIVATIONS[activation];
  if (name === undefined) {
    throw new TuneModeError(
      'unsupported',
      `_FusedMatMul on wasm: found activation '${activation}', expected 'linear' or one of ` +
        `'${Object.keys(ACTIVATIONS).join("', '")}'.`,
    );
  }
  return runKernel(
    name,
    preluActivationWeights ? { x, alpha: preluActivationWeights } : { x },
    alphaOf(leakyreluAlpha),
  );
});

const alphaOf = (alpha: number | undefined) => (alpha === undefined ? {} : { alpha });

export function fusedMatMul(native: KernelFunc): KernelFunc {
  return (args) => {
    const { a, b, bias } = args.inputs as Inputs;
    const { transposeA, transposeB } = args.attrs as unknown as FusedMatMulAttrs;
    const single = [a, b].every(({ shape }) => util.sizeFromShape(shape.slice(0, -2)) === 1);
    const whole = bias?.shape.length === 1 && bias.shape[0] === b.shape[b.shape.length - 1];
    const understood = bias == null || (whole && single && !transposeA && !transposeB);
    return understood ? native(args) : stepByStep(args);
  };
}
