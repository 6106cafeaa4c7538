/** Random inputs and attributes for the kernels that training a vision model calls: a generator of cases for each. */
import * as tf from '@tensorflow/tfjs-core';

export interface Input {
  shape: number[];
  values: number[];
  dtype?: 'int32' | 'bool';
}

export interface Case {
  inputs: Record<string, Input> | Input[];
  attrs: object;
  kernel?: string;
}

/** Random choices that a seed fixes. */
export class Random {
  constructor(private state: number) {}
  number(): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return this.state / 2 ** 32;
  }
  int(from: number, to: number): number {
    return from + Math.floor(this.number() * (to - from + 1));
  }
  pick<T>(...choices: T[]): T {
    return choices[this.int(0, choices.length - 1)];
  }
  shape(rank: number, max = 6): number[] {
    return Array.from({ length: rank }, () => this.int(1, max));
  }
  floats(shape: number[], scale = 3): Input {
    return { shape, values: this.list(shape, () => (2 * this.number() - 1) * scale) };
  }
  positive(shape: number[]): Input {
    return { shape, values: this.list(shape, () => 3 * this.number() + 0.1) };
  }
  ints(shape: number[], from: number, to: number, dtype: 'int32' | 'bool' = 'int32'): Input {
    return { shape, values: this.list(shape, () => this.int(from, to)), dtype };
  }
  private list(shape: number[], make: () => number): number[] {
    return Array.from({ length: tf.util.sizeFromShape(shape) }, make);
  }
}

type Generator = (r: Random) => Case | undefined;

