/** Rows of the table: activations and arithmetic behind a feature map `x` [batch, 6, 5, 4] with values in (−1, 1). */
import type { Given, GraphBuilder } from './graphs';
import type { Row } from './product-graphs';

/** To about ±8, so that Relu6 and its like are cut at both ends. */
const spread = (g: GraphBuilder, x: string) => g.node('Mul', 'spread', [x, g.constant('eight', [], [8])]);

const activation = (op: string, layer: string, attributes: Record<string, Given> = {}): Row => ({
  name: `${op}${Object.keys(attributes).length ? `, ${Object.keys(attributes)}` : ''}`,
  build: (g, x) => g.node(op, 'activation', [spread(g, x)], attributes),
  layers: ['Rescaling', layer],
});

const prelu = (name: string, shape: number[], layer = 'PReLU'): Row => ({
  name: `Prelu, ${name}`,
  build: (g, x) => g.node('Prelu', 'activation', [x, g.constant('alpha', shape)]),
  layers: [layer],
});

const ACTIVATIONS: Row[] = [
  activation('Relu', 'ReLU'),
  activation('Relu6', 'ReLU'),
  activation('LeakyRelu', 'LeakyReLU'),
  activation('LeakyRelu', 'LeakyReLU', { alpha: { float: 0.4 } }),
  activation('Elu', 'ELU'),
  activation('Selu', 'Activation'),
  activation('Sigmoid', 'Activation'),
  activation('Tanh', 'Activation'),
  activation('Softplus', 'Activation'),
  activation('Softmax', 'Softmax'),
  prelu('a slope a channel', [4]),
  prelu('slopes [1, 1, 1, c]', [1, 1, 1, 4]),
  prelu('a slope a value', [6, 5, 4]),
  prelu('one slope', [1]),
  {
    name: 'hard-sigmoid: Relu6(x + 3) / 6',
    build: (g, x) => hardSigmoid(g, spread(g, x)),
    layers: ['Rescaling', 'Rescaling', 'ReLU', 'Rescaling'],
  },
  {
    name: 'hard-swish: x · Relu6(x + 3) · (1/6)',
    build: (g, x) => g.node('Mul', 'swish', [spread(g, x), hardSigmoid(g, 'spread')]),
    layers: ['Rescaling', 'Rescaling', 'ReLU', 'Rescaling', 'Multiply'],
  },
  {
    name: 'swish: x · Sigmoid(x)',
    build: (g, x) => g.node('Mul', 'swish', [x, g.node('Sigmoid', 'sigmoid', [x])]),
    layers: ['Activation', 'Multiply'],
  },
];

function hardSigmoid(g: GraphBuilder, x: string): string {
  g.node('Relu6', 'hard/relu', [g.node('AddV2', 'hard/add', [x, g.constant('hard/three', [], [3])])]);
  return g.node('Mul', 'hard/mul', ['hard/relu', g.constant('hard/sixth', [], [1 / 6])]);
}

const OPERATORS = ['Add', 'AddV2', 'Sub', 'Mul', 'RealDiv', 'Div', 'Maximum', 'Minimum'];

/** Never near 0, where quotients lose their digits; but where x is chosen or not, in the midst of its values. */
const values = (g: GraphBuilder, op: string, shape: number[]) => {
  const length = shape.reduce((product, size) => product * size, 1);
  if (/M..imum/.test(op)) return g.random.array(length, () => g.random.uniform(-0.3, 0.3));
  return g.random.array(length, () => g.random.uniform(0.5, 2) * g.random.pick([-1, 1]));
};

const CONSTANTS: { what: string; shape: number[] }[] = [
  { what: 'a scalar', shape: [] },
  { what: 'a vector', shape: [4] },
  { what: 'a constant [1, 1, 1, c]', shape: [1, 1, 1, 4] },
  { what: 'a constant a position', shape: [6, 5, 1] },
  { what: 'a constant of every value', shape: [1, 6, 5, 4] },
];

/** Keras's Rescaling where one number does it. */
function layerOf(op: string, shape: number[], first: boolean): string {
  const isRescaling = !/M..imum/.test(op) && !(op.endsWith('Div') && first);
  return shape.length === 0 && isRescaling ? 'Rescaling' : 'GraphOperation';
}

