/** Random nets: what is written under one set of flags is found again under any. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { kerasLayersOf, openKeras, writeKerasH5 } from '../../../adapters/keras/files';
import { matchLegacy } from '../../../adapters/keras/files/legacy';
import { snakeCase } from '../../../adapters/keras/files/model-parts';
import type { StoredWeight } from '../../../adapters/keras/files/stored-weight';
import { randomize } from './h5-models';
import { makeFolder } from './h5-python';

const folder = makeFolder();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function randomSource(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A net of [8, 8, 3] to [8, 8, 3], so that anything follows anything. */
function randomNet(random: () => number, depth: number, prefix: string): tf.LayersModel {
  const pick = (count: number) => Math.floor(random() * count);
  const layers: tf.layers.Layer[] = [];
  for (let i = 0, count = 2 + pick(4); i < count; i++) {
    const name = `${prefix}${i}`;
    const trainable = random() < 0.7;
    const conv = { filters: 3, kernelSize: 3, padding: 'same', useBias: random() < 0.5, trainable, name } as const;
    switch (pick(depth > 0 ? 7 : 6)) {
      case 0:
        layers.push(tf.layers.conv2d(conv));
        break;
      case 1:
        layers.push(tf.layers.separableConv2d(conv));
        break;
      case 2:
        layers.push(tf.layers.depthwiseConv2d({ ...conv, depthMultiplier: 1 } as never));
        break;
      case 3:
        layers.push(tf.layers.batchNormalization({ scale: random() < 0.5, center: random() < 0.8, trainable, name }));
        break;
      case 4:
        layers.push(tf.layers.dense({ units: 3, trainable, name }));
        break;
      case 5:
        layers.push(tf.layers.reLU({ name }));
        break;
      default:
        layers.push(randomNet(random, depth - 1, `${name}_in`));
    }
  }
  if (random() < 0.5) {
    const model = tf.sequential({ name: `${prefix}seq` });
    model.add(tf.layers.inputLayer({ inputShape: [8, 8, 3], name: `${prefix}input` }));
    for (const layer of layers) model.add(layer);
    return model;
  }
  const input = tf.input({ shape: [8, 8, 3], name: `${prefix}input` });
  let x = input;
  for (const layer of layers) {
    const y = layer.apply(x) as tf.SymbolicTensor;
    x = random() < 0.5 ? (tf.layers.add({ name: `${layer.name}_add` }).apply([x, y]) as tf.SymbolicTensor) : y;
  }
  return tf.model({ inputs: input, outputs: x, name: `${prefix}fun` });
}

test.each(Array.from({ length: 15 }, (_, seed) => seed))('random net %d', async (seed) => {
  const random = randomSource(seed);
  const model = randomNet(random, 2, 'l');
  randomize(model, seed);
  const file = path.join(folder, `${seed}.h5`);
  await writeKerasH5(file, { config: {}, kerasVersion: '2.15.0', layers: kerasLayersOf(model) });
  // Whatever is frozen now: the file's order is that of its own time.
  for (const layer of model.layers) layer.trainable = random() < 0.5;
  const opened = await openKeras(file);
  opened.match(model).forEach((stored, i) => {
    expect(stored.shape).toEqual(model.weights[i].shape);
    expect(stored.read()).toEqual(model.weights[i].read().dataSync());
  });
  await opened.close();
  model.dispose();
});

test('weights of nested models with the same names stay apart', async () => {
  const nest = (name: string) =>
    tf.sequential({ name, layers: [tf.layers.dense({ units: 2, inputShape: [2], name: 'dense' })] });
  const model = tf.sequential({
    layers: [
      tf.sequential({ name: 'outer', layers: [nest('one'), nest('two')] }),
      tf.layers.dense({ units: 2, name: 'dense' }),
    ],
  });
  randomize(model, 3);
  const file = path.join(folder, 'same.h5');
  await writeKerasH5(file, { config: {}, kerasVersion: '2.15.0', layers: kerasLayersOf(model) });
  const opened = await openKeras(file);
  opened.match(model).forEach((stored, i) => {
    expect(stored.read()).toEqual(model.weights[i].read().dataSync());
  });
  await opened.close();
  model.dispose();
});

