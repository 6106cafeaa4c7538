/** Where a classifier's features end: a table of model shapes, and the new head on each. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { findCut } from '../../src/fine-tune/cut';
import { checkKeptHead, withNewHead } from '../../src/fine-tune/head';
import { useBackend } from '../helpers/backends';
import { allLayers, randomise } from '../helpers/models';
import { blocks, bn, chain, conv, gap, type Layer, line, net, relu, thrown } from './toy';

beforeAll(() => useBackend('cpu'));

const L = tfl.layers;
const SHAPE = [16, 16, 3];
const dense = (name: string, units = 5) => L.dense({ name, units, activation: 'softmax' });
const asLayer = (model: tfl.LayersModel) => model as unknown as Layer;

function sequential(name: string, ...layers: Layer[]): tfl.Sequential {
  const model = tfl.sequential({ name });
  for (const layer of layers) model.add(layer);
  return model;
}
const inputLayer = (name = 'in') => L.inputLayer({ inputShape: SHAPE, name });
/** Without random weights, for what is nested. */
function functional(name: string, layers: Layer[], shape = SHAPE): tfl.LayersModel {
  const inputs = tfl.input({ shape, name: `${name}_in` });
  return tfl.model({ inputs, outputs: chain(inputs, ...layers), name });
}

