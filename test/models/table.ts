/**
 * Small models, each with what must be paired in it and what must not.
 *
 * A pair is written `conv + bn` or `conv + bn + activation`, by their paths. A skip: BN path, code, and what its reason
 * must mention.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { SkipCode, TuneOptions } from 'tfjs-tune-mode';

export const L = tfl.layers;
type Layer = tfl.layers.Layer;
type Symbolic = tfl.SymbolicTensor;

export interface Row {
  name: string;
  build: () => tfl.LayersModel;
  options?: TuneOptions;
  pairs: string[];
  skipped: [bn: string, code: SkipCode, mentions: string][];
  /** Why tfjs-layers itself cannot run it: in no mode, or only outside of eval and tune. */
  cannotRun?: 'at all' | 'in train';
  /** Whether tfjs-layers lacks gradients that Tune has. */
  onlyTuneTrains?: boolean;
}

/** Input → layer → layer → … */
export const chain = (x: Symbolic, ...layers: Layer[]): Symbolic =>
  layers.reduce((y, layer) => layer.apply(y) as Symbolic, x);
export const merge = (layer: Layer, ...inputs: Symbolic[]): Symbolic => layer.apply(inputs) as Symbolic;
export const input = (name = 'in', shape: number[] = [6, 6, 3]): Symbolic => tfl.input({ shape, name });
export const conv = (name: string, args: object = {}): Layer =>
  L.conv2d({ filters: 3, kernelSize: 3, padding: 'same', name, ...args });
export const bn = (name: string, args: object = {}): Layer => L.batchNormalization({ name, ...args });
export const relu = (name: string, maxValue?: number): Layer => L.reLU({ name, maxValue });
export const act = (name: string, activation: 'linear' | 'relu' | 'relu6' | 'elu' | 'sigmoid' | 'softmax' | 'tanh') =>
  L.activation({ activation, name });
const td = (name: string, layer: Layer): Layer => L.timeDistributed({ layer, name });
const model = (inputs: Symbolic | Symbolic[], outputs: Symbolic | Symbolic[], name?: string): tfl.LayersModel =>
  tfl.model({ inputs, outputs, name });
const asLayer = (inner: tfl.LayersModel): Layer => inner as unknown as Layer;

/** input → layers, as a functional model. */
const line = (...layers: Layer[]): tfl.LayersModel => {
  const x = input();
  return model(x, chain(x, ...layers));
};
const stack = (name: string, shape: number[] | null, ...layers: Layer[]): tfl.Sequential => {
  const made = tfl.sequential({ name });
  if (shape !== null) made.add(L.inputLayer({ inputShape: shape, name: `${name}_in` }));
  for (const layer of layers) made.add(layer);
  return made;
};

/** A layer of which nothing is known: doubles its input. `registered` makes no difference. */
export class Doubling extends L.Layer {
  static className = 'Doubling';
  override computeOutputShape(shape: tfl.Shape | tfl.Shape[]) {
    return shape;
  }
  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const x = Array.isArray(inputs) ? inputs[0] : inputs;
    return tf.add(x, x);
  }
}
export class RegisteredDoubling extends Doubling {
  static override className = 'RegisteredDoubling';
}
tf.serialization.registerClass(RegisteredDoubling);

/** The same block twice with weights of its own, in a nested model. */
const nestedBlock = (name: string) => stack(name, [6, 6, 3], conv('conv'), bn('norm'), relu('relu'));

