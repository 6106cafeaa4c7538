/** Small models with maps that are computed once more in the backward pass, and with maps that must be kept. */
import * as tfl from '@tensorflow/tfjs-layers';
import type { TuneOptions } from 'tfjs-tune-mode';
import { act, bn, chain, conv, input, L, merge, relu } from './table';

type Layer = tfl.layers.Layer;
export type Symbolic = tfl.SymbolicTensor;

export const RECOMPUTE: TuneOptions = { recompute: true };
const SIDE = 6;
export const BATCH = 2;
/** The largest map of the models here. */
export const POSITIONS = BATCH * SIDE * SIDE;

/** As Keras's MobileNets pad before a strided conv. */
const ASYMMETRIC: [[number, number], [number, number]] = [
  [0, 1],
  [0, 1],
];

export const depthwise = (name: string, args: object = {}): Layer =>
  L.depthwiseConv2d({ kernelSize: 3, padding: 'same', name, ...args });
export const pointwise = (name: string, filters: number): Layer => conv(name, { filters, kernelSize: 1 });
const padding = (name: string): Layer => L.zeroPadding2d({ padding: ASYMMETRIC, name });
export const model = (inputs: Symbolic | Symbolic[], outputs: Symbolic | Symbolic[], name?: string) =>
  tfl.model({ inputs, outputs, name });
const asLayer = (inner: tfl.LayersModel): Layer => inner as unknown as Layer;
const td = (layer: Layer): Layer => L.timeDistributed({ layer, name: `td_${layer.name}` });

/** conv → BN → activation, named after the conv. */
export const block = (x: Symbolic, layer: Layer, activation: Layer | null = relu(`${layer.name}_act`, 6)): Symbolic =>
  chain(x, layer, bn(`${layer.name}_bn`), ...(activation === null ? [] : [activation]));

/** MobileNet v2's: four times as wide inside as outside. */
export function bottleneck(x: Symbolic, name: string, stride = 1): Symbolic {
  const wide = block(x, pointwise(`${name}_expand`, 12));
  const middle =
    stride === 1
      ? block(wide, depthwise(`${name}_dw`))
      : block(
          chain(wide, padding(`${name}_pad`)),
          depthwise(`${name}_dw`, { padding: 'valid', strides: stride, useBias: false }),
        );
  const narrow = block(middle, pointwise(`${name}_project`, 3), null);
  return stride === 1 ? merge(L.add({ name: `${name}_add` }), x, narrow) : narrow;
}

export function bottleneckModel(): tfl.LayersModel {
  const x = input();
  return model(x, bottleneck(bottleneck(x, 'a'), 'b', 2));
}

interface Row {
  name: string;
  build: () => tfl.LayersModel;
  options?: TuneOptions;
  /** How many maps are computed once more in a step: of ordinary convolutions and of depthwise ones. */
  again: [conv: number, depthwise: number];
}

export const RECOMPUTED: Row[] = [
  {
    name: 'inverted bottlenecks, residual, and strided behind a padding',
    build: bottleneckModel,
    again: [2, 2],
  },
  {
    name: 'MobileNet v1: depthwise and pointwise in turn, one strided behind a padding',
    build: () => {
      const x = input();
      const first = block(block(block(x, conv('c0', { strides: 1 })), depthwise('d1')), pointwise('p1', 6));
      const padded = chain(first, padding('pad'));
      const second = block(padded, depthwise('d2', { padding: 'valid', strides: 2 }));
      return model(x, block(block(block(second, pointwise('p2', 8)), depthwise('d3')), pointwise('p3', 4)));
    },
    again: [0, 3],
  },
  {
    name: 'depthwise on depthwise on depthwise, with every activation',
    build: () => {
      const x = input();
      const y = [
        act('a1', 'tanh'),
        act('a2', 'sigmoid'),
        act('a3', 'elu'),
        L.leakyReLU({ alpha: 0.25, name: 'a4' }),
        null,
      ].reduce((t, activation, i) => block(t, depthwise(`d${i}`), activation), x);
      return model(x, block(y, conv('last')));
    },
    again: [0, 5],
  },
  {
    name: 'depthwise with a multiplier, before every kind that can take its output',
    build: () => {
      const x = input();
      const wide = (name: string) => block(x, depthwise(name, { depthMultiplier: 2 }));
      return model(x, [
        block(wide('d1'), L.separableConv2d({ filters: 2, kernelSize: 3, name: 'separable' })),
        block(wide('d2'), L.conv2dTranspose({ filters: 2, kernelSize: 2, strides: 2, name: 'transposed' })),
        block(wide('d3'), L.dense({ units: 2, name: 'dense' })),
        block(wide('d4'), depthwise('d5', { strides: 2 })),
        chain(wide('d6'), td(L.dense({ units: 2, name: 'each' })), bn('each_bn')),
      ]);
    },
    again: [0, 5],
  },
  {
    name: 'without γ, without β, without a bias',
    build: () => {
      const x = input();
      const a = chain(x, depthwise('d1', { useBias: false }), bn('n1', { scale: false }), relu('r1'));
      const b = chain(a, pointwise('p1', 3), bn('n2', { center: false }), relu('r2'));
      const c = chain(b, depthwise('d2', { useBias: false }), bn('n3', { scale: false, center: false }), relu('r3'));
      return model(x, chain(c, pointwise('p2', 2), bn('n4')));
    },
    again: [0, 2],
  },
  {
    name: 'the same depthwise block twice',
    build: () => {
      const x = input();
      const shared = [depthwise('d'), bn('n'), relu('r')];
      return model(x, block(chain(block(chain(x, ...shared), pointwise('p1', 3)), ...shared), pointwise('p2', 3)));
    },
    again: [0, 2],
  },
  {
    name: 'one activation layer behind a depthwise block, behind an ordinary one and on the input',
    build: () => {
      const x = input();
      const shared = relu('r');
      const y = chain(x, shared, conv('c1'), bn('n1'), depthwise('d'), bn('n2'), shared, conv('c2'), bn('n3'), shared);
      return model(x, chain(y, conv('c3'), bn('n4')));
    },
    again: [0, 1],
  },
  {
    name: 'inside nested models, one of them used twice',
    build: () => {
      const i = input('inner_in');
      const inner = asLayer(model(i, block(block(i, depthwise('d')), pointwise('p', 3)), 'inner'));
      const j = input('middle_in');
      const middle = asLayer(model(j, chain(bottleneck(j, 'm'), inner), 'middle'));
      const x = input();
      return model(x, chain(x, inner, middle));
    },
    // Bottleneck: one of each. The inner model: at two places.
    again: [1, 3],
  },
  {
    name: 'a Sequential',
    build: () =>
      tfl.sequential({
        layers: [
          depthwise('d', { inputShape: [SIDE, SIDE, 3] }),
          bn('n1'),
          relu('r1'),
          L.zeroPadding2d({ padding: 1, name: 'pad' }),
          conv('c', { padding: 'valid' }),
          bn('n2'),
          relu('r2'),
        ],
      }),
    again: [0, 1],
  },
];

