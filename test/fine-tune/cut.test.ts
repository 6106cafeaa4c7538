/** Where a classifier's features end: a table of model shapes, and the new head on each. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { findCut } from '../../src/fine-tune/cut';
import { withNewHead } from '../../src/fine-tune/head';
import { useBackend } from '../helpers/backends';
import { allLayers } from '../helpers/models';
import { asLayer, CLASSIFIERS, dense, functional, SHAPE } from './classifiers';
import { chain, conv, gap, type Layer, line, relu, thrown } from './toy';

beforeAll(() => useBackend('cpu'));

const L = tfl.layers;

describe.each(CLASSIFIERS)('$name', ({ build, layer, features, keeps, loses }) => {
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
test('refused: scores straight from the picture', () => {
  const model = line(SHAPE, [conv('scores', 5), gap(), L.activation({ activation: 'softmax', name: 'soft' })]);
  expect(thrown(() => findCut(model))?.code).toBe('unsupported');
});
