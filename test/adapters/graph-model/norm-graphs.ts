/** Rows of the table: what follows a product and belongs to it, and BatchNorms that stand alone. `x` is [batch, 6, 5, 3]. */
import type { GraphBuilder } from './graphs';
import type { Row } from './product-graphs';

const conv = (g: GraphBuilder, x: string, name = 'conv', channels = [3, 4]) => g.conv(name, x, [3, 3, ...channels]);

const depthwise = (g: GraphBuilder, x: string) => g.conv('conv', x, [3, 3, 3, 1], { op: 'DepthwiseConv2dNative' });

function fusedNorm(g: GraphBuilder, op: string, x: string, channels = 4, epsilon?: number) {
  return g.node(op, 'norm', [x, ...g.statistics('norm', channels)], {
    is_training: false,
    data_format: 'NHWC',
    ...(epsilon === undefined ? {} : { epsilon: { float: epsilon } }),
  });
}

const ADDS: Row[] = ['Add', 'AddV2', 'BiasAdd'].map((op) => ({
  name: `Conv2D, ${op} with a constant, Relu6`,
  build: (g, x) => {
    g.node(op, 'biased', [conv(g, x), g.constant('bias', [4])]);
    return g.node('Relu6', 'relu', ['biased']);
  },
  layers: ['Conv2D', 'ReLU'],
  forms: ['folded'],
}));

const AFFINE: Row[] = [
  {
    name: 'Conv2D, Mul, Add',
    build: (g, x) => {
      g.node('Mul', 'mul', [conv(g, x), g.scales('scale', 4)]);
      return g.node('Add', 'add', ['mul', g.constant('offset', [4])]);
    },
    layers: ['Conv2D', 'BatchNormalization'],
    forms: ['affine'],
  },
  {
    name: 'Conv2D, Mul, Add, the constants first',
    build: (g, x) => {
      g.node('Mul', 'mul', [g.scales('scale', 4), conv(g, x)]);
      return g.node('AddV2', 'add', [g.constant('offset', [4]), 'mul']);
    },
    layers: ['Conv2D', 'BatchNormalization'],
    forms: ['affine'],
  },
  {
    name: 'DepthwiseConv2dNative, Mul, Add with constants [1, 1, 1, c], Relu6',
    build: (g, x) => {
      g.node('Mul', 'mul', [depthwise(g, x), g.scales('scale', 3, [1, 1, 1, 3])]);
      g.node('Add', 'add', ['mul', g.constant('offset', [1, 1, 1, 3])]);
      return g.node('Relu6', 'relu', ['add']);
    },
    layers: ['DepthwiseConv2D', 'BatchNormalization', 'ReLU'],
    forms: ['affine'],
  },
  {
    name: '_FusedConv2D with bias, Mul, AddV2, Relu',
    build: (g, x) => {
      const fused = { op: '_FusedConv2D', fused_ops: ['BiasAdd'], num_args: 1 };
      const biased = g.conv('conv', x, [3, 3, 3, 4], fused, [g.constant('bias', [4])]);
      g.node('Mul', 'mul', [biased, g.scales('scale', 4)]);
      return g.node('Relu', 'relu', [g.node('AddV2', 'add', ['mul', g.constant('offset', [4])])]);
    },
    layers: ['Conv2D', 'BatchNormalization', 'ReLU'],
    forms: ['affine'],
  },
  {
    name: 'Conv2D, BiasAdd, Mul, Sub',
    build: (g, x) => {
      g.node('BiasAdd', 'biased', [conv(g, x), g.constant('bias', [4])]);
      g.node('Mul', 'mul', ['biased', g.scales('scale', 4)]);
      return g.node('Sub', 'sub', ['mul', g.constant('offset', [4])]);
    },
    layers: ['Conv2D', 'BatchNormalization'],
    forms: ['affine'],
  },
  {
    name: 'Conv2D, Mul and no Add: no BN',
    build: (g, x) => g.node('Mul', 'mul', [conv(g, x), g.scales('scale', 4)]),
    layers: ['Conv2D', 'GraphOperation'],
    forms: ['plain'],
  },
  {
    name: 'Conv2D, Mul, a constant minus that: no BN',
    build: (g, x) => {
      g.node('Mul', 'mul', [conv(g, x), g.scales('scale', 4)]);
      return g.node('Sub', 'sub', [g.constant('offset', [4]), 'mul']);
    },
    layers: ['Conv2D', 'GraphOperation', 'GraphOperation'],
    forms: ['plain'],
  },
  {
    name: 'MatMul, Mul, Add',
    build: (g, x) => {
      const flat = g.node('Reshape', 'flat', [x, g.ints('flat/shape', [-1, 90])]);
      g.node('Mul', 'mul', [g.node('MatMul', 'matmul', [flat, g.kernel('kernel', [90, 4])]), g.scales('scale', 4)]);
      return g.node('Add', 'add', ['mul', g.constant('offset', [4])]);
    },
    layers: ['Reshape', 'Dense', 'BatchNormalization'],
    forms: ['affine'],
  },
  {
    name: 'Conv2D, Mul with a scalar, Add: no BN, nothing is a value a channel',
    build: (g, x) => {
      g.node('Mul', 'mul', [conv(g, x), g.constant('scale', [], [0.7])]);
      return g.node('Add', 'add', ['mul', g.constant('offset', [], [0.3])]);
    },
    layers: ['Conv2D', 'Rescaling', 'Rescaling'],
    forms: ['plain'],
  },
  {
    name: 'Conv2D whose output somebody else takes too: its Mul and Add are a BN of their own',
    build: (g, x) => {
      g.node('Mul', 'mul', [conv(g, x), g.scales('scale', 4)]);
      g.node('Add', 'add', ['mul', g.constant('offset', [4])]);
      return ['add', g.node('Tanh', 'tanh', ['conv'])];
    },
    layers: ['Conv2D', 'BatchNormalization', 'Activation'],
    forms: ['plain'],
  },
];