export const KEPT: Row[] = [
  {
    name: 'an output that is also one of the model',
    build: () => {
      const x = input();
      const middle = block(x, depthwise('d'));
      return model(x, [block(middle, pointwise('p', 3)), middle]);
    },
    again: [0, 0],
  },
  {
    name: 'an output with two consumers, both of them blocks',
    build: () => {
      const x = input();
      const middle = block(x, depthwise('d'));
      return model(x, merge(L.add({ name: 'sum' }), block(middle, pointwise('p', 3)), block(middle, conv('c'))));
    },
    again: [0, 0],
  },
  {
    name: 'an output that a block takes and a sum besides',
    build: () => {
      const x = input();
      const middle = block(x, depthwise('d'));
      return model(x, merge(L.multiply({ name: 'product' }), block(middle, pointwise('p', 3)), middle));
    },
    again: [0, 0],
  },
  {
    name: 'an output that no block takes',
    build: () => {
      const x = input();
      const y = chain(block(x, depthwise('d1')), conv('alone'), L.maxPooling2d({ poolSize: 2, name: 'pool' }));
      return model(
        x,
        chain(block(y, depthwise('d2')), L.flatten({ name: 'flat' }), L.dense({ units: 2, name: 'head' })),
      );
    },
    again: [0, 0],
  },
  {
    name: 'an output whose padded copy is an output of the model',
    build: () => {
      const x = input();
      const padded = chain(block(x, depthwise('d')), padding('pad'));
      return model(x, [block(padded, conv('c', { padding: 'valid' })), padded]);
    },
    again: [0, 0],
  },
  {
    name: 'an output whose padded copy two blocks take',
    build: () => {
      const x = input();
      const padded = chain(block(x, depthwise('d')), padding('pad'));
      const both = ['c1', 'c2'].map((name) => block(padded, conv(name, { padding: 'valid' })));
      return model(x, merge(L.add({ name: 'sum' }), ...both));
    },
    again: [0, 0],
  },
  {
    name: 'an output whose padding the next block cannot take in',
    build: () => {
      const x = input();
      return model(x, block(chain(block(x, depthwise('d')), padding('pad')), conv('c', { padding: 'same' })));
    },
    again: [0, 0],
  },
  {
    name: 'an output that leaves a nested model, or enters one',
    build: () => {
      const i = input('inner_in');
      const inner = model(i, block(block(i, pointwise('p', 3)), depthwise('d')), 'inner');
      const x = input();
      return model(x, block(chain(block(x, depthwise('d0')), asLayer(inner)), pointwise('p2', 3)));
    },
    again: [0, 0],
  },
  {
    name: 'a pointwise conv that is less than four times as wide, one with a stride, one with more taps',
    build: () => {
      const x = input();
      return model(x, [
        block(block(x, pointwise('p1', 11)), conv('c1')),
        block(block(x, conv('p2', { filters: 12, kernelSize: 1, strides: 2 })), conv('c2')),
        block(block(x, conv('p3', { filters: 12, kernelSize: [1, 3] })), conv('c3')),
      ]);
    },
    again: [0, 0],
  },
  {
    name: 'TimeDistributed blocks',
    build: () => {
      const x = input('clip', [2, SIDE, SIDE, 3]);
      const timed = [depthwise('d'), bn('n'), relu('r'), pointwise('p', 12), bn('n2'), relu('r2'), conv('c'), bn('n3')];
      return model(x, chain(x, ...timed.map(td)));
    },
    again: [0, 0],
  },
  {
    name: 'blocks that are left out',
    build: bottleneckModel,
    options: { include: ({ kind, conv }) => kind === 'Conv2D' && !conv.endsWith('expand') },
    again: [0, 0],
  },
  {
    name: 'blocks whose activations are left to themselves',
    build: bottleneckModel,
    options: { fuseActivation: false },
    again: [0, 0],
  },
];
