/**
 * Tests of the tests: with a fault seeded into the fold, into the op or into the block, the comparisons that the table
 * makes must go red. A fault that no row notices is a hole in the table.
 */
import * as tf from '@tensorflow/tfjs-core';
import { setMode } from '../../src';
import type { BatchNormWeights } from '../../src/fold';
import { useBackend } from '../helpers/backends';
import {
  type ActivationName,
  type BlockCase,
  buildModel,
  expectWithin,
  gradients,
  kernelsOf,
  type Numbers,
  outputs,
  sample,
} from '../helpers/blocks';
import type { KindName } from '../helpers/reference';

type Fold = typeof import('../../src/fold').fold;
type ConvOp = typeof import('../../src/op').convOp;
type TunePass = typeof import('../../src/block').tunePass;

// What is seeded now; null is the real thing. jest lets a mock's factory see variables that begin with 'mock'.
let mockFold: Fold | null = null;
let mockConvOp: ConvOp | null = null;
let mockTunePass: TunePass | null = null;

jest.mock('../../src/fold', () => {
  const actual = jest.requireActual('../../src/fold');
  return { ...actual, fold: (...args: Parameters<Fold>) => (mockFold ?? actual.fold)(...args) };
});
jest.mock('../../src/op', () => {
  const actual = jest.requireActual('../../src/op');
  return { ...actual, convOp: (...args: Parameters<ConvOp>) => (mockConvOp ?? actual.convOp)(...args) };
});
jest.mock('../../src/block', () => {
  const actual = jest.requireActual('../../src/block');
  return { ...actual, tunePass: (...args: Parameters<TunePass>) => (mockTunePass ?? actual.tunePass)(...args) };
});

const { fold } = jest.requireActual<typeof import('../../src/fold')>('../../src/fold');
const { convOp } = jest.requireActual<typeof import('../../src/op')>('../../src/op');
const { coreOf, weightsOf } = jest.requireActual<typeof import('../../src/block')>('../../src/block');

/** A block as the table has them, square and as wide behind as before: a scale on a wrong axis fits its shapes. */
function caseOf(kind: KindName, activation: ActivationName = 'LeakyReLU'): BlockCase {
  const dense = kind === 'Dense';
  const axes = kind.includes('3D') ? 3 : kind === 'Conv1D' ? 1 : dense ? 0 : 2;
  const all = (value: number) => Array<number>(axes).fill(value);
  return {
    spec: {
      kind,
      batch: 2,
      spatial: all(3),
      channels: 3,
      filters: kind === 'DepthwiseConv2D' ? 9 : 3,
      multiplier: kind === 'DepthwiseConv2D' ? 3 : 1,
      kernelSize: all(2),
      strides: all(1),
      dilations: all(1),
      padding: 'same',
      channelsFirst: false,
    },
    bias: true,
    scale: true,
    center: true,
    axis: 'negative',
    epsilon: 1e-3,
    // An activation that saturates would hide much.
    tinyVariance: activation === 'LeakyReLU',
    activation,
    fuse: true,
  };
}

const KINDS: KindName[] = [
  'Conv1D',
  'Conv2D',
  'Conv3D',
  'Conv2DTranspose',
  'Conv3DTranspose',
  'DepthwiseConv2D',
  'SeparableConv2D',
  'Dense',
];