const STRUCTURES: Row[] = [
  {
    name: 'Sequential: conv, depthwise and dense, each with its BN',
    build: () =>
      stack(
        'net',
        [8, 8, 3],
        conv('c1', { strides: 2, useBias: false }),
        bn('n1'),
        relu('r1', 6),
        L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, name: 'c2' }),
        bn('n2', { epsilon: 0.1 }),
        L.flatten({ name: 'flat' }),
        L.dense({ units: 4, name: 'c3' }),
        bn('n3'),
        act('a3', 'tanh'),
        L.dense({ units: 2, name: 'head', activation: 'softmax' }),
      ),
    pairs: ['c1 + n1 + r1', 'c2 + n2', 'c3 + n3 + a3'],
    skipped: [],
  },
  {
    name: 'residual: the ReLU after the addition is nobody’s',
    build: () => {
      const x = input();
      const y = chain(x, conv('c1'), bn('n1'), relu('r1'), conv('c2'), bn('n2'));
      return model(x, chain(merge(L.add({ name: 'sum' }), y, x), relu('r2')));
    },
    pairs: ['c1 + n1 + r1', 'c2 + n2'],
    skipped: [],
  },
  {
    name: 'two branches concatenated, one BN after the concatenation',
    build: () => {
      const x = input();
      const a = chain(x, conv('c1'), bn('n1'), relu('r1'));
      const b = chain(x, conv('c2'), bn('n2'));
      return model(x, chain(merge(L.concatenate({ name: 'both' }), a, b), bn('n3'), conv('c4'), bn('n4')));
    },
    pairs: ['c1 + n1 + r1', 'c2 + n2', 'c4 + n4'],
    skipped: [['n3', 'not-after-conv', "'both' (Concatenate)"]],
  },
  {
    name: 'several inputs and outputs',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const left = chain(a, conv('c1'), bn('n1'), relu('r1'));
      const right = chain(b, conv('c2'), bn('n2'));
      return model([a, b], [right, chain(merge(L.add({ name: 'sum' }), left, right), conv('c3'), bn('n3')), left]);
    },
    pairs: ['c1 + n1 + r1', 'c2 + n2', 'c3 + n3'],
    skipped: [],
  },
  {
    name: 'a functional model in a functional model',
    build: () => {
      const i = input('inner_in');
      const inner = model(i, chain(i, conv('c1'), bn('n1'), relu('r1')), 'inner');
      return line(conv('c0'), bn('n0'), asLayer(inner), conv('c2'), bn('n2'));
    },
    pairs: ['c0 + n0', 'inner/c1 + inner/n1 + inner/r1', 'c2 + n2'],
    skipped: [],
  },
  {
    name: 'a Sequential as the first layer of a Sequential, which wires the two graphs into one',
    build: () => stack('outer', null, stack('base', [6, 6, 3], conv('c1'), bn('n1')), relu('r1'), conv('c2'), bn('n2')),
    pairs: ['base/c1 + base/n1', 'c2 + n2'],
    skipped: [],
  },
  {
    name: 'Sequentials in a Sequential, first and second',
    build: () =>
      stack(
        'outer',
        null,
        stack('base', null, stack('trunk', [6, 6, 3], conv('c1'), bn('n1'), relu('r1')), conv('c2'), bn('n2')),
        stack('head', [6, 6, 3], L.flatten({ name: 'flat' }), L.dense({ units: 3, name: 'c3' }), bn('n3'), relu('r3')),
      ),
    pairs: ['base/trunk/c1 + base/trunk/n1 + base/trunk/r1', 'base/c2 + base/n2', 'head/c3 + head/n3 + head/r3'],
    skipped: [],
  },
  {
    name: 'four levels deep, Sequential and functional in turn',
    build: () => {
      const i = input('i4');
      const deepest = model(i, chain(i, conv('c'), bn('n'), relu('r', 6)), 'd');
      const third = stack('c', [6, 6, 3], asLayer(deepest), conv('after'), bn('norm'));
      const j = input('i2');
      const second = model(j, chain(j, asLayer(third)), 'b');
      return line(asLayer(second));
    },
    pairs: ['b/c/d/c + b/c/d/n + b/c/d/r', 'b/c/after + b/c/norm'],
    skipped: [],
  },
  {
    name: 'one nested model used twice: one block',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const tower = asLayer(nestedBlock('tower'));
      return model([a, b], merge(L.concatenate({ name: 'both' }), chain(a, tower), chain(b, tower)));
    },
    pairs: ['tower/conv + tower/norm + tower/relu'],
    skipped: [],
  },
  {
    name: 'two nested models with layers of the same names',
    build: () => line(asLayer(nestedBlock('one')), asLayer(nestedBlock('two'))),
    pairs: ['one/conv + one/norm + one/relu', 'two/conv + two/norm + two/relu'],
    skipped: [],
  },
  {
    name: 'convs of one, two and three dimensions',
    build: () => {
      const [a, b, c] = [input('a', [8, 2]), input('b', [8, 8, 2]), input('c', [3, 3, 3, 2])];
      const one = chain(a, L.conv1d({ filters: 2, kernelSize: 3, name: 'c1' }), bn('n1'), relu('r1'));
      const two = chain(
        b,
        L.separableConv2d({ filters: 3, kernelSize: 3, name: 'c2' }),
        bn('n2'),
        L.leakyReLU({ name: 'r2' }),
        L.conv2dTranspose({ filters: 2, kernelSize: 2, strides: 2, name: 'c3' }),
        bn('n3'),
        L.elu({ name: 'r3' }),
      );
      const three = chain(c, L.conv3d({ filters: 2, kernelSize: 2, name: 'c4' }), bn('n4'), act('r4', 'sigmoid'));
      return model([a, b, c], [one, two, three]);
    },
    pairs: ['c1 + n1 + r1', 'c2 + n2 + r2', 'c3 + n3 + r3', 'c4 + n4 + r4'],
    skipped: [],
    cannotRun: 'in train', // BN of rank 5
  },
  {
    name: 'Conv3DTranspose and dilation, for which tfjs has no gradient',
    build: () => {
      const [a, b] = [input('a', [3, 3, 3, 2]), input('b')];
      const one = chain(a, L.conv3dTranspose({ filters: 2, kernelSize: 2, name: 'c1' }), bn('n1'));
      return model([a, b], [one, chain(b, conv('c2', { dilationRate: 2 }), bn('n2'), relu('r2'))]);
    },
    pairs: ['c1 + n1', 'c2 + n2 + r2'],
    skipped: [],
    cannotRun: 'in train',
    onlyTuneTrains: true,
  },
  {
    name: 'no BN at all',
    build: () => line(conv('c1'), relu('r1')),
    pairs: [],
    skipped: [],
  },
];