const NORMS: Row[] = [
  ...['FusedBatchNorm', 'FusedBatchNormV2', 'FusedBatchNormV3'].map(
    (op): Row => ({
      name: `Conv2D, ${op}`,
      build: (g, x) => fusedNorm(g, op, conv(g, x), 4, 0.01),
      layers: ['Conv2D', 'BatchNormalization'],
      forms: ['batchNorm'],
    }),
  ),
  {
    name: 'Conv2D, BiasAdd, FusedBatchNormV3, Relu6',
    build: (g, x) => {
      g.node('BiasAdd', 'biased', [conv(g, x), g.constant('bias', [4])]);
      return g.node('Relu6', 'relu', [fusedNorm(g, 'FusedBatchNormV3', 'biased', 4, 0.001)]);
    },
    layers: ['Conv2D', 'BatchNormalization', 'ReLU'],
    forms: ['batchNorm'],
  },
  {
    name: 'DepthwiseConv2dNative, FusedBatchNormV3 without an epsilon',
    build: (g, x) => fusedNorm(g, 'FusedBatchNormV3', depthwise(g, x), 3),
    layers: ['DepthwiseConv2D', 'BatchNormalization'],
    forms: ['batchNorm'],
  },
  {
    name: 'FusedBatchNormV3 alone, before a Conv2D',
    build: (g, x) => conv(g, g.node('Relu', 'relu', [fusedNorm(g, 'FusedBatchNormV3', x, 3, 0.001)])),
    layers: ['BatchNormalization', 'ReLU', 'Conv2D'],
    forms: ['plain'],
  },
  {
    name: 'Mul and Add alone, before a Conv2D',
    build: (g, x) => {
      g.node('Mul', 'mul', [g.node('Tanh', 'tanh', [x]), g.scales('scale', 3)]);
      return conv(g, g.node('Relu', 'relu', [g.node('Add', 'add', ['mul', g.constant('offset', [3])])]));
    },
    layers: ['Activation', 'BatchNormalization', 'ReLU', 'Conv2D'],
    forms: ['plain'],
  },
  {
    name: 'Mul and Sub alone, behind an activation',
    build: (g, x) => {
      g.node('Mul', 'mul', [g.node('Tanh', 'tanh', [conv(g, x)]), g.scales('scale', 4)]);
      return g.node('Sub', 'sub', ['mul', g.constant('offset', [4])]);
    },
    layers: ['Conv2D', 'Activation', 'BatchNormalization'],
    forms: ['plain'],
  },
];

