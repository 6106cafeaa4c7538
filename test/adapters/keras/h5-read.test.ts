import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { type KerasFile, openKeras, sniffKeras } from '../../../adapters/keras/files';
import { convModel, numbered, numbersOf, v3Model } from './h5-models';
import { describeWithH5py, makeFolder, runPython, temporaryFolders } from './h5-python';

let folder: string;
let open: KerasFile | undefined;

const opened = async (name: string) => {
  open = await openKeras(path.join(folder, name));
  return open;
};
/** The numbers that a model's weights get out of a file. */
const matched = async (name: string, model: tf.LayersModel) => {
  try {
    return numbersOf((await opened(name)).match(model));
  } finally {
    model.dispose();
  }
};
const dense = (units: number, name: string, inputShape?: number[]) => tf.layers.dense({ units, name, inputShape });

describeWithH5py('files that h5py writes as Keras does', () => {
  beforeAll(() => {
    folder = makeFolder();
    runPython('write_keras.py', folder);
  });
  afterEach(async () => {
    await open?.close();
    open = undefined;
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  test.each([
    ['keras2.h5', 'float32'],
    ['text.h5', 'float32'],
    ['keras3.h5', 'float32'],
    ['shifted.h5', 'float32'],
    ['gzip.h5', 'float32'],
    ['float16.h5', 'float16'],
    ['float64.h5', 'float64'],
    ['big-endian.h5', 'float32'],
    ['big-endian-half.h5', 'float16'],
  ])('%s: config, version and every number', async (name, storedAs) => {
    const file = await opened(name);
    expect(file.format).toBe('keras-h5');
    expect(file.config).toEqual({ class_name: 'Functional', config: { name: 'model', note: 'é ✓' } });
    expect(file.kerasVersion).toBe('2.15.0');
    expect(file.bytes).toBe(fs.statSync(path.join(folder, name)).size);
    const model = convModel();
    const weights = file.match(model);
    expect(weights.map((weight) => weight.storedAs)).toEqual(weights.map(() => storedAs));
    const order = [0, 1, 2, 3, 6, 7, 4, 5]; // the model's trainable weights come first
    weights.forEach((weight, i) => {
      expect(weight.shape).toEqual(model.weights[i].shape);
      expect(weight.dtype).toBe('float32');
      expect(weight.read()).toEqual(Float32Array.from(numbered(order[i], weight.shape)));
    });
    model.dispose();
  });

  test.each(['int32', 'int64'])('%s becomes int32', async (storedAs) => {
    const file = await opened(`${storedAs}.h5`);
    const model = convModel();
    const [kernel] = file.match(model);
    expect([kernel.dtype, kernel.storedAs]).toEqual(['int32', storedAs]);
    expect(kernel.read()).toEqual(Int32Array.from(numbered(0, kernel.shape), Math.trunc));
    model.dispose();
  });

  test('weights alone: by name, and in their order where the names are others', async () => {
    const order = [0, 1, 2, 3, 6, 7, 4, 5];
    expect(await matched('weights.h5', convModel())).toEqual(order);
    expect(open?.format).toBe('keras-weights');
    expect(open?.config).toBeUndefined();
    await open?.close();
    expect(await matched('renamed.h5', convModel())).toEqual(order);
  });

  test('a nested model whose frozen layer comes last, whatever is frozen now', async () => {
    for (const frozen of [true, false]) {
      const base = tf.sequential({
        name: 'base',
        layers: [dense(2, 'a', [2]), tf.layers.batchNormalization({ name: 'bn1' })],
      });
      base.layers[0].trainable = !frozen;
      const model = tf.sequential({ layers: [base, dense(3, 'dense')] });
      const file = await opened('nested.h5');
      const byName = new Map(file.match(model).map((weight, i) => [model.weights[i].originalName, weight.read()[0]]));
      expect(Object.fromEntries([...byName].map(([name, number]) => [name.replace(/_\d+$/, ''), number]))).toEqual({
        'bn1/gamma': 0,
        'bn1/beta': 1,
        'a/kernel': 2,
        'a/bias': 3,
        'bn1/moving_mean': 4,
        'bn1/moving_variance': 5,
        'dense/kernel': 6,
        'dense/bias': 7,
      });
      await file.close();
      model.dispose();
    }
  });

  test('lists of names in pieces', async () => {
    const file = await opened('chunked.h5');
    const model = convModel();
    // 1200 layers, none of which is the model's: the refusal counts them all, and names ten things
    expect(() => file.match(model)).toThrow(/layer 'conv1' is missing; layer 'bn1' is missing; .*; and 1193 more\./);
    model.dispose();
  });

  test('Keras 1', async () => {
    const model = tf.sequential({ layers: [dense(3, 'dense_1', [4])] });
    expect(await matched('keras1.h5', model)).toEqual([0, 1]);
    expect(open?.kerasVersion).toBe('1.2.2');
  });

  describe('the layout of Keras 3', () => {
    const order = [0, 1, 2, 3, 6, 7, 8, 9, 4, 5];

    test.each(['v3.weights.h5', 'v3-named.weights.h5', 'v3-keys.weights.h5', 'v3-old.weights.h5'])(
      '%s',
      async (name) => {
        expect(await matched(name, v3Model())).toEqual(order);
        expect(open).toMatchObject({ format: 'keras-weights', config: undefined });
      },
    );

    test.each(['model.keras', 'deflated.keras'])('%s, unpacked and removed again', async (name) => {
      const before = temporaryFolders();
      expect(await matched(name, v3Model())).toEqual(order);
      expect(open).toMatchObject({ format: 'keras-zip', kerasVersion: '3.8.0', config: { class_name: 'Functional' } });
      expect(temporaryFolders().length).toBe(before.length + 1);
      await open?.close();
      await open?.close();
      expect(temporaryFolders()).toEqual(before);
    });

    test('names of layers in the file go before the order of classes', async () => {
      const model = tf.sequential({ layers: [dense(2, 'dense', [2]), dense(2, 'dense_1')] });
      expect(await matched('v3-swapped.weights.h5', model)).toEqual([2, 3, 0, 1]);
    });

    test('the order and classes of the file’s own configuration go before the model’s', async () => {
      const layers = [dense(2, 'x', [2]), dense(2, 'y')];
      const file = await opened('v3-plain.keras');
      // config.json: y is a SpecialDense, and comes first
      const model = tf.sequential({ layers });
      expect(numbersOf(file.match(model))).toEqual([2, 3, 0, 1]);
      model.dispose();
    });

    test('nested models, each with counters of its own', async () => {
      const input = tf.input({ shape: [2] });
      const inner = tf.input({ shape: [2] });
      const twice = dense(2, 'b').apply(dense(2, 'a').apply(inner)) as tf.SymbolicTensor;
      const functional = tf.model({ inputs: inner, outputs: twice });
      const sequential = tf.sequential({ layers: [dense(2, 'c', [2])] });
      let x = functional.apply(input) as tf.SymbolicTensor;
      x = sequential.apply(x) as tf.SymbolicTensor;
      x = dense(2, 'd').apply(tf.layers.dropout({ rate: 0.5 }).apply(x)) as tf.SymbolicTensor;
      expect(await matched('v3-nested.weights.h5', tf.model({ inputs: input, outputs: x }))).toEqual([
        0, 1, 2, 3, 4, 5, 6, 7,
      ]);
    });

    test('wrappers and cells', async () => {
      const model = tf.sequential({
        layers: [
          tf.layers.timeDistributed({ inputShape: [3, 2], layer: dense(2, 'd') }),
          tf.layers.bidirectional({
            layer: tf.layers.lstm({ units: 2, returnSequences: true }),
            mergeMode: 'concat',
          } as never),
          tf.layers.gru({ units: 2, resetAfter: false } as never),
        ],
      });
      const file = await opened('v3-wrapped.weights.h5');
      const found = file.match(model).map((weight, i) => [model.weights[i].shape, weight.read()[0]]);
      expect(found.map(([, number]) => number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      const shorter = tf.sequential({ layers: model.layers.slice(0, 2) });
      expect(() => file.match(shorter)).toThrow(/'layers\/gru' is one too many/);
      model.dispose();
    });

    test('bfloat16', async () => {
      const model = tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [1], useBias: false })] });
      const file = await opened('bfloat16.weights.h5');
      expect(file.match(model)[0].read()).toEqual(Float32Array.from([1, -2]));
      model.dispose();
    });

    test('a weight larger than a slice', async () => {
      const file = await opened('big.weights.h5');
      const shape = [3, 5, 1024 * 1024];
      const layer = {
        name: 'dense',
        getClassName: () => 'Dense',
        _trainableWeights: [{ shape }],
        _nonTrainableWeights: [],
      };
      const model = { layers: [layer], weights: layer._trainableWeights } as unknown as tf.LayersModel;
      const values = file.match(model)[0].read();
      expect(values.length).toBe(15 * 1024 * 1024);
      expect(values.findIndex((value, i) => value !== i)).toBe(-1);
    });
  });

  test('a model that is another one: every layer that does not fit is named, once', async () => {
    const file = await opened('keras2.h5');
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({ inputShape: [4, 4, 2], filters: 5, kernelSize: 3, name: 'conv1' }),
        tf.layers.flatten(),
        dense(3, 'other'),
        dense(3, 'third'),
        dense(3, 'fourth'),
      ],
    });
    expect(() => file.match(model)).toThrow(
      /keras2\.h5': its weights are not this model's: layer 'other' is missing; .*layer 'bn1' is one too many; layer 'dense' is one too many; layer 'conv1': the weight 'conv1\/kernel:0' has the shape \[3, 3, 2, 4\], expected \[3, 3, 2, 5\]/,
    );
    model.dispose();
  });

  test('nothing is read after it was closed', async () => {
    const file = await opened('keras2.h5');
    const model = convModel();
    const weights = file.match(model);
    await file.close();
    expect(() => weights[0].read()).toThrow(/was closed/);
    model.dispose();
  });
});