const SHARED: Row[] = [
  {
    name: 'a block used at three places is one pair',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const block = [conv('c'), bn('n'), relu('r')];
      const twice = chain(chain(a, ...block), ...block);
      return model([a, b], merge(L.add({ name: 'sum' }), twice, chain(b, ...block)));
    },
    pairs: ['c + n + r'],
    skipped: [],
  },
  {
    name: 'a shared block whose uses go on differently keeps its activations out',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const block = [conv('c'), bn('n')];
      return model([a, b], [chain(a, ...block, relu('r1')), chain(b, ...block, relu('r2'))]);
    },
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'a shared block, one of its uses an output of the model',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const block = [conv('c'), bn('n')];
      return model([a, b], [chain(a, ...block, relu('r')), chain(b, ...block)]);
    },
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'one ReLU object after several blocks, and somewhere else',
    build: () => {
      const r = relu('r');
      return line(conv('c1'), bn('n1'), r, conv('c2'), bn('n2'), r, L.maxPooling2d({ poolSize: 2 }), r);
    },
    pairs: ['c1 + n1 + r', 'c2 + n2 + r'],
    skipped: [],
  },
  {
    name: 'a conv shared by two BNs',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const c = conv('c');
      return model([a, b], [chain(a, c, bn('n1'), relu('r1')), chain(b, c, bn('n2'))]);
    },
    pairs: [],
    skipped: [
      ['n1', 'shared-differently', "'c'"],
      ['n2', 'shared-differently', "'c'"],
    ],
  },
  {
    name: 'a BN shared by two convs',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const n = bn('n');
      return model([a, b], [chain(a, conv('c1'), n, relu('r1')), chain(b, conv('c2'), n)]);
    },
    pairs: [],
    skipped: [['n', 'shared-differently', "'c1' at one place and 'c2' at another"]],
  },
  {
    name: 'a conv used once with a BN, once without',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const c = conv('c');
      return model([a, b], [chain(a, c, bn('n')), chain(b, c, relu('bare'))]);
    },
    pairs: [],
    skipped: [['n', 'shared-differently', "'bare'"]],
  },
  {
    name: 'a conv shared with its BN, at one place with another consumer',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const [c, n] = [conv('c'), bn('n')];
      const y = chain(b, c);
      return model([a, b], [chain(a, c, n), merge(L.add({ name: 'sum' }), y, chain(y, n))]);
    },
    pairs: [],
    skipped: [['n', 'conv-other-consumer', "'sum'"]],
  },
  {
    name: 'a conv shared with its BN, at one place an output of the model',
    build: () => {
      const [a, b] = [input('a'), input('b')];
      const [c, n] = [conv('c'), bn('n')];
      return model([a, b], [chain(a, c, n), chain(b, c)]);
    },
    pairs: [],
    skipped: [['n', 'conv-is-output', "'c'"]],
  },
  {
    name: 'a conv inside a nested model that is used outside of it too',
    build: () => {
      const c = conv('c');
      const i = input('i');
      const inner = model(i, chain(i, c, bn('n'), relu('r')), 'inner');
      const x = input();
      return model(x, merge(L.add({ name: 'sum' }), chain(x, asLayer(inner)), chain(x, c)));
    },
    pairs: [],
    skipped: [['inner/n', 'shared-differently', "'sum'"]],
  },
  {
    name: 'a BN applied to its own output',
    build: () => {
      const n = bn('n');
      return line(conv('c'), n, n);
    },
    pairs: [],
    skipped: [['n', 'shared-differently', "'c' at one place and 'n' at another"]],
  },
  {
    name: 'a BN applied twice to one conv output',
    build: () => {
      const n = bn('n');
      const x = input();
      const y = chain(x, conv('c'));
      return model(x, merge(L.add({ name: 'sum' }), chain(y, n), chain(y, n)));
    },
    pairs: [],
    skipped: [['n', 'conv-other-consumer', "'n'"]],
  },
];

