import * as tfl from '@tensorflow/tfjs-layers';
import { randomise } from '../helpers/models';
import { blocks, bn, chain, conv, gap, type Layer, line } from './toy';

const L = tfl.layers;
export const SHAPE = [16, 16, 3];
export const dense = (name: string, units = 5) => L.dense({ name, units, activation: 'softmax' });
export const asLayer = (model: tfl.LayersModel) => model as unknown as Layer;

function sequential(name: string, ...layers: Layer[]): tfl.Sequential {
  const model = tfl.sequential({ name });
  for (const layer of layers) model.add(layer);
  return model;
}
const inputLayer = (name = 'in') => L.inputLayer({ inputShape: SHAPE, name });
/** Without random weights, for what is nested. */
export function functional(name: string, layers: Layer[], shape = SHAPE): tfl.LayersModel {
  const inputs = tfl.input({ shape, name: `${name}_in` });
  return tfl.model({ inputs, outputs: chain(inputs, ...layers), name });
}

export interface Row {
  name: string;
  build: () => tfl.LayersModel;
  /** The layer that computes the features, by its path. */
  layer: string;
  /** Without the batch. */
  features: (number | null)[];
  /** Layers, by path, that the new model must still have, and those that must be gone. */
  keeps: string[];
  loses: string[];
}

