import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { kerasLayersOf, openKeras, writeKerasH5 } from '../../../adapters/keras/files';
import { randomize } from './h5-models';
import { describeWithH5py, makeFolder, runPython } from './h5-python';

const folder = makeFolder();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => path.join(folder, name);

interface Read {
  attributes: Record<string, string>;
  inner: Record<string, string>;
  pieces: string[];
  types: Record<string, string>;
  top: string[];
  layers: { name: string; weights: { name: string; shape: number[]; dtype: string; data: string }[] }[];
}
const readBack = (name: string): Read => JSON.parse(runPython('read_h5.py', at(name)));
const floats = (text: string) => {
  const bytes = Buffer.from(text, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

type Layers = Parameters<typeof writeKerasH5>[1]['layers'];
const weight = (name: string, shape: number[], values: number[]): Layers[0]['weights'][0] => ({
  name,
  shape,
  dtype: 'float32',
  read: () => values,
});

function mixed(): tf.LayersModel {
  const base = tf.sequential({
    name: 'base',
    layers: [
      tf.layers.separableConv2d({ inputShape: [6, 6, 2], filters: 3, kernelSize: 3, name: 'sep' }),
      tf.layers.batchNormalization({ scale: false, name: 'bn' }),
      tf.layers.depthwiseConv2d({ kernelSize: 2, trainable: false, name: 'dw' }),
    ],
  });
  const model = tf.sequential({
    name: 'all',
    layers: [base, tf.layers.flatten({ name: 'flat' }), tf.layers.dense({ units: 2, name: 'head' })],
  });
  randomize(model, 1);
  return model;
}

describeWithH5py('files that are written, as h5py and so Keras reads them', () => {
  test('attributes, order, names, shapes and every number', async () => {
    const model = mixed();
    const config = { class_name: 'Sequential', config: { name: 'é', layers: [] } };
    await writeKerasH5(at('mixed.h5'), { config, kerasVersion: '2.15.0', layers: kerasLayersOf(model) });
    const read = readBack('mixed.h5');
    expect(read.attributes).toEqual({
      backend: 'tensorflow',
      keras_version: '2.15.0',
      model_config: JSON.stringify(config),
    });
    expect(read.inner).toEqual({ backend: 'tensorflow', keras_version: '2.15.0' });
    expect(new Set(Object.values(read.types))).toEqual(new Set(['object'])); // texts of any length
    expect(read.top).toEqual([]);
    expect(read.layers.map(({ name }) => name)).toEqual(['base', 'flat', 'head']);
    const [base, flat, head] = read.layers;
    const last = (name: string) => name.replace(/_\d+(?=\/|:)/g, '');
    expect(base.weights.map(({ name }) => last(name))).toEqual([
      'sep/depthwise_kernel:0',
      'sep/pointwise_kernel:0',
      'sep/bias:0',
      'bn/beta:0',
      'bn/moving_mean:0',
      'bn/moving_variance:0',
      'dw/depthwise_kernel:0',
      'dw/bias:0',
    ]);
    expect(flat.weights).toEqual([]);
    expect(head.weights.map(({ name, shape, dtype }) => [name, shape, dtype])).toEqual([
      ['head/kernel:0', [27, 2], 'float32'],
      ['head/bias:0', [2], 'float32'],
    ]);
    const written = kerasLayersOf(model).flatMap((layer) => layer.weights);
    for (const [i, stored] of read.layers.flatMap((layer) => layer.weights).entries()) {
      expect(floats(stored.data)).toEqual(await written[i].read());
      expect(stored.shape).toEqual(written[i].shape);
    }
    model.dispose();
  });

  test('lists of names that are longer than HDF5 takes are cut as Keras cuts them', async () => {
    const layers = Array.from({ length: 1501 }, (_, i) => ({
      name: `layer_${i}_${'x'.repeat(i % 90)}`,
      weights: i % 100 === 0 ? [weight(`a/b_${i}:0`, [], [i])] : [],
    }));
    await writeKerasH5(at('long.h5'), { config: { long: 'y'.repeat(300_000) }, kerasVersion: '2.15.0', layers });
    const read = readBack('long.h5');
    expect(read.pieces).toEqual(['layer_names0', 'layer_names1', 'layer_names2']);
    expect(read.attributes.model_config.length).toBe(300_011);
    expect(read.layers.map(({ name }) => name)).toEqual(layers.map(({ name }) => name));
    expect(read.layers[1400].weights[0]).toMatchObject({ name: 'a/b_1400:0', shape: [] });
    expect(floats(read.layers[1400].weights[0].data)).toEqual(Float32Array.of(1400));
  });

  test('other dtypes, no numbers at all, names beyond ASCII', async () => {
    const layers: Layers = [
      {
        name: 'größe',
        weights: [
          { name: 'ü:0', shape: [2], dtype: 'int32', read: () => Int32Array.of(-1, 2 ** 31 - 1) },
          { name: 'b:0', shape: [2], dtype: 'bool', read: async () => Uint8Array.of(0, 1) },
          weight('none:0', [0, 3], []),
        ],
      },
      { name: 'größe/inner', weights: [weight('w:0', [1], [1])] },
    ];
    await writeKerasH5(at('types.h5'), { config: {}, kerasVersion: '2.15.0', layers });
    const [first, second] = readBack('types.h5').layers;
    expect(first.name).toBe('größe');
    expect(first.weights.map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
      ['ü:0', 'int32', [2]],
      ['b:0', 'uint8', [2]],
      ['none:0', 'float32', [0, 3]],
    ]);
    expect(Buffer.from(first.weights[0].data, 'base64').readInt32LE(4)).toBe(2 ** 31 - 1);
    expect(second.name).toBe('größe/inner');
  });

  test('a weight larger than a slice', async () => {
    const values = Float32Array.from({ length: 6 * 1024 * 1024 }, (_, i) => i);
    const layers = [{ name: 'l', weights: [{ ...weight('w', [3, 2, 1024 * 1024], []), read: () => values }] }];
    await writeKerasH5(at('big.h5'), { config: {}, kerasVersion: '2.15.0', layers });
    const [{ weights }] = readBack('big.h5').layers;
    expect(Buffer.compare(Buffer.from(weights[0].data, 'base64'), Buffer.from(values.buffer))).toBe(0);
  });
});

describe('writeKerasH5 refuses', () => {
  const write = (name: string, layers: Layers) =>
    writeKerasH5(at(name), { config: {}, kerasVersion: '2.15.0', layers });

  test('to write over a file, which stays as it is', async () => {
    fs.writeFileSync(at('there.h5'), 'mine');
    await expect(write('there.h5', [])).rejects.toThrow(/there\.h5' cannot be written: it exists already/);
    expect(fs.readFileSync(at('there.h5'), 'utf8')).toBe('mine');
  });

  test.each([
    ['', 'w'],
    ['a', ''],
    ['a', '../b'],
    ['/a', 'w'],
    ['a', 'b//c'],
    ['a\0', 'w'],
    ['top_level_model_weights', 'w'],
  ])('the names %j, %j', async (layer, name) => {
    await expect(write('names.h5', [{ name: layer, weights: [weight(name, [1], [1])] }])).rejects.toMatchObject({
      code: 'invalid-option',
    });
    expect(fs.existsSync(at('names.h5'))).toBe(false);
  });

  test('names that are there twice', async () => {
    const twice = { name: 'a', weights: [weight('w', [1], [1]), weight('w', [1], [1])] };
    await expect(write('twice.h5', [twice])).rejects.toThrow("Two weights of the layer 'a' have the name 'w'");
    await expect(
      write('twice.h5', [
        { name: 'a', weights: [] },
        { name: 'a', weights: [] },
      ]),
    ).rejects.toThrow(/Two layers/);
  });

  test('and leaves nothing behind where writing fails half way', async () => {
    const failing = { ...weight('b', [1], [1]), read: () => Promise.reject(new Error('gone')) };
    await expect(write('half.h5', [{ name: 'a', weights: [weight('a', [1], [1]), failing] }])).rejects.toThrow('gone');
    await expect(write('half.h5', [{ name: 'a', weights: [weight('a', [2], [1])] }])).rejects.toThrow(/has 1 numbers/);
    // HDF5 itself refuses: 'a' is a weight and cannot hold another one
    await expect(
      write('half.h5', [{ name: 'a', weights: [weight('a', [1], [1]), weight('a/b', [1], [1])] }]),
    ).rejects.toMatchObject({ code: 'unsupported' });
    await expect(
      writeKerasH5(path.join(folder, 'no', 'folder.h5'), { config: {}, kerasVersion: '', layers: [] }),
    ).rejects.toThrow(/cannot be written/);
    expect(fs.existsSync(at('half.h5'))).toBe(false);
  });
});

test('what is written is read again, bit by bit', async () => {
  const model = mixed();
  await writeKerasH5(at('again.h5'), { config: { a: 1 }, kerasVersion: '2.15.0', layers: kerasLayersOf(model) });
  const before = tf.memory().numTensors;
  const file = await openKeras(at('again.h5'));
  expect(file).toMatchObject({ format: 'keras-h5', config: { a: 1 }, kerasVersion: '2.15.0' });
  file.match(model).forEach((stored, i) => {
    expect(stored.read()).toEqual(model.weights[i].read().dataSync());
  });
  expect(tf.memory().numTensors).toBe(before);
  await file.close();
  model.dispose();
});