const unary: Generator = (r) => ({ inputs: { x: r.floats(r.shape(r.int(0, 4)), r.pick(1, 3, 30)) }, attrs: {} });
const unaryOfPositive: Generator = (r) => ({ inputs: { x: r.positive(r.shape(r.int(1, 4))) }, attrs: {} });
const binary: Generator = (r) => {
  const shape = r.shape(r.int(1, 4), 5);
  const broadcast = () => shape.map((size) => (r.number() < 0.3 ? 1 : size));
  const [a, b] = [broadcast(), broadcast().slice(r.int(0, shape.length - 1))];
  return { inputs: { a: r.floats(a), b: r.positive(b) }, attrs: {} };
};
const reduction: Generator = (r) => {
  const shape = r.shape(r.int(1, 5), 5);
  const axes = shape.map((_, axis) => axis).filter(() => r.number() < 0.5);
  const axis = axes.length > 0 ? axes : [0];
  return { inputs: { x: r.floats(shape) }, attrs: { axis, reductionIndices: axis, keepDims: r.pick(true, false) } };
};
const pooled = (r: Random) => ({
  filterSize: [r.int(1, 4), r.int(1, 4)] as [number, number],
  strides: [r.int(1, 4), r.int(1, 4)] as [number, number],
  pad: r.pick<'same' | 'valid' | number>('same', 'valid', 0, 1, 2),
  dimRoundingMode: undefined as 'floor' | 'ceil' | 'round' | undefined,
});
const pooling: Generator = (r) => {
  const attrs = pooled(r);
  if (typeof attrs.pad === 'number') attrs.dimRoundingMode = r.pick(undefined, 'floor', 'ceil', 'round');
  const shape = r.shape(4, 9);
  const { outHeight, outWidth } = tf.backend_util.computePool2DInfo(
    shape as [number, number, number, number],
    attrs.filterSize,
    attrs.strides,
    1,
    attrs.pad,
    attrs.dimRoundingMode,
  );
  if (outHeight < 0 || outWidth < 0) return undefined;
  return { inputs: { x: r.floats(shape) }, attrs };
};
const averagePoolingGradient: Generator = (r) => {
  const attrs = { ...pooled(r), pad: r.pick('same' as const, 'valid' as const) };
  const input = r.shape(4, 8) as [number, number, number, number];
  const { outShape } = tf.backend_util.computePool2DInfo(input, attrs.filterSize, attrs.strides, 1, attrs.pad);
  return Math.min(...outShape) < 1 ? undefined : { inputs: { dy: r.floats(outShape), input: r.floats(input) }, attrs };
};
const pooling3d: Generator = (r) => {
  const attrs = {
    filterSize: r.shape(3, 3),
    strides: r.shape(3, 3),
    pad: r.pick('same', 'valid'),
    dataFormat: 'NDHWC',
  };
  return { inputs: { x: r.floats(r.shape(5, 5).map((size) => size + 2)) }, attrs };
};
const resizing: Generator = (r) => {
  const alignCorners = r.pick(true, false);
  const attrs = {
    alignCorners,
    halfPixelCenters: !alignCorners && r.pick(true, false),
    size: [r.int(1, 12), r.int(1, 12)],
  };
  return { inputs: { images: r.floats(r.shape(4, 8)) }, attrs };
};
// Square maps: on the cpu backend the gradient is wrong for others (4.22.0).
const resizingGradient: Generator = (r) => {
  const [side, size] = [r.int(2, 6), r.int(2, 9)];
  const channels = r.int(1, 4);
  const inputs = { images: r.floats([1, side, side, channels]), dy: r.floats([1, size, size, channels]) };
  return { inputs, attrs: { alignCorners: r.pick(true, false) } };
};
const responses = (r: Random) => ({ depthRadius: r.int(0, 4), bias: 1, alpha: 0.5, beta: r.pick(0.5, 0.75) });
const activation = (r: Random) => r.pick('linear', 'relu', 'relu6', 'sigmoid', 'leakyrelu', 'elu');
const fusedConvolution =
  (depthwise: boolean): Generator =>
  (r) => {
    const x = r.shape(4, 7);
    const filter = [r.int(1, 3), r.int(1, 3), x[3], r.int(1, 3)];
    if (Math.min(x[1] - filter[0], x[2] - filter[1]) < 0) return undefined;
    const bias = r.floats([depthwise ? x[3] * filter[3] : filter[3]]);
    const stride = r.int(1, 3);
    const attrs = { strides: [stride, stride], pad: r.pick('same', 'valid'), dataFormat: 'NHWC', dilations: [1, 1] };
    const inputs = { x: r.floats(x), filter: r.floats(filter), ...(r.pick(true, false) ? { bias } : {}) };
    return { inputs, attrs: { ...attrs, activation: activation(r), leakyreluAlpha: 0.2 } };
  };
const matrices = (r: Random) => {
  const [batch, rows, inner, columns] = [r.int(1, 3), ...r.shape(3, 9)];
  const [transposeA, transposeB] = [r.pick(true, false), r.pick(true, false)];
  const a = r.floats([batch, ...(transposeA ? [inner, rows] : [rows, inner])]);
  const b = r.floats([batch, ...(transposeB ? [columns, inner] : [inner, columns])]);
  const biases = [[columns], [1], [], [rows, columns], [batch, rows, columns]];
  return { inputs: { a, b }, attrs: { transposeA, transposeB }, bias: r.floats(r.pick(...biases)) };
};
const cast = (x: Input, dtype: string): Case => ({ kernel: 'Cast', inputs: { x }, attrs: { dtype } });
const einsum =
  (equation: string, ...shapes: number[][]): Generator =>
  (r) => ({ kernel: 'Einsum', inputs: shapes.map((shape) => r.floats(shape)), attrs: { equation } });

const UNARY =
  'Abs Ceil Cos Elu Erf Exp Floor Neg Relu Relu6 Round Selu Sigmoid Sign Softplus Square Step Tanh IsNan'.split(' ');
const BINARY = 'Add Sub Multiply RealDiv Maximum Minimum SquaredDifference Greater GreaterEqual Less LessEqual'.split(
  ' ',
);