export const CLASSIFIERS: Row[] = [
  {
    name: 'functional: GAP and Dense',
    build: () => line(SHAPE, [...blocks(), gap(), dense('old')]),
    layer: 'pool',
    features: [12],
    keeps: ['c1', 'n1', 'c3', 'n3', 'r3', 'pool'],
    loses: ['old'],
  },
  {
    name: 'Sequential: GAP, two Dense with dropout between them',
    build: () =>
      sequential(
        's',
        inputLayer(),
        ...blocks(),
        gap(),
        L.dense({ units: 7, name: 'd' }),
        L.dropout({ rate: 0.5, name: 'drop' }),
        dense('old'),
      ),
    layer: 'pool',
    features: [12],
    keeps: ['c1', 'r3', 'pool'],
    loses: ['d', 'drop', 'old'],
  },
  {
    name: 'global max pooling',
    build: () => line(SHAPE, [...blocks(), L.globalMaxPooling2d({ name: 'max' }), dense('old')]),
    layer: 'max',
    features: [12],
    keeps: ['max'],
    loses: ['old'],
  },
  {
    name: 'Flatten and Dense: the feature map before them',
    build: () => line(SHAPE, [...blocks(), L.flatten({ name: 'flat' }), dense('old')]),
    layer: 'r3',
    features: [8, 8, 12],
    keeps: ['c3', 'n3', 'r3'],
    loses: ['flat', 'old'],
  },
  {
    name: 'average pooling to 1×1, then Flatten and Dense: the map before the pooling',
    build: () =>
      line(SHAPE, [
        ...blocks(),
        L.averagePooling2d({ poolSize: 8, name: 'avg' }),
        L.flatten({ name: 'flat' }),
        dense('old'),
      ]),
    layer: 'r3',
    features: [8, 8, 12],
    keeps: ['r3'],
    loses: ['avg', 'flat', 'old'],
  },
  {
    name: 'Keras MobileNet v1: GAP, Reshape, dropout, 1×1 conv, Reshape, softmax',
    build: () =>
      line(SHAPE, [
        ...blocks(),
        gap(),
        L.reshape({ targetShape: [1, 1, 12], name: 'reshape_1' }),
        L.dropout({ rate: 0.001, name: 'dropout' }),
        conv('conv_preds', 5, { kernelSize: 1, useBias: true }),
        L.activation({ activation: 'softmax', name: 'act_softmax' }),
        L.reshape({ targetShape: [5], name: 'reshape_2' }),
      ]),
    layer: 'pool',
    features: [12],
    keeps: ['pool'],
    loses: ['reshape_1', 'conv_preds', 'reshape_2', 'act_softmax', 'dropout'],
  },
  {
    name: 'class scores of a conv, pooled, then softmax: what the conv takes',
    build: () =>
      line(SHAPE, [
        ...blocks(),
        conv('scores', 5, { kernelSize: 1 }),
        gap(),
        L.activation({ activation: 'softmax', name: 'soft' }),
      ]),
    layer: 'r3',
    features: [8, 8, 12],
    keeps: ['r3'],
    loses: ['scores', 'pool', 'soft'],
  },
  {
    name: 'class scores with softmax in the conv, pooled',
    build: () => line(SHAPE, [...blocks(), conv('scores', 5, { activation: 'softmax' }), gap()]),
    layer: 'r3',
    features: [8, 8, 12],
    keeps: ['r3'],
    loses: ['scores', 'pool'],
  },
  {
    name: 'no scores: a conv with ReLU inside, pooled',
    build: () => line(SHAPE, [...blocks(), conv('more', 9, { activation: 'relu' }), gap(), dense('old')]),
    layer: 'pool',
    features: [9],
    keeps: ['more', 'pool'],
    loses: ['old'],
  },
  {
    name: 'no scores: a conv with BN and no activation, pooled',
    build: () => line(SHAPE, [...blocks(), conv('more', 9), bn('n4'), gap(), dense('old')]),
    layer: 'pool',
    features: [9],
    keeps: ['more', 'n4', 'pool'],
    loses: ['old'],
  },
  {
    name: 'no head at all: features as they are',
    build: () => line(SHAPE, blocks()),
    layer: 'r3',
    features: [8, 8, 12],
    keeps: ['r3'],
    loses: [],
  },
  {
    name: 'pictures of any size',
    build: () => line([null as never, null as never, 3], [...blocks(), gap(), dense('old')]),
    layer: 'pool',
    features: [12],
    keeps: ['pool'],
    loses: ['old'],
  },
  {
    name: 'Teachable Machine: a Sequential of a Sequential with a functional net and GAP, and a Sequential of Dense',
    build: () => {
      const base = sequential('sequential_1', asLayer(functional('model1', blocks())), gap());
      const top = sequential(
        'sequential_3',
        L.dense({ units: 10, inputShape: [12], activation: 'relu', name: 'dense_1' }),
        dense('dense_2'),
      );
      const model = sequential('sequential_4', asLayer(base), asLayer(top));
      randomise(model, 3);
      return model;
    },
    layer: 'pool',
    features: [12],
    keeps: ['c1', 'r3', 'pool'],
    loses: ['dense_1', 'dense_2'],
  },
  {
    name: 'a nested functional net that pools by itself, then Dense',
    build: () => {
      const model = sequential('outer', inputLayer(), asLayer(functional('base', [...blocks(), gap()])), dense('old'));
      randomise(model, 3);
      return model;
    },
    layer: 'base/pool',
    features: [12],
    keeps: ['base', 'c1', 'pool'],
    loses: ['old'],
  },
  {
    name: 'a whole classifier nested: the cut is inside of it',
    build: () => {
      const model = functional('outer', [
        L.activation({ activation: 'linear', name: 'same' }),
        asLayer(functional('base', [...blocks(), gap(), dense('old')])),
      ]);
      randomise(model, 3);
      return model;
    },
    layer: 'base/pool',
    features: [12],
    keeps: ['same', 'c1', 'pool'],
    loses: ['old'],
  },
  {
    name: 'a nested head that pools: GAP and Dense in a Sequential of their own',
    build: () => {
      const head = sequential(
        'head',
        L.globalAveragePooling2d({ inputShape: [8, 8, 12], name: 'pool' } as never),
        dense('old'),
      );
      const model = functional('outer', [...blocks(), asLayer(head)]);
      randomise(model, 3);
      return model;
    },
    layer: 'head/pool',
    features: [12],
    keeps: ['c1', 'r3', 'pool'],
    loses: ['old'],
  },
];