const TIME_DISTRIBUTED: Row[] = [
  {
    name: 'TimeDistributed around a model',
    build: () => {
      const x = input('clip', [3, 6, 6, 3]);
      return model(x, chain(x, td('time', asLayer(nestedBlock('inner')))));
    },
    pairs: ['time/inner/conv + time/inner/norm + time/inner/relu'],
    skipped: [],
  },
  {
    name: 'TimeDistributed around conv, BN and activation each',
    build: () => {
      const x = input('clip', [3, 6, 6, 3]);
      return model(x, chain(x, td('c', conv('ci')), td('n', bn('ni')), td('r', relu('ri', 6))));
    },
    pairs: ['c + n + r'],
    skipped: [],
  },
  {
    name: 'TimeDistributed conv, with BN and activation plain, and the other way round',
    build: () => {
      const x = input('clip', [3, 5, 5, 3]);
      const y = chain(x, td('c1', conv('i1')), bn('n1'), relu('r1'));
      return model(x, chain(y, L.conv3d({ filters: 3, kernelSize: 2, name: 'c2' }), td('n2', bn('i2')), relu('r2')));
    },
    pairs: ['c1 + n1 + r1', 'c2 + n2 + r2'],
    skipped: [],
    cannotRun: 'in train', // BN of rank 5
  },
  {
    name: 'one BN inside and outside of TimeDistributed',
    build: () => {
      const [x, y] = [input('clip', [3, 6, 6, 3]), input('picture')];
      const [c, n] = [conv('c'), bn('n')];
      return model([x, y], [chain(x, td('tc', c), td('tn', n)), chain(y, c, n)]);
    },
    pairs: [],
    skipped: [['tn', 'shared-differently', "'tc' at one place and 'c' at another"]],
  },
  {
    name: 'Dense over a sequence',
    build: () => {
      const x = input('words', [5, 3]);
      return model(x, chain(x, L.dense({ units: 4, name: 'c1' }), bn('n1'), td('c2', L.dense({ units: 2 })), bn('n2')));
    },
    pairs: ['c1 + n1', 'c2 + n2'],
    skipped: [],
  },
];

