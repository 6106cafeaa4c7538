/** Rows of the table: every op with a kernel, in every form. Their input `x` is [batch, 6, 5, 3]. */
import type { ConvForm } from '../../../adapters/graph-model';
import type { Given, GraphBuilder } from './graphs';

export interface Row {
  name: string;
  /** Writes the graph behind `x`, and names its outputs. */
  build(g: GraphBuilder, x: string): string | string[];
  /** Classes of the layers behind the row's input, in the model's order. */
  layers: string[];
  forms?: ConvForm[];
  /** The graph is linear, and its gradient is compared with differences, since tfjs's own is wrong or absent. */
  linear?: boolean;
}

/** As fused ops, their own layers, and what the node has of them besides. */
export const FUSED: { activation: string; layer: string; attributes?: Record<string, Given> }[] = [
  { activation: 'Relu', layer: 'ReLU' },
  { activation: 'Relu6', layer: 'ReLU' },
  { activation: 'Elu', layer: 'ELU' },
  { activation: 'Sigmoid', layer: 'Activation' },
  { activation: 'LeakyRelu', layer: 'LeakyReLU', attributes: { leakyrelu_alpha: { float: 0.3 } } },
  { activation: 'Prelu', layer: 'PReLU' },
];

interface Kind {
  op: string;
  fused: string;
  layer: string;
  kernel: number[];
  channels: number;
}

const CONV: Kind = { op: 'Conv2D', fused: '_FusedConv2D', layer: 'Conv2D', kernel: [3, 2, 3, 4], channels: 4 };
const DEPTHWISE: Kind = {
  op: 'DepthwiseConv2dNative',
  fused: 'FusedDepthwiseConv2dNative',
  layer: 'DepthwiseConv2D',
  kernel: [3, 3, 3, 2],
  channels: 6,
};

const padded = (padding: string, strides = [1, 1], dilations = [1, 1], explicit: number[] = []) => ({
  padding,
  strides: [1, ...strides, 1],
  dilations: [1, ...dilations, 1],
  explicit_paddings: explicit,
});

/** How a window can lie; `conv`: of Conv2D alone. */
const WINDOWS: { name: string; attributes: Record<string, Given>; conv?: true; dilated?: true }[] = [
  { name: 'SAME', attributes: padded('SAME') },
  { name: 'VALID', attributes: padded('VALID') },
  { name: 'SAME, strides 2', attributes: padded('SAME', [2, 2]) },
  { name: 'VALID, strides 2', attributes: padded('VALID', [2, 2]) },
  { name: 'SAME, dilations 2', attributes: padded('SAME', [1, 1], [2, 2]), dilated: true },
  { name: 'VALID, dilations 2', attributes: padded('VALID', [1, 1], [2, 2]), dilated: true },
  { name: 'EXPLICIT', attributes: padded('EXPLICIT', [2, 2], [1, 1], [0, 0, 1, 2, 0, 1, 0, 0]), conv: true },
];

function fused(g: GraphBuilder, x: string, kind: Kind, activation?: string, attributes: Record<string, Given> = {}) {
  const inputs = [g.constant('bias', [kind.channels])];
  if (activation === 'Prelu') inputs.push(g.scales('alpha', kind.channels));
  const fusedOps = { fused_ops: ['BiasAdd', ...(activation ? [activation] : [])], num_args: inputs.length };
  return g.conv('conv', x, kind.kernel, { op: kind.fused, ...fusedOps, ...attributes }, inputs);
}

function windows(kind: Kind): Row[] {
  return WINDOWS.filter(({ conv, dilated }) => kind === CONV || !(conv || dilated)).map(
    ({ name, attributes, dilated }) => ({
      name: `${kind.op}, ${name}${dilated ? ', Mul, Add' : ''}`,
      build: (g, x) => {
        const conv = g.conv('conv', x, kind.kernel, { op: kind.op, ...attributes });
        if (!dilated) return conv;
        g.node('Mul', 'mul', [conv, g.scales('scale', kind.channels)]);
        return g.node('Add', 'add', ['mul', g.constant('offset', [kind.channels])]);
      },
      layers: [
        ...(name === 'EXPLICIT' ? ['ZeroPadding2D'] : []),
        kind.layer,
        ...(dilated ? ['BatchNormalization'] : []),
      ],
      forms: [dilated ? 'affine' : 'plain'],
      // tfjs-core 4.22.0 has no gradients of dilated convolutions; a block in Tune mode has.
      linear: dilated,
    }),
  );
}

function fusions(kind: Kind): Row[] {
  // tfjs's fused depthwise convolution forgets LeakyRelu's α, and gives NaN: see lift-forms.test.ts.
  const rows = FUSED.filter(({ activation }) => kind === CONV || activation !== 'LeakyRelu').map(
    ({ activation, layer, attributes }): Row => ({
      name: `${kind.fused}, BiasAdd, ${activation}`,
      build: (g, x) => fused(g, x, kind, activation, attributes),
      layers: [kind.layer, layer],
      forms: ['folded'],
    }),
  );
  return [
    {
      name: `${kind.fused}, BiasAdd`,
      build: (g, x) => fused(g, x, kind),
      layers: [kind.layer],
      forms: ['folded'],
    },
    ...rows,
  ];
}