/** Which of the table's comparisons go red, and with what words. */
function compare(block: BlockCase): { output: string | null; gradients: string | null } {
  const { data, expected } = sample(block, 77);
  const model = buildModel(block, data);
  const failure = (numbers: () => Numbers) => {
    try {
      expectWithin(numbers(), expected);
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  };
  try {
    expect(setMode(model, 'tune').pairs).toHaveLength(1);
    return {
      output: failure(() => outputs(model, block, data)),
      gradients: failure(() => gradients(model, block, data)),
    };
  } finally {
    model.dispose();
  }
}

/** The folds that somebody might have written. */
const WRONG_FOLDS: Record<string, Fold> = {
  'ε is dropped': (kernel, bias, bn, shape) => fold(kernel, bias, { ...bn, epsilon: 0 }, shape),
  'ε is added outside of the root': (kernel, bias, bn, shape) => {
    const deviation = tf.add(tf.sqrt(bn.variance), bn.epsilon);
    return fold(kernel, bias, { ...bn, variance: tf.square(deviation), epsilon: 0 }, shape);
  },
  'μ is dropped': (kernel, bias, bn, shape) => fold(kernel, bias, { ...bn, mean: tf.zerosLike(bn.mean) }, shape),
  'μ is added': (kernel, bias, bn, shape) => fold(kernel, bias, { ...bn, mean: tf.neg(bn.mean) }, shape),
  "the conv's bias is forgotten": (kernel, _bias, bn, shape) => fold(kernel, null, bn, shape),
  "the conv's bias is not scaled": (kernel, bias, bn, shape) => {
    const folded = fold(kernel, null, bn, shape);
    return { ...folded, bias: tf.add(folded.bias, bias as tf.Tensor) };
  },
  'the variance is taken without its root': (kernel, bias, bn, shape) => {
    const scale = tf.div(bn.gamma as tf.Tensor, tf.add(bn.variance, bn.epsilon));
    return foldedBy(scale, kernel, bias, bn, shape);
  },
  'γ is dropped': (kernel, bias, bn, shape) => fold(kernel, bias, { ...bn, gamma: null }, shape),
  '|γ| for γ': (kernel, bias, bn, shape) => {
    return fold(kernel, bias, { ...bn, gamma: tf.abs(bn.gamma as tf.Tensor) }, shape);
  },
  'β is dropped': (kernel, bias, bn, shape) => fold(kernel, bias, { ...bn, beta: null }, shape),
  'the kernel is not scaled': (kernel, bias, bn, shape) => ({ ...fold(kernel, bias, bn, shape), kernel }),
  // For DepthwiseConv2D: s laid out as [multiplier, in].
  's is scaled along the axis beside': (kernel, bias, bn, shape) => {
    const swap = (t: tf.Tensor) =>
      tf.transpose(t, [...t.shape.map((_, axis) => axis).slice(0, -2), t.rank - 1, t.rank - 2]);
    const folded = fold(swap(kernel), bias, bn, shape);
    return { ...folded, kernel: swap(folded.kernel) };
  },
  's runs backwards through the kernel': (kernel, bias, bn, shape) => {
    const swapped = tf.reverse(bn.gamma as tf.Tensor1D);
    return { ...fold(kernel, bias, bn, shape), kernel: fold(kernel, bias, { ...bn, gamma: swapped }, shape).kernel };
  },
};

/** The same numbers, but weights that get no gradient. */
const DETACHED_FOLDS: Record<string, Fold> = {
  'γ is folded as a constant': (kernel, bias, bn, shape) =>
    fold(kernel, bias, { ...bn, gamma: constant(bn.gamma as tf.Tensor) }, shape),
  's is folded as a constant into the bias alone': (kernel, bias, bn, shape) => ({
    kernel: fold(kernel, bias, bn, shape).kernel,
    bias: fold(kernel, bias, { ...bn, gamma: constant(bn.gamma as tf.Tensor) }, shape).bias,
  }),
};

/** Same values, and a gradient of exactly 0: what remains of a weight's gradient is what comes another way. */
function constant(t: tf.Tensor): tf.Tensor {
  return tf.customGrad((x) => ({
    value: tf.mul(x as tf.Tensor, 1),
    gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
  }))(t);
}

function foldedBy(s: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | null, bn: BatchNormWeights, shape: number[]) {
  const shift = tf.mul(s, tf.sub(bias as tf.Tensor, bn.mean));
  return { kernel: tf.mul(kernel, tf.reshape(s, shape)), bias: tf.add(shift, bn.beta as tf.Tensor) };
}

/** Gradients somewhat off, outputs right. */
const WRONG_OPS: Record<string, ConvOp> = {
  "the activation's gradient is left out": (geometry, x, w, b, activation, axis) =>
    convOp(geometry, x, w, b, activation && { ...activation, gradient: (dy) => tf.mul(dy, 1) }, axis),
  "the activation's gradient is taken at twice the output": (geometry, x, w, b, activation, axis) => {
    const twice = activation && {
      ...activation,
      gradient: (dy: tf.Tensor, y: tf.Tensor) => activation.gradient(dy, tf.mul(y, 2)),
    };
    return convOp(geometry, x, w, b, twice, axis);
  },
  "the kernel's gradient is a thousandth off": (geometry, x, w, b, activation, axis) => {
    const gradKernel: typeof geometry.gradKernel = (...args) => tf.mul(geometry.gradKernel(...args), 1.001);
    return convOp({ ...geometry, gradKernel }, x, w, b, activation, axis);
  },
  "the input's gradient is a thousandth off": (geometry, x, w, b, activation, axis) => {
    const gradInput: typeof geometry.gradInput = (...args) => tf.mul(geometry.gradInput(...args), 1.001);
    return convOp({ ...geometry, gradInput }, x, w, b, activation, axis);
  },
};

const rows = (faults: object) => KINDS.flatMap((kind) => Object.keys(faults).map((fault) => [kind, fault] as const));

beforeAll(() => useBackend('cpu'));
afterEach(() => {
  mockFold = null;
  mockConvOp = null;
  mockTunePass = null;
});

const GREEN = { output: null, gradients: null };

test.each(KINDS)('%s without a fault is green', (kind) => {
  expect(compare(caseOf(kind))).toEqual(GREEN);
  expect(compare(caseOf(kind, 'Activation(tanh)'))).toEqual(GREEN);
});

test.each(rows(WRONG_FOLDS))('%s: %s', (kind, fault) => {
  mockFold = WRONG_FOLDS[fault];
  const found = compare(caseOf(kind));
  expect(found.output).toMatch(/y of predict is off by/);
  expect(found.gradients).not.toBeNull();
});

test.each(rows(DETACHED_FOLDS))('%s: %s', (kind, fault) => {
  mockFold = DETACHED_FOLDS[fault];
  expect(compare(caseOf(kind))).toEqual({ output: null, gradients: expect.stringMatching(/gamma is off by/) });
});

test.each(rows(WRONG_OPS))('%s: %s', (kind, fault) => {
  mockConvOp = WRONG_OPS[fault];
  const found = compare(caseOf(kind, fault.includes('activation') ? 'Activation(tanh)' : 'LeakyReLU'));
  expect(found).toEqual({ output: null, gradients: expect.stringMatching(/is off by/) });
});

describe('a Tune mode that silently does what Eval does', () => {
  const block = caseOf('Conv2D', 'Activation(tanh)');
  const asEval: TunePass = (pair, withActivation) => {
    const { conv, bn } = coreOf(pair);
    return (x) =>
      tf.tidy(() => {
        const weights = weightsOf(bn);
        const [gamma, beta] = [weights.gamma, weights.beta] as tf.Tensor1D[];
        const c = conv.apply(x) as tf.Tensor4D;
        const z = tf.batchNorm(c, weights.mean as never, weights.variance as never, beta, gamma, weights.epsilon);
        return withActivation ? tf.tanh(z) : z;
      });
  };

  test('has the right numbers, and shows in its kernels', async () => {
    mockTunePass = asEval;
    expect(compare(block)).toEqual(GREEN);
    const { data } = sample(block, 77);
    const model = buildModel(block, data);
    setMode(model, 'tune');
    const x = tf.tensor(data.x, [2, 3, 3, 3]);
    expect(await kernelsOf(() => model.predict(x))).toContain('FusedBatchNorm');
    mockTunePass = null;
    setMode(model, 'tune');
    expect(await kernelsOf(() => model.predict(x))).not.toContain('FusedBatchNorm');
    x.dispose();
    model.dispose();
  });
});

describe('a tolerance that nothing can pass by', () => {
  test('an error of ten tolerances in one element is seen, of a NaN and of a missing number too', () => {
    const block = caseOf('Conv2D');
    const { expected } = sample(block, 77);
    const { value, magnitude } = expected.y;
    const exact = Float32Array.from(value);
    expect(() => expectWithin(new Map([['y of apply', exact]]), expected)).not.toThrow();
    const nudged = exact.slice();
    nudged[4] += 10 * expected.tolerance * magnitude[4];
    expect(() => expectWithin(new Map([['y of apply', nudged]]), expected)).toThrow(/y of apply is off by/);
    const holed = exact.slice();
    holed[4] = Number.NaN;
    expect(() => expectWithin(new Map([['y of apply', holed]]), expected)).toThrow(/Infinity/);
    expect(() => expectWithin(new Map([['y of apply', exact.slice(1)]]), expected)).toThrow(/Infinity/);
  });

  test('tolerances are small: at most a ten-thousandth', () => {
    for (const kind of KINDS) expect(sample(caseOf(kind), 77).expected.tolerance).toBeLessThan(1e-4);
  });
});