const ACTIVATIONS: Row[] = [
  ...(['relu', 'relu6', 'elu', 'sigmoid', 'tanh'] as const).map(
    (name): Row => ({
      name: `Activation('${name}') is taken in`,
      build: () => line(conv('c'), bn('n'), act('a', name)),
      pairs: ['c + n + a'],
      skipped: [],
    }),
  ),
  ...(
    [
      ['Activation softmax', () => act('a', 'softmax')],
      ['Activation linear', () => act('a', 'linear')],
      ['ReLU with maxValue 2', () => relu('a', 2)],
      ['LeakyReLU with alpha −0.5', () => L.leakyReLU({ alpha: -0.5, name: 'a' })],
      ['PReLU', () => L.prelu({ name: 'a' })],
      ['Dropout', () => L.dropout({ rate: 0.5, seed: 7, name: 'a' })],
    ] as const
  ).map(
    ([name, layer]): Row => ({
      name: `${name} is not taken in`,
      build: () => line(conv('c'), bn('n'), layer()),
      pairs: ['c + n'],
      skipped: [],
    }),
  ),
  {
    name: 'an activation that is not the only consumer of the BN is not taken in',
    build: () => {
      const x = input();
      const y = chain(x, conv('c'), bn('n'));
      return model(x, merge(L.add({ name: 'sum' }), chain(y, relu('r')), y));
    },
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'two activations of one BN are not taken in',
    build: () => {
      const x = input();
      const y = chain(x, conv('c'), bn('n'));
      return model(x, merge(L.concatenate({ name: 'both' }), chain(y, relu('r1')), chain(y, relu('r2', 6))));
    },
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'the activation of a BN that is an output is not taken in',
    build: () => {
      const x = input();
      const y = chain(x, conv('c'), bn('n'));
      return model(x, [chain(y, relu('r')), y]);
    },
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'fuseActivation: false takes in none',
    build: () => line(conv('c1'), bn('n1'), relu('r1'), conv('c2'), bn('n2'), act('a2', 'tanh')),
    options: { fuseActivation: false },
    pairs: ['c1 + n1', 'c2 + n2'],
    skipped: [],
  },
];

const AXES: Row[] = [
  {
    name: 'the channel axis counted from the front',
    build: () => line(conv('c'), bn('n', { axis: 3 })),
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'the axis as a list, the way TensorFlow 2 saves it',
    build: () => line(conv('c'), bn('n', { axis: [3] }), relu('r')),
    pairs: ['c + n + r'],
    skipped: [],
  },
  {
    name: 'the axis as a list, of a BN that is no pair',
    build: () => line(bn('n', { axis: [3] }), relu('r'), conv('c')),
    pairs: [],
    skipped: [['n', 'not-after-conv', 'InputLayer']],
  },
  {
    name: 'channelsFirst with axis 1',
    build: () => {
      const x = input('in', [3, 6, 6]);
      return model(x, chain(x, conv('c', { dataFormat: 'channelsFirst' }), bn('n', { axis: 1 }), relu('r')));
    },
    pairs: ['c + n + r'],
    skipped: [],
    cannotRun: 'in train', // BN along axis 1
  },
  {
    name: 'channelsLast with axis 1',
    build: () => line(conv('c'), bn('n', { axis: 1 })),
    pairs: [],
    skipped: [['n', 'axis-mismatch', "axis 1, while 'c' has its channels on axis 3"]],
    cannotRun: 'in train',
  },
  {
    name: 'channelsFirst with the last axis',
    build: () => {
      const x = input('in', [3, 6, 6]);
      return model(x, chain(x, conv('c', { dataFormat: 'channelsFirst' }), bn('n'), relu('r')));
    },
    pairs: [],
    skipped: [['n', 'axis-mismatch', "axis 3, while 'c' has its channels on axis 1"]],
  },
  {
    name: 'Dense over a sequence with the BN along time',
    build: () => {
      const x = input('words', [5, 3]);
      return model(x, chain(x, L.dense({ units: 4, name: 'c' }), bn('n', { axis: 1 })));
    },
    pairs: [],
    skipped: [['n', 'axis-mismatch', "axis 1, while 'c' has its channels on axis 2"]],
    cannotRun: 'in train',
  },
  {
    name: 'TimeDistributed BN along another axis',
    build: () => {
      const x = input('clip', [3, 6, 5, 3]);
      return model(x, chain(x, td('c', conv('ci')), td('n', bn('ni', { axis: 2 }))));
    },
    pairs: [],
    skipped: [['n', 'axis-mismatch', "axis 3, while 'c' has its channels on axis 4"]],
    cannotRun: 'in train',
  },
];