describe('sniffKeras', () => {
  const place = makeFolder();
  afterAll(() => fs.rmSync(place, { recursive: true, force: true }));
  const write = (name: string, data: Uint8Array) => {
    fs.writeFileSync(path.join(place, name), data);
    return path.join(place, name);
  };
  const signature = Buffer.from('\x89HDF\r\n\x1a\n', 'latin1');

  test('looks at content', async () => {
    expect(await sniffKeras(write('a.keras', signature))).toBe('hdf5');
    expect(await sniffKeras(write('b.h5', Buffer.from('PK\x03\x04....')))).toBe('zip');
    for (const at of [512, 1024, 4096]) {
      expect(await sniffKeras(write('c', Buffer.concat([Buffer.alloc(at), signature])))).toBe('hdf5');
    }
  });

  test('anything else is neither', async () => {
    expect(await sniffKeras(write('d', Buffer.alloc(0)))).toBeUndefined();
    expect(await sniffKeras(write('e', Buffer.concat([Buffer.alloc(600), signature])))).toBeUndefined();
    expect(await sniffKeras(write('f', Buffer.from('{"modelTopology": {}}')))).toBeUndefined();
    expect(await sniffKeras(place)).toBeUndefined();
    await expect(sniffKeras(path.join(place, 'none'))).rejects.toMatchObject({ code: 'not-found' });
    await expect(openKeras(path.join(place, 'f'))).rejects.toMatchObject({ code: 'invalid-model-file' });
  });
});