const residual = (sum: string, biased: boolean): Row => ({
  name: `Conv2D, ${sum} with another tensor${biased ? ' that has a bias itself' : ''}, then Add with a constant`,
  build: (g, x) => {
    let other = g.node('Tanh', 'tanh', [x]);
    if (biased) other = g.node('BiasAdd', 'other/biased', [conv(g, x, 'other', [3, 3]), g.constant('other/bias', [3])]);
    g.node(sum, 'sum', [conv(g, x, 'conv', [3, 3]), other]);
    return g.node('Relu6', 'relu', [g.node('Add', 'add', ['sum', g.constant('bias', [3])])]);
  },
  layers: biased ? ['Conv2D', 'Conv2D', 'Add', 'ReLU'] : ['Conv2D', 'Activation', 'Add', 'ReLU'],
  forms: biased ? ['folded', 'folded'] : ['folded'],
});

/** Two convolutions with the same constants are one layer, unless something else about them differs. */
const SHARED: Row[] = [
  {
    name: 'two Conv2D with one kernel and one bias',
    build: (g, x) => {
      const kernel = g.kernel('kernel', [3, 3, 3, 3]);
      g.constant('bias', [3]);
      const attributes = { strides: [1, 1, 1, 1], dilations: [1, 1, 1, 1], padding: 'SAME' };
      for (const [name, input] of [
        ['first', x],
        ['second', 'first/biased'],
      ]) {
        g.node('Conv2D', name, [input, kernel], attributes);
        g.node('BiasAdd', `${name}/biased`, [name, 'bias']);
      }
      return 'second/biased';
    },
    layers: ['Conv2D'],
    forms: ['folded'],
  },
  {
    name: 'two Conv2D, Mul, Add with the same four constants, on maps of two sizes',
    build: (g, x) => {
      const constants = [g.kernel('kernel', [3, 3, 3, 4]), g.scales('scale', 4), g.constant('offset', [4])];
      const attributes = { strides: [1, 2, 2, 1], dilations: [1, 1, 1, 1], padding: 'SAME' };
      const small = g.node('MaxPool', 'pool', [x], { ...attributes, ksize: [1, 2, 2, 1] });
      return [x, small].map((input, i) => {
        g.node('Conv2D', `conv${i}`, [input, constants[0]], attributes);
        g.node('Mul', `mul${i}`, [`conv${i}`, constants[1]]);
        return g.node('Add', `add${i}`, [`mul${i}`, constants[2]]);
      });
    },
    layers: ['MaxPooling2D', 'Conv2D', 'BatchNormalization'],
    forms: ['affine'],
  },
  {
    name: 'two Conv2D with one kernel and different biases',
    build: (g, x) => {
      const kernel = g.kernel('kernel', [3, 3, 3, 4]);
      const attributes = { strides: [1, 1, 1, 1], dilations: [1, 1, 1, 1], padding: 'SAME' };
      return [0, 1].map((i) => {
        g.node('Conv2D', `conv${i}`, [x, kernel], attributes);
        return g.node('BiasAdd', `biased${i}`, [`conv${i}`, g.constant(`bias${i}`, [4])]);
      });
    },
    layers: ['Conv2D', 'Conv2D'],
    forms: ['folded', 'folded'],
  },
];

export const NORMALISED: Row[] = [
  ...ADDS,
  ...AFFINE,
  ...NORMS,
  residual('AddN', false),
  residual('Add', true),
  residual('AddV2', false),
  ...SHARED,
];