export const KERNELS: [name: string, Generator][] = [
  ...UNARY.map((name): [string, Generator] => [name, unary]),
  ...['Log', 'Log1p', 'Sqrt', 'Rsqrt', 'Reciprocal'].map((name): [string, Generator] => [name, unaryOfPositive]),
  ...BINARY.map((name): [string, Generator] => [name, binary]),
  ...['Max', 'Min', 'Mean', 'Sum', 'Prod'].map((name): [string, Generator] => [name, reduction]),
  ['MaxPool', pooling],
  ['AvgPool', pooling],
  ['AvgPoolGrad', averagePoolingGradient],
  ['AvgPool3D', pooling3d],
  ['MaxPool3D', pooling3d],
  ['ResizeBilinear', resizing],
  ['ResizeNearestNeighbor', resizing],
  ['ResizeBilinearGrad', resizingGradient],
  ['ResizeNearestNeighborGrad', resizingGradient],
  ['FusedConv2D', fusedConvolution(false)],
  ['FusedDepthwiseConv2D', fusedConvolution(true)],
  ['BatchMatMul', (r) => matrices(r)],
  [
    '_FusedMatMul',
    (r) => {
      const { inputs, attrs, bias } = matrices(r);
      return {
        inputs: r.pick(true, true, false) ? { ...inputs, bias } : inputs,
        attrs: { ...attrs, activation: activation(r), leakyreluAlpha: 0.2 },
      };
    },
  ],
  ['LeakyRelu', (r) => ({ inputs: { x: r.floats(r.shape(4)) }, attrs: { alpha: r.pick(0, 0.1, 0.3, 2) } })],
  [
    'Prelu',
    (r) => {
      const shape = r.shape(4);
      const alphas = [shape.slice(1), shape, [shape[3]], [1, 1, shape[3]], [1]];
      return { inputs: { x: r.floats(shape), alpha: r.floats(r.pick(...alphas), 1) }, attrs: {} };
    },
  ],
  [
    'EluGrad',
    (r) => {
      const shape = r.shape(r.int(1, 4));
      return { inputs: { dy: r.floats(shape), y: r.floats(shape) }, attrs: {} };
    },
  ],
  [
    'ClipByValue',
    (r) => ({ inputs: { x: r.floats(r.shape(4), 9) }, attrs: { clipValueMin: r.pick(-1, 0), clipValueMax: 6 } }),
  ],
  [
    'Softmax',
    (r) => {
      const shape = r.shape(r.int(1, 4));
      return { inputs: { logits: r.floats(shape, r.pick(1, 30, 300)) }, attrs: { dim: shape.length - 1 } };
    },
  ],
  ['LRN', (r) => ({ inputs: { x: r.floats(r.shape(4, 8)) }, attrs: responses(r) })],
  [
    'LRNGrad',
    (r) => {
      const shape = r.shape(4, 8);
      return { inputs: { x: r.floats(shape), y: r.floats(shape), dy: r.floats(shape) }, attrs: responses(r) };
    },
  ],
  [
    'FusedBatchNorm',
    (r) => {
      const shape = r.shape(4);
      const channels = [shape[3]];
      const scaled: Record<string, Input> = r.pick(true, false)
        ? { scale: r.floats(channels), offset: r.floats(channels) }
        : {};
      const inputs: Record<string, Input> = {
        x: r.floats(shape),
        mean: r.floats(channels),
        variance: r.positive(channels),
        ...scaled,
      };
      return { inputs, attrs: { varianceEpsilon: 0.001 } };
    },
  ],
  [
    'PadV2',
    (r) => {
      const shape = r.shape(r.int(1, 5));
      return {
        inputs: { x: r.floats(shape) },
        attrs: { paddings: shape.map(() => [r.int(0, 3), r.int(0, 3)]), constantValue: r.pick(0, 2) },
      };
    },
  ],
  [
    'MirrorPad',
    (r) => {
      const shape = r.shape(r.int(1, 4)).map((size) => size + 2);
      const attrs = { paddings: shape.map(() => [r.int(0, 2), r.int(0, 2)]), mode: r.pick('reflect', 'symmetric') };
      return { inputs: { x: r.floats(shape) }, attrs };
    },
  ],
  [
    'Slice',
    (r) => {
      const shape = r.shape(r.int(1, 5));
      const begin = shape.map((size) => r.int(0, size - 1));
      const size = shape.map((length, axis) => r.int(1, length - begin[axis]));
      return { inputs: { x: r.floats(shape) }, attrs: { begin, size } };
    },
  ],
  [
    'Transpose',
    (r) => {
      const shape = r.shape(r.int(1, 6), 4);
      const perm = shape.map((_, axis) => ({ axis, at: r.number() })).sort((a, b) => a.at - b.at);
      return { inputs: { x: r.floats(shape) }, attrs: { perm: perm.map(({ axis }) => axis) } };
    },
  ],
  [
    'Concat',
    (r) => {
      const shape = r.shape(r.int(1, 4), 4);
      const axis = r.int(0, shape.length - 1);
      const part = () => r.floats(shape.map((size, k) => (k === axis ? r.int(0, 4) : size)));
      return { inputs: Array.from({ length: r.int(1, 4) }, part), attrs: { axis } };
    },
  ],
  [
    'Tile',
    (r) => {
      const shape = r.shape(r.int(1, 4), 4);
      return { inputs: { x: r.floats(shape) }, attrs: { reps: shape.map(() => r.int(1, 3)) } };
    },
  ],
  [
    'GatherV2',
    (r) => {
      const shape = r.shape(r.int(1, 4), 5);
      const axis = r.int(0, shape.length - 1);
      const indices = r.ints(r.shape(r.int(1, 2), 4), 0, shape[axis] - 1);
      return { inputs: { x: r.floats(shape), indices }, attrs: { axis, batchDims: 0 } };
    },
  ],
  [
    'Select',
    (r) => {
      const shape = r.shape(r.int(1, 4));
      const condition = r.ints(r.pick(shape, [shape[0]]), 0, 1, 'bool');
      return { inputs: { condition, t: r.floats(shape), e: r.floats(shape) }, attrs: {} };
    },
  ],
  [
    'OneHot',
    (r) => ({
      inputs: { indices: r.ints(r.shape(r.int(1, 2)), -2, 8) },
      attrs: { depth: r.int(1, 6), onValue: r.pick(1, 3), offValue: r.pick(0, 2), dtype: r.pick('float32', 'int32') },
    }),
  ],
  [
    'OneHot, smoothed labels',
    (r) => ({
      kernel: 'OneHot',
      inputs: { indices: r.ints(r.shape(1), 0, 4) },
      attrs: { depth: 5, onValue: 0.9, offValue: 0.025, dtype: 'float32' },
    }),
  ],
  ['Cast, float32 to bool', (r) => cast(r.floats(r.shape(3), r.pick(0.4, 300)), 'bool')],
  ['Cast, int32 to bool', (r) => cast(r.ints(r.shape(3), -300, 300), 'bool')],
  ['Cast, float32 to int32', (r) => cast(r.floats(r.shape(3), 9), 'int32')],
  ['Cast, bool to float32', (r) => cast(r.ints(r.shape(3), 0, 1, 'bool'), 'float32')],
  ['Einsum, a matrix product', einsum('ij,jk->ik', [3, 4], [4, 5])],
  ['Einsum, grayscale', einsum('ijk,kl->ijl', [4, 5, 3], [3, 1])],
  ['Einsum, a transposition', einsum('ijk->kij', [2, 3, 4])],
  ['Einsum, nothing to do', einsum('ij->ij', [2, 3])],
  ['Einsum, the sum of all', einsum('ij->', [2, 3])],
  ['Einsum, attention', einsum('bqhd,bkhd->bhqk', [2, 3, 2, 4], [2, 5, 2, 4])],
];