describe('matchLegacy', () => {
  const stored = (name: string, shape: number[]): StoredWeight => ({
    name,
    shape,
    dtype: 'float32',
    storedAs: 'float32',
    isCompressed: false,
    bytes: 4,
    read: () => new Float32Array(1),
  });
  const namesFor = (model: tf.LayersModel, layers: Parameters<typeof matchLegacy>[1]) => {
    try {
      const matched = matchLegacy('m.h5', layers, model);
      return model.weights.map((weight) => matched.get(weight as never)?.name);
    } finally {
      model.dispose();
    }
  };
  const bn = () => tf.layers.batchNormalization({ name: 'bn', inputShape: [4] } as never);

  test('goes by names where they tell against the order', () => {
    const model = tf.sequential({ layers: [bn()] });
    const names = ['bn/moving_variance:0', 'bn/beta:0', 'bn/gamma:0', 'bn/moving_mean:0'];
    const found = namesFor(model, [{ name: 'bn', weights: names.map((name) => stored(name, [4])) }]);
    expect(found).toEqual(['bn/gamma:0', 'bn/beta:0', 'bn/moving_mean:0', 'bn/moving_variance:0']);
  });

  test('goes by order where names say nothing', () => {
    const found = namesFor(tf.sequential({ layers: [bn()] }), [
      { name: 'bn', weights: ['param_0', 'param_1', 'param_2', 'param_3'].map((name) => stored(name, [4])) },
    ]);
    expect(found).toEqual(['param_0', 'param_1', 'param_2', 'param_3']);
  });

  test('never takes one of two names for the other', () => {
    // scale: false in the model, center: false in the file
    const model = tf.sequential({
      layers: [tf.layers.batchNormalization({ scale: false, name: 'bn', inputShape: [4] } as never)],
    });
    const names = ['bn/gamma:0', 'bn/moving_mean:0', 'bn/moving_variance:0'];
    expect(() => namesFor(model, [{ name: 'bn', weights: names.map((name) => stored(name, [4])) }])).toThrow(
      /layer 'bn' has the weights 'bn\/gamma:0', /,
    );
  });

  test('never guesses in nested layers whose names and shapes leave it open', () => {
    const base = tf.sequential({
      name: 'base',
      layers: [
        tf.layers.batchNormalization({ name: 'x', inputShape: [4] } as never),
        tf.layers.batchNormalization({ name: 'y' }),
      ],
    });
    const weights = Array.from({ length: 8 }, (_, i) => stored(`param_${i}`, [4]));
    expect(() => namesFor(tf.sequential({ layers: [base] }), [{ name: 'base', weights }])).toThrow(
      /neither names nor shapes tell/,
    );
  });

  test('a frozen nested model of Keras 2, whose layers are named otherwise', () => {
    const base = tf.sequential({
      name: 'base',
      layers: [tf.layers.dense({ units: 4, inputShape: [4], name: 'd' }), tf.layers.batchNormalization({ name: 'x' })],
    });
    const names = ['kernel', 'bias', 'gamma', 'beta', 'moving_mean', 'moving_variance'];
    const weights = names.map((name) => stored(`other_${name.length}/${name}:0`, name === 'kernel' ? [4, 4] : [4]));
    const model = tf.sequential({ layers: [base] });
    base.layers[0].trainable = false; // as saved it was all trainable
    const originals = model.weights.map(({ originalName }) => originalName.split('/')[1].replace(/_\d+$/, ''));
    const found = namesFor(model, [{ name: 'base', weights }]);
    expect(found.map((name) => name?.split('/')[1].replace(':0', ''))).toEqual(originals);
  });

  test('too few and too many weights are counted, too few and too many layers named', () => {
    const model = () => tf.sequential({ layers: [bn()] });
    expect(() => namesFor(model(), [{ name: 'bn', weights: [stored('bn/gamma:0', [4])] }])).toThrow(
      /layer 'bn' has 1 weights in the file, expected 4/,
    );
    expect(() => namesFor(model(), [])).toThrow(/layer 'bn' is missing/);
  });
});

test('classes become Keras 3 names', () => {
  const names = [
    'Conv2D',
    'DepthwiseConv2D',
    'BatchNormalization',
    'ReLU',
    'LSTMCell',
    'Dense',
    'GlobalAveragePooling2D',
  ];
  expect(names.map(snakeCase)).toEqual([
    'conv2d',
    'depthwise_conv2d',
    'batch_normalization',
    're_lu',
    'lstm_cell',
    'dense',
    'global_average_pooling2d',
  ]);
});

test.each([
  ['kernels', [3, 3, 1, 1], true],
  ['vectors', [9], false],
] as const)("Theano's %s in files of Keras: %j", async (name, shape, isRefused) => {
  const file = path.join(folder, `theano-${name}.h5`);
  const weight = { name: 'c/kernel:0', shape: [...shape], dtype: 'float32' as const, read: () => new Float32Array(9) };
  await writeKerasH5(file, { config: {}, kerasVersion: '2.1.0', layers: [{ name: 'c', weights: [weight] }] });
  const text = fs.readFileSync(file, 'latin1').replaceAll('tensorflow', 'theano\0\0\0\0');
  fs.writeFileSync(file, text, 'latin1');
  const opening = openKeras(file);
  if (isRefused) await expect(opening).rejects.toThrow(/Theano backend, whose kernels are turned/);
  else await (await opening).close();
});