const WITH_CONSTANTS: Row[] = OPERATORS.flatMap((op) =>
  CONSTANTS.flatMap(({ what, shape }) =>
    [false, true].map((first): Row => {
      // A lone Mul by a vector is lifted by itself: with no Add behind it, it is no BN.
      const isQuotient = op.endsWith('Div') && first;
      return {
        name: first ? `${what} ${op} x` : `x ${op} ${what}`,
        build: (g, x) => {
          const constant = g.constant('constant', shape, values(g, op, shape));
          // The divisor: from 1 to 3.
          const data = isQuotient ? g.node('AddV2', 'away', [x, g.constant('two', [], [2])]) : x;
          return g.node(op, 'result', first ? [constant, data] : [data, constant]);
        },
        layers: [...(isQuotient ? ['Rescaling'] : []), layerOf(op, shape, first)],
      };
    }),
  ),
);

const MERGES: Record<string, string> = {
  Add: 'Add',
  AddV2: 'Add',
  Mul: 'Multiply',
  Maximum: 'Maximum',
  Minimum: 'Minimum',
};

const BETWEEN: Row[] = [
  ...OPERATORS.flatMap((op): Row[] => [
    {
      name: `x ${op} another tensor of the same shape`,
      build: (g, x) => {
        g.node('Sigmoid', 'other', [g.conv('second', x, [1, 1, 4, 4])]);
        return g.node(op, 'result', [x, 'other']);
      },
      layers: ['Conv2D', 'Activation', MERGES[op] ?? 'GraphOperation'],
      forms: ['plain', 'plain'],
    },
    {
      name: `[batch, 1, 1, c] ${op} x`,
      build: (g, x) => {
        const axes = g.ints('axes', [1, 2]);
        g.node('Mean', 'mean', [g.conv('second', x, [1, 1, 4, 4]), axes], { keep_dims: true });
        const isChoice = /M..imum/.test(op);
        const distance = isChoice ? g.constant('far', [4], [20, -20, 20, -20]) : g.constant('two', [], [2]);
        return g.node(op, 'result', ['mean', g.node('AddV2', 'away', [x, distance])]);
      },
      layers: [
        ...['Conv2D', 'GlobalAveragePooling2D', 'Reshape'],
        ...(/M..imum/.test(op) ? ['GraphOperation', 'GraphOperation'] : ['Rescaling', 'GraphOperation']),
      ],
      forms: ['plain', 'plain'],
      // The gradients of these two do not sum over what was broadcast (tfjs-core 4.22.0). So far apart, it is linear.
      linear: /M..imum/.test(op),
    },
  ]),
  {
    name: 'AddN of three tensors',
    build: (g, x) => {
      g.node('Relu', 'relu', [x]);
      return g.node('AddN', 'sum', [x, 'relu', g.node('Sigmoid', 'sigmoid', [x])]);
    },
    layers: ['ReLU', 'Activation', 'Add'],
  },
  {
    name: 'x Mul x',
    build: (g, x) => g.node('Mul', 'square', [x, x]),
    layers: ['Activation', 'Multiply'],
  },
  {
    name: 'x Sub x Mul x',
    build: (g, x) => g.node('Sub', 'result', [x, g.node('Mul', 'square', [x, x])]),
    layers: ['Activation', 'Multiply', 'GraphOperation'],
  },
];

const IDENTITIES: Row[] = [
  {
    // StopGradient stops nothing in a GraphModel of tfjs either, and its graphs are no training graphs.
    name: 'Identity, StopGradient, Cast to float32',
    build: (g, x) => {
      g.node('StopGradient', 'stopped', [g.node('Identity', 'identity', [x])]);
      g.node('Cast', 'cast', ['stopped'], { SrcT: { type: 'float32' }, DstT: { type: 'float32' } });
      return g.node('Tanh', 'tanh', ['cast']);
    },
    layers: ['Activation'],
  },
  {
    name: 'constants behind Identity nodes',
    build: (g, x) => {
      g.node('Identity', 'kernel/read', [g.kernel('kernel', [3, 3, 4, 2])]);
      g.node('Conv2D', 'second', [x, 'kernel/read'], {
        strides: [1, 1, 1, 1],
        dilations: [1, 1, 1, 1],
        padding: 'VALID',
      });
      g.node('Identity', 'bias/read', [g.constant('bias', [2])]);
      return g.node('BiasAdd', 'biased', ['second', 'bias/read']);
    },
    layers: ['Conv2D'],
    forms: ['plain', 'folded'],
  },
];

export const ARITHMETIC: Row[] = [...ACTIVATIONS, ...WITH_CONSTANTS, ...BETWEEN, ...IDENTITIES];