const TRANSPOSED = [
  { padding: 'SAME', to: [12, 10] },
  { padding: 'VALID', to: [13, 11] },
].flatMap(({ padding, to }): Row[] => [
  {
    name: `Conv2DBackpropInput, ${padding}, its size a constant, then bias and Relu`,
    build: (g, x) => {
      const size = g.ints('size', [2, ...to, 4]);
      const kernel = g.kernel('kernel', [3, 3, 4, 3]);
      g.node('Conv2DBackpropInput', 'deconv', [size, kernel, x], padded(padding, [2, 2]));
      return g.node('Relu', 'relu', [g.node('BiasAdd', 'biased', ['deconv', g.constant('bias', [4])])]);
    },
    layers: ['Conv2DTranspose', 'ReLU'],
    forms: ['folded'],
  },
  {
    name: `Conv2DBackpropInput, ${padding}, its size from Shape`,
    build: (g, x) => {
      const batch = batchOf(g, x);
      const [height, width, channels] = [...to, 4].map((size, i) => g.ints(`size_${i}`, size));
      const size = g.node('Pack', 'size', [batch, height, width, channels], { axis: 0 });
      const kernel = g.kernel('kernel', [3, 3, 4, 3]);
      return g.node('Conv2DBackpropInput', 'deconv', [size, kernel, x], padded(padding, [2, 2]));
    },
    layers: ['Conv2DTranspose'],
    forms: ['plain'],
  },
]);

/** The size of the batch, as Keras's layers ask for it. */
export function batchOf(g: GraphBuilder, x: string, name = 'batch'): string {
  const shape = g.node('Shape', `${name}/shape`, [x]);
  const bounds = [0, 1, 1].map((value, i) => g.ints(`${name}/bound_${i}`, [value]));
  return g.node('StridedSlice', `${name}/size`, [shape, ...bounds], { shrink_axis_mask: 1 });
}

function flat(g: GraphBuilder, x: string): string {
  return g.node('Reshape', 'flat', [x, g.ints('flat/shape', [-1, 90])]);
}

const MATMULS: Row[] = [
  ...[false, true].map(
    (transpose): Row => ({
      name: `MatMul, transpose_b ${transpose}, then BiasAdd`,
      build: (g, x) => {
        const kernel = g.kernel('kernel', transpose ? [4, 90] : [90, 4]);
        g.node('MatMul', 'matmul', [flat(g, x), kernel], { transpose_a: false, transpose_b: transpose });
        return g.node('BiasAdd', 'biased', ['matmul', g.constant('bias', [4])]);
      },
      layers: ['Reshape', 'Dense'],
      forms: ['folded'],
    }),
  ),
  {
    name: 'MatMul alone',
    build: (g, x) => g.node('MatMul', 'matmul', [flat(g, x), g.kernel('kernel', [90, 4])]),
    layers: ['Reshape', 'Dense'],
    forms: ['plain'],
  },
  ...[{ activation: '', layer: '', attributes: {} as Record<string, Given> | undefined }, ...FUSED].map(
    ({ activation, layer, attributes }, i): Row => ({
      name: `_FusedMatMul, BiasAdd${activation && `, ${activation}`}${i % 2 ? ', transpose_b' : ''}`,
      build: (g, x) => {
        const inputs = [flat(g, x), g.kernel('kernel', i % 2 ? [4, 90] : [90, 4]), g.constant('bias', [4])];
        if (activation === 'Prelu') inputs.push(g.scales('alpha', 4));
        return g.node('_FusedMatMul', 'matmul', inputs, {
          transpose_b: i % 2 === 1,
          fused_ops: ['BiasAdd', ...(activation ? [activation] : [])],
          num_args: inputs.length - 2,
          ...attributes,
        });
      },
      layers: ['Reshape', 'Dense', ...(layer ? [layer] : [])],
      forms: ['folded'],
    }),
  ),
];

export const PRODUCTS: Row[] = [
  ...[CONV, DEPTHWISE].flatMap((kind) => [...windows(kind), ...fusions(kind)]),
  {
    name: 'DepthwiseConv2dNative, depth multiplier 1, then BiasAdd',
    build: (g, x) => {
      g.conv('conv', x, [3, 3, 3, 1], { op: 'DepthwiseConv2dNative' });
      return g.node('BiasAdd', 'biased', ['conv', g.constant('bias', [3])]);
    },
    layers: ['DepthwiseConv2D'],
    forms: ['folded'],
  },
  ...TRANSPOSED,
  ...MATMULS,
];