const REFUSED: Row[] = [
  {
    name: 'BN as the first layer, and BN after BN',
    build: () => line(bn('n0'), conv('c'), bn('n1'), bn('n2')),
    pairs: ['c + n1'],
    skipped: [
      ['n0', 'not-after-conv', "'in' (InputLayer)"],
      ['n2', 'not-after-conv', "'n1' (BatchNormalization)"],
    ],
  },
  ...(
    [
      ['pooling', 'MaxPooling2D', () => L.maxPooling2d({ poolSize: 2, name: 'between' })],
      ['dropout', 'Dropout', () => L.dropout({ rate: 0.5, seed: 3, name: 'between' })],
      ['an activation', 'ReLU', () => relu('between')],
      ['padding', 'ZeroPadding2D', () => L.zeroPadding2d({ padding: 1, name: 'between' })],
    ] as const
  ).map(
    ([what, className, layer]): Row => ({
      name: `${what} between conv and BN`,
      build: () => line(conv('c'), layer(), bn('n')),
      pairs: [],
      skipped: [['n', 'not-after-conv', `'between' (${className})`]],
    }),
  ),
  ...[Doubling, RegisteredDoubling].map(
    (custom): Row => ({
      name: `a layer class of the user's own before the BN: ${custom.className}`,
      build: () => line(conv('c1'), new custom({ name: 'mine' }), bn('n1'), conv('c2'), bn('n2'), relu('r2')),
      pairs: ['c2 + n2 + r2'],
      skipped: [['n1', 'unknown-layer', `'mine' (${custom.className})`]],
    }),
  ),
  {
    name: 'a conv whose call somebody has replaced',
    build: () => {
      const patched = conv('c');
      const call = patched.call;
      patched.call = (inputs, kwargs) => tf.mul(call.call(patched, inputs, kwargs) as tf.Tensor, 2);
      return line(patched, bn('n'));
    },
    pairs: [],
    skipped: [['n', 'unknown-layer', "'c' is named Conv2D"]],
  },
  {
    name: 'a subclass that inherits the name Conv2D',
    build: () => {
      const Conv2D = conv('sample').constructor as new (args: object) => Layer;
      class Halved extends Conv2D {
        override call(inputs: tf.Tensor | tf.Tensor[], kwargs: object) {
          return tf.mul(super.call(inputs, kwargs as never) as tf.Tensor, 0.5);
        }
      }
      return line(new Halved({ filters: 3, kernelSize: 3, name: 'c' }), bn('n'), relu('r'));
    },
    pairs: [],
    skipped: [['n', 'unknown-layer', "'c' is named Conv2D"]],
  },
  {
    name: 'a ReLU whose call somebody has replaced stays outside of the block',
    build: () => {
      const patched = relu('r');
      patched.call = (inputs) => tf.square(Array.isArray(inputs) ? inputs[0] : inputs);
      return line(conv('c'), bn('n'), patched);
    },
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'a layer class of the user’s own after the BN does not matter',
    build: () => line(conv('c'), bn('n'), new Doubling({ name: 'mine' })),
    pairs: ['c + n'],
    skipped: [],
  },
  ...(['relu', 'softmax', 'tanh'] as const).map(
    (activation): Row => ({
      name: `${activation} inside the conv`,
      build: () => line(conv('c', { activation }), bn('n'), relu('r')),
      pairs: [],
      skipped: [['n', 'conv-activation', `'c' applies '${activation}'`]],
    }),
  ),
  {
    name: 'linear inside the conv is no activation',
    build: () => line(conv('c', { activation: 'linear' }), bn('n')),
    pairs: ['c + n'],
    skipped: [],
  },
  {
    name: 'the conv’s output is an output of the model',
    build: () => {
      const x = input();
      const y = chain(x, conv('c'));
      return model(x, [chain(y, bn('n'), relu('r')), y]);
    },
    pairs: [],
    skipped: [['n', 'conv-is-output', "'c'"]],
  },
  {
    name: 'the conv’s output is an output of the nested model with its BN',
    build: () => {
      const i = input('i');
      const y = chain(i, conv('c'));
      const inner = asLayer(model(i, [chain(y, bn('n')), y], 'inner'));
      const x = input();
      return model(x, inner.apply(x) as Symbolic[]);
    },
    pairs: [],
    skipped: [['inner/n', 'conv-is-output', "'inner/c'"]],
  },
  {
    name: 'the conv ends a nested model and the BN comes after it',
    build: () => line(asLayer(stack('inner', [6, 6, 3], relu('r'), conv('c'))), bn('n')),
    pairs: [],
    skipped: [['n', 'conv-is-output', "'inner/c'"]],
  },
  {
    name: 'the conv ends a Sequential that is the first layer of another',
    build: () => stack('outer', null, stack('base', [6, 6, 3], conv('c')), bn('n'), relu('r')),
    pairs: [],
    skipped: [['n', 'conv-is-output', "'base/c'"]],
  },
  {
    name: 'the conv ends a model inside TimeDistributed',
    build: () => {
      const x = input('clip', [3, 6, 6, 3]);
      return model(x, chain(x, td('time', asLayer(stack('inner', [6, 6, 3], conv('c')))), bn('n')));
    },
    pairs: [],
    skipped: [['n', 'conv-is-output', "'time/inner/c'"]],
    cannotRun: 'in train', // BN of rank 5
  },
  {
    name: 'a nested model that ends without a conv',
    build: () => line(asLayer(nestedBlock('inner')), bn('n')),
    pairs: ['inner/conv + inner/norm + inner/relu'],
    skipped: [['n', 'not-after-conv', "'inner'"]],
  },
  {
    name: 'a BN that begins a nested model',
    build: () => line(conv('c'), asLayer(stack('inner', [6, 6, 3], bn('n'), relu('r')))),
    pairs: [],
    skipped: [['inner/n', 'not-after-conv', '(InputLayer)']],
  },
  {
    name: 'something else consumes the conv’s output',
    build: () => {
      const x = input();
      const y = chain(x, conv('c'));
      return model(x, merge(L.add({ name: 'sum' }), chain(y, bn('n'), relu('r')), y));
    },
    pairs: [],
    skipped: [['n', 'conv-other-consumer', "'c' goes to 'sum'"]],
  },
  {
    name: 'two BNs on one conv output',
    build: () => {
      const x = input();
      const y = chain(x, conv('c'));
      return model(x, merge(L.add({ name: 'sum' }), chain(y, bn('n1')), chain(y, bn('n2'))));
    },
    pairs: [],
    skipped: [
      ['n1', 'conv-other-consumer', "'n2'"],
      ['n2', 'conv-other-consumer', "'n1'"],
    ],
  },
  {
    name: 'include leaves out by kind',
    build: () =>
      stack(
        'net',
        [6, 6, 3],
        conv('c1'),
        bn('n1'),
        L.depthwiseConv2d({ kernelSize: 3, name: 'c2' }),
        bn('n2'),
        relu('r2'),
        L.flatten(),
        L.dense({ units: 2, name: 'c3' }),
        bn('n3'),
      ),
    options: { include: ({ kind }) => kind === 'DepthwiseConv2D' },
    pairs: ['c2 + n2 + r2'],
    skipped: [
      ['n1', 'excluded', 'include'],
      ['n3', 'excluded', 'include'],
    ],
  },
  {
    name: 'Conv1D as tfjs-layers cannot run it',
    build: () => {
      const x = input('in', [6, 2]);
      const args = { filters: 2, kernelSize: 3 };
      const causal = chain(x, L.conv1d({ ...args, padding: 'causal', name: 'c1' }), bn('n1'));
      const first = chain(
        x,
        L.conv1d({ ...args, dataFormat: 'channelsFirst', kernelSize: 2, name: 'c2' }),
        bn('n2', { axis: 1 }),
      );
      return model(x, [causal, first]);
    },
    pairs: [],
    skipped: [
      ['n1', 'unsupported-config', "'c1' (Conv1D)"],
      ['n2', 'unsupported-config', "'c2' (Conv1D)"],
    ],
    cannotRun: 'at all',
  },
  {
    name: 'SeparableConv2D channelsFirst: with a bias tfjs-layers is wrong, without it is right',
    build: () => {
      const x = input('in', [3, 6, 6]);
      const args = { filters: 2, kernelSize: 3, dataFormat: 'channelsFirst' as const };
      const biased = chain(x, L.separableConv2d({ ...args, name: 'c1' }), bn('n1', { axis: 1 }));
      const bare = chain(x, L.separableConv2d({ ...args, useBias: false, name: 'c2' }), bn('n2', { axis: 1 }));
      return model(x, [biased, bare]);
    },
    pairs: ['c2 + n2'],
    skipped: [['n1', 'unsupported-config', "'c1' (SeparableConv2D)"]],
    cannotRun: 'at all',
  },
];

export const MODELS: Row[] = [...STRUCTURES, ...SHARED, ...TIME_DISTRIBUTED, ...ACTIVATIONS, ...AXES, ...REFUSED];