interface Row {
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

const ROWS: Row[] = [
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

describe.each(ROWS)('$name', ({ build, layer, features, keeps, loses }) => {
  test(`is cut at ${layer}`, () => {
    const cut = findCut(build());
    expect(cut.layer).toBe(layer);
    expect(cut.features.shape.slice(1)).toEqual(features);
  });

  test('below the cut the layers are the very same objects; nothing of the old head is left', () => {
    const source = build();
    const own = new Map(allLayers(source).map((each) => [each.name, each]));
    const { model, dense: head } = withNewHead(source, 4, 0.3);
    const found = allLayers(model);
    for (const name of keeps) expect([name, found.includes(own.get(name) as Layer)]).toEqual([name, true]);
    for (const name of loses) expect([name, found.includes(own.get(name) as Layer)]).toEqual([name, false]);
    // Every weight of the new model is one of the source's, but for the new Dense.
    const weights = new Set(source.weights.map((weight) => weight.read()));
    const fresh = model.weights.filter((weight) => !weights.has(weight.read()));
    expect(fresh.map(({ shape }) => shape)).toEqual([[features.at(-1), 4], [4]]);
    expect(fresh.map((weight) => weight.read())).toEqual(head.weights.map((weight) => weight.read()));
  });

  test('names never collide, and the source is saved as before', () => {
    const source = build();
    const topology = JSON.stringify(source.toJSON(null, false));
    const weights = source.weights.map((weight) => weight.read());
    const { model } = withNewHead(source, 4, 0.3);
    const names = model.layers.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(JSON.stringify(source.toJSON(null, false))).toBe(topology);
    expect(source.weights.map((weight) => weight.read())).toEqual(weights);
  });

  test('every class begins equally likely, whatever the picture; the features are the model’s', () => {
    const source = build();
    const { model, features: upTo, description } = withNewHead(source, 4, 0.3);
    tf.tidy(() => {
      const x = tf.randomUniform([2, ...SHAPE], -1, 1, 'float32', 1);
      expect(Array.from((model.predict(x) as tf.Tensor).dataSync())).toEqual(new Array(8).fill(0.25));
      const found = upTo.predict(x) as tf.Tensor;
      expect(found.shape).toEqual([2, features.at(-1)]);
      // Pictures that differ have features that differ, or there would be nothing to learn.
      expect(tf.max(tf.abs(tf.sub(...(tf.unstack(found) as [tf.Tensor, tf.Tensor])))).dataSync()[0]).toBeGreaterThan(
        1e-4,
      );
    });
    expect(description).toContain(`'${layer}'`);
    expect(description).toContain('4 classes');
    expect(description.includes('pooled')).toBe(features.length === 3);
  });

  test('a new head can be put on a new head', () => {
    let model = build();
    const weights = model.weights.length;
    for (const classes of [4, 3, 2]) model = withNewHead(model, classes, 0.1).model;
    expect(model.outputs[0].shape).toEqual([null, 2]);
    expect(model.weights.length).toBeLessThanOrEqual(weights + 2);
  });
});

const NO_FEATURES: [string, () => tfl.LayersModel][] = [
  ['Dense alone', () => line([10], [L.dense({ name: 'd', units: 4 }), dense('old')])],
  ['Flatten of the picture and Dense', () => line(SHAPE, [L.flatten({ name: 'flat' }), dense('old')])],
  [
    'a model of Dense layers nested in another one',
    () => functional('outer', [L.flatten({ name: 'flat' }), asLayer(functional('inner', [dense('old')], [768]))]),
  ],
  [
    'Conv1D',
    () =>
      line(
        [20, 3],
        [L.conv1d({ filters: 4, kernelSize: 3, name: 'c' }), L.globalAveragePooling1d({ name: 'p' }), dense('old')],
      ),
  ],
  [
    'two branches that meet after their pooling',
    () => {
      const inputs = tfl.input({ shape: SHAPE, name: 'in' });
      const branches = ['a', 'b'].map((name) => chain(inputs, conv(`c${name}`, 4), relu(`r${name}`), gap(`p${name}`)));
      const both = L.concatenate({ name: 'both' }).apply(branches) as tfl.SymbolicTensor;
      return tfl.model({ inputs, outputs: chain(both, dense('old')) });
    },
  ],
];

test.each(NO_FEATURES)('refused: %s', (_name, build) => {
  const model = build();
  const error = thrown(() => findCut(model));
  expect(error?.code).toBe('unsupported');
  expect(error?.message).toContain(`'${model.name}'`);
  expect(error?.message).toContain('keepHead');
  expect(thrown(() => withNewHead(model, 2, 0.1))?.code).toBe('unsupported');
});

// The features would be the picture's own pixels: nothing of the net would be left to train.
// FAILS AT PRESENT: cut at the input.
test('refused: scores straight from the picture', () => {
  const model = line(SHAPE, [conv('scores', 5), gap(), L.activation({ activation: 'softmax', name: 'soft' })]);
  expect(thrown(() => findCut(model))?.code).toBe('unsupported');
});

describe('names', () => {
  test.each([
    [['head']],
    [['head', 'head_new']],
    [['head_pool', 'head_dropout', 'head']],
    [['head', 'head_new', 'head_new_new', 'head_dropout_new', 'head_dropout']],
  ])('%p are taken: others are found', (taken) => {
    const own = taken.map((name) => L.activation({ activation: 'linear', name }));
    const source = line(SHAPE, [...blocks(), ...own]);
    const { model } = withNewHead(source, 2, 0.1);
    const names = model.layers.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(taken));
    expect(names.length).toBe(source.layers.length + 3);
  });

  // tfjs names a model that is made by a counter, without looking at the layers around it: 'model7'.
  // FAILS AT PRESENT: "The name "model7" is used 2 times in the model."
  test('the name that tfjs would give to the cut nested model is taken', () => {
    const probe = tfl.input({ shape: [1] });
    const next = Number(/\d+$/.exec(tfl.model({ inputs: probe, outputs: probe }).name)?.[0]);
    const taken = Array.from({ length: 20 }, (_, i) =>
      L.activation({ activation: 'linear', name: `model${next + i}` }),
    );
    const source = functional('outer', [...taken, asLayer(functional('base', [...blocks(), gap(), dense('old')]))]);
    expect(() => withNewHead(source, 2, 0.1)).not.toThrow();
  });
});

describe('a head that is kept', () => {
  test.each([[2], [4], [6]])('of 5 classes, for %i: refused naming both counts', (count) => {
    const model = net();
    const error = thrown(() =>
      checkKeptHead(
        model,
        Array.from({ length: count }, (_, i) => `${i}`),
      ),
    );
    expect(error?.code).toBe('unsupported');
    expect(error?.message).toContain('[batch, 5]');
    expect(error?.message).toContain(`${count} classes`);
  });

  test('of 5 classes, for 5: taken', () => {
    expect(checkKeptHead(net(), ['a', 'b', 'c', 'd', 'e'])).toContain('5 classes');
  });

  test('a feature map is no head, even with as many channels as classes', () => {
    const model = line(SHAPE, [conv('c', 5)]);
    expect(thrown(() => checkKeptHead(model, ['a', 'b', 'c', 'd', 'e']))?.code).toBe('unsupported');
  });
});
