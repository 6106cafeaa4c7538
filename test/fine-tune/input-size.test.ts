/** A net for pictures of another size: a copy with equal weights, or a refusal; the source stays as it is. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, getMode } from 'tfjs-tune-mode';
import { fineTune } from '../../src/fine-tune';
import { withInputShape } from '../../src/fine-tune/input-size';
import { useBackend } from '../helpers/backends';
import {
  changes,
  largestDifference,
  predictions,
  randomise,
  rounding,
  snapshot,
  weightValues,
} from '../helpers/models';
import { blocks, chain, disposeLayers, disposeToy, gap, type Layer, line, net, refusal, toy } from './toy';

beforeAll(() => useBackend('cpu'));

const L = tfl.layers;
const dense = (name: string) => L.dense({ name, units: 5, activation: 'softmax' });
const anySize = () => line([null as never, null as never, 3], [...blocks(), gap(), dense('old')]);

function sequential(seed = 2): tfl.LayersModel {
  const model = tfl.sequential({ name: 'seq' });
  model.add(L.inputLayer({ inputShape: [16, 16, 3], name: 'in' }));
  for (const layer of [...blocks(), gap(), dense('old')]) model.add(layer);
  randomise(model, seed);
  return model;
}

function nested(): tfl.LayersModel {
  const inputs = tfl.input({ shape: [16, 16, 3], name: 'inner_in' });
  const base = tfl.model({ inputs, outputs: chain(inputs, ...blocks(), gap()), name: 'base' });
  const model = tfl.sequential({ name: 'outer' });
  model.add(base as unknown as Layer);
  model.add(dense('old'));
  randomise(model, 3);
  return model;
}

const BUILDS: [string, () => tfl.LayersModel][] = [
  ['functional', net],
  ['Sequential', sequential],
  ['a functional net in a Sequential', nested],
];

test.each<[string, () => tfl.LayersModel, number[]]>([
  ['its own size', net, [16, 16, 3]],
  ['any size', anySize, [23, 9, 3]],
  ['one side of any size', () => line([null as never, 16, 3], [...blocks(), gap(), dense('old')]), [40, 16, 3]],
])('%s: the model itself, and nothing is made', async (_name, build, shape) => {
  const model = build();
  const before = snapshot(model);
  expect(await withInputShape(model, shape)).toBe(model);
  expect(changes(before, snapshot(model))).toEqual([]);
  disposeLayers(model);
});

describe.each(BUILDS)('%s', (_name, build) => {
  test.each([[[24, 20, 3]], [[9, 9, 3]], [[16, 32, 3]]])(
    'for pictures %p: a copy with the same weights, names and predictions as the source would have',
    async (shape) => {
      const model = build();
      const before = snapshot(model);
      const copy = await withInputShape(model, shape);
      expect(copy).not.toBe(model);
      expect(copy.inputs[0].shape).toEqual([null, ...shape]);
      expect(copy.name).toBe(model.name);
      expect(copy.weights.map(({ originalName }) => originalName)).toEqual(
        model.weights.map(({ originalName }) => originalName),
      );
      expect(weightValues(copy)).toEqual(weightValues(model));
      // Weights of its own: one can train without the other.
      const shared = new Set(model.weights.map((weight) => weight.read()));
      expect(copy.weights.filter((weight) => shared.has(weight.read()))).toEqual([]);

      // A net of any size, with the weights of the copy, is what it must compute; the pooling makes sizes comparable.
      const reference = anySize();
      tf.tidy(() => reference.setWeights(copy.getWeights()));
      const x = [tf.randomUniform([2, ...shape], -1, 1, 'float32', 1)];
      expect(largestDifference(predictions(copy, x), predictions(reference, x))).toBeLessThan(rounding(reference));
      tf.dispose(x);
      disposeLayers(reference);

      disposeLayers(copy);
      expect(changes(before, snapshot(model))).toEqual([]);
      disposeLayers(model);
    },
  );
});

test('a model in tune mode is copied as the plain model that it is saved as, and stays in tune mode', async () => {
  const model = net();
  enableTuneMode(model);
  const copy = await withInputShape(model, [20, 20, 3]);
  expect(getMode(model)).toBe('tune');
  expect(getMode(copy)).toBe('train');
  expect(weightValues(copy)).toEqual(weightValues(model));
  disposeLayers(model, copy);
});

test('frozen layers stay frozen in the copy, with their own weights', async () => {
  const model = net();
  for (const name of ['c1', 'n1', 'n2']) model.getLayer(name).trainable = false;
  const copy = await withInputShape(model, [20, 20, 3]);
  expect(weightValues(copy)).toEqual(weightValues(model));
  for (const layer of copy.layers)
    expect([layer.name, layer.trainable]).toEqual([layer.name, model.getLayer(layer.name).trainable]);
  disposeLayers(model, copy);
});

// A list of weights has the trainable ones first: a single frozen γ changes the order, but is not in the topology.
test('single frozen weights do not mix up the others', async () => {
  const model = line(
    [16, 16, 3],
    [L.conv2d({ name: 'c', filters: 4, kernelSize: 3, useBias: false }), L.batchNormalization({ name: 'n' }), gap()],
  );
  const gamma = model.getLayer('n').weights[0];
  expect(gamma.originalName).toMatch(/gamma$/);
  gamma.trainable = false;
  const copy = await withInputShape(model, [20, 20, 3]);
  expect(weightValues(copy)).toEqual(weightValues(model));
  disposeLayers(model, copy);
});

const REFUSED: [string, () => tfl.LayersModel, number[], RegExp][] = [
  ['grey pictures', net, [16, 16, 1], /3 channel\(s\)/],
  ['pictures with alpha', anySize, [16, 16, 4], /3 channel\(s\)/],
  [
    'a Dense on all positions',
    () => line([16, 16, 3], [...blocks(), L.flatten({ name: 'flat' }), dense('old')]),
    [24, 24, 3],
    /weights depend on the size/,
  ],
  ['a model that takes no pictures', () => line([10], [dense('old')]), [16, 16, 3], /does not take pictures/],
  ['numbers that are no pictures', net, [768], /the pictures are 768/],
];

test.each(REFUSED)('refused: %s', async (_name, build, shape, message) => {
  const model = build();
  const before = snapshot(model);
  const error = await refusal(withInputShape(model, shape));
  expect(error.code).toBe('unsupported');
  expect(error.message).toContain(`'${model.name}'`);
  expect(error.message).toMatch(message);
  expect(changes(before, snapshot(model))).toEqual([]);
  disposeLayers(model);
});

// tfjs-layers (4.22.0) builds such models without a word; what stands out is only that they cannot compute.
test.each<[string, Layer[], number]>([
  [
    'a Reshape to a size of its own',
    [...blocks(), L.reshape({ targetShape: [64, 12], name: 'r' }), L.globalAveragePooling1d({ name: 'p' })],
    24,
  ],
  ['kernels larger than the pictures', [L.conv2d({ filters: 2, kernelSize: 9, name: 'c' }), gap()], 5],
])('refused by fineTune: %s', async (_name, layers, size) => {
  const model = line([16, 16, 3], [...layers, dense('old')]);
  const before = weightValues(model);
  const data = toy({ train: 4, val: 2, size });
  const five = { ...data, classNames: ['a', 'b', 'c', 'd', 'e'] };
  const [train, val] = [data.train, data.val].map(({ xs }) => ({
    xs,
    ys: tf.oneHot(tf.range(0, xs.shape[0], 1, 'int32'), 5) as tf.Tensor2D,
  }));
  expect((await refusal(fineTune(model, { ...five, train, val }, { keepHead: true, epochs: 1 }))).code).toBe(
    'unsupported',
  );
  expect(weightValues(model)).toEqual(before);
  tf.dispose([train.ys, val.ys]);
  disposeToy(data);
  disposeLayers(model);
});
