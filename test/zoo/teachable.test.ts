/**
 * Teachable Machine's image models. What its own library (`@teachablemachine/image` 0.8.5, which needs tfjs 1.3.1 and a
 * page) reads: `tf.loadLayersModel(modelUrl)`, of metadata.json `labels`, `imageSize` and `grayscale`; the model is asked
 * with [1, imageSize, imageSize, 3] and its output read as one probability for each label.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { getMode } from 'tfjs-tune-mode';
import { fileIO } from 'tfjs-tune-mode/node';
import { loadTeachableMachine, type PictureInput, type TeachableMachine } from 'tfjs-tune-mode/zoo';
import { loadModel } from '../../adapters/node/load-model';
import { temporaryFolder, writeFiles } from '../adapters/node/temporary-folder';
import { disposeLayers, disposeToy, memoryIO, refusal, type Toy, toy } from '../fine-tune/toy';
import { useBackend } from '../helpers/backends';
import { seeded } from '../helpers/models';
import { describeShared } from '../helpers/shared';
import { filesOf, listed, type ModelFiles, readFolder, teachable, under } from './models';
import { html, type Server, startServer } from './server';

const folder = temporaryFolder();
const METADATA = {
  tfjsVersion: '1.3.1',
  tmVersion: '2.4.7',
  packageVersion: '0.8.5',
  packageName: '@teachablemachine/image',
  timeStamp: '2020-05-20T11:28:36.478Z',
  userMetadata: { note: 'mine' },
  modelName: 'fruit',
  labels: ['apple', 'pear', 'plum'],
  imageSize: 16,
};
let files: ModelFiles;
let tensors: number;

beforeAll(async () => {
  await useBackend('cpu');
  const model = teachable(3);
  files = { ...(await filesOf(model)), 'metadata.json': JSON.stringify(METADATA) };
  disposeLayers(model);
});
beforeEach(() => {
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  expect(tf.memory().numTensors).toBe(tensors);
});

const local = (changed: ModelFiles = {}, name = 'fruit'): string => {
  writeFiles(folder(name), { ...files, ...changed });
  return folder(name);
};

/** Numbers of 0…255. */
function picture(height: number, width: number, channels = 3, seed = 1): tf.Tensor3D {
  const random = seeded(seed);
  const values = Array.from({ length: height * width * channels }, () => Math.floor(256 * random()));
  return tf.tensor3d(values, [height, width, channels], 'int32');
}

async function probabilities(machine: TeachableMachine, image: PictureInput): Promise<Record<string, number>> {
  return Object.fromEntries((await machine.predict(image)).map((each) => [each.className, each.probability]));
}

describe('loading', () => {
  let server: Server;
  beforeEach(async () => {
    server = await startServer(under('/models/abc', files));
  });
  afterEach(() => server.close());

  test.each(['/models/abc/', '/models/abc', '/models/abc/model.json'])(
    'over http from %s, and then from the cache',
    async (place) => {
      const load = () => loadTeachableMachine(server.address + place, undefined, { cache: folder('cache') });
      const machine = await load();
      expect(machine).toMatchObject({ labels: METADATA.labels, imageSize: 16, metadata: METADATA });
      expect(machine.report.pairs).toHaveLength(2);
      expect(getMode(machine.model)).toBe('tune');
      expect(machine.model.layers.map((layer) => layer.getClassName())).toEqual(['Sequential', 'Sequential']);
      machine.dispose();
      expect(new Set(server.asked)).toEqual(new Set(Object.keys(server.pages)));
      server.asked.length = 0;
      (await load()).dispose();
      expect(server.asked).toEqual([]);
    },
  );

  test('with a query, which the metadata gets too', async () => {
    server.pages = under('/m', files, '?key=1');
    const machine = await loadTeachableMachine(`${server.address}/m/model.json?key=1`, undefined, { cache: false });
    expect(machine.labels).toEqual(METADATA.labels);
    machine.dispose();
  });

  test.each<[string, () => Parameters<typeof loadTeachableMachine>[1]]>([
    ['a URL', () => `${server.address}/elsewhere.json`],
    ['a path', () => folder('elsewhere.json')],
    ['an object', () => ({ labels: ['x', 'y', 'z'] })],
  ])('metadata from elsewhere: %s', async (_, metadata) => {
    const content = JSON.stringify({ labels: ['x', 'y', 'z'] });
    writeFiles(folder(), { 'elsewhere.json': content });
    server.pages['/elsewhere.json'] = content;
    const machine = await loadTeachableMachine(local(), metadata(), { cache: false });
    expect(machine).toMatchObject({ labels: ['x', 'y', 'z'], imageSize: 16 });
    machine.dispose();
  });

  test.each<[string, ModelFiles, unknown, string, RegExp]>([
    [
      'too few labels',
      { 'metadata.json': '{"labels":["a"]}' },
      undefined,
      'invalid-model-file',
      /there are 1 labels, but the model gives 3 classes/,
    ],
    ['no labels', { 'metadata.json': '{}' }, undefined, 'invalid-model-file', /no 'labels'/],
    [
      'labels that are no names',
      { 'metadata.json': '{"labels":[1,2,3]}' },
      undefined,
      'invalid-model-file',
      /must be a list of names/,
    ],
    ['no JSON', { 'metadata.json': 'x' }, undefined, 'invalid-model-file', /is not valid JSON/],
    ['metadata at no path', {}, './none.json', 'not-found', /There is no '.*none.json'/],
    ['metadata that is nothing', {}, 3, 'invalid-option', /'metadataUrl' must be/],
  ])('refused: %s', async (_, changed, metadata, code, message) => {
    const error = await refusal(loadTeachableMachine(local(changed), metadata as string));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  test('refused: a folder without metadata.json', async () => {
    fs.rmSync(path.join(local(), 'metadata.json'));
    const error = await refusal(loadTeachableMachine(folder('fruit')));
    expect(error.message).toMatch(/There is no 'metadata.json' beside '.*fruit'.*'metadataUrl'/);
  });

  test.each([
    ['404', undefined, /metadata.json' answers with status 404.*expected the metadata.json.*as 'metadataUrl'/],
    ['a web page', html, /metadata.json' answers with a web page/],
  ])('refused over http, and not kept: %s', async (_, page, message) => {
    if (page === undefined) delete server.pages['/models/abc/metadata.json'];
    else server.pages['/models/abc/metadata.json'] = page;
    const loading = loadTeachableMachine(`${server.address}/models/abc/`, undefined, { cache: folder('cache') });
    const error = await refusal(loading);
    expect(error.message).toMatch(message);
    expect(listed(folder('cache')).some((name) => name.endsWith('/text'))).toBe(false);
  });

  test.each<[string, () => tfl.LayersModel, RegExp]>([
    [
      'a model for other things',
      () => tfl.sequential({ layers: [tfl.layers.dense({ units: 3, inputShape: [4] })] }),
      /takes \[any, 4\] and gives \[any, 3\].*loadLayers/,
    ],
    [
      'feature maps',
      () => tfl.sequential({ layers: [tfl.layers.conv2d({ filters: 3, kernelSize: 1, inputShape: [4, 4, 3] })] }),
      /gives \[any, 4, 4, 3\]/,
    ],
    [
      'pictures that are not square',
      () => tfl.sequential({ layers: [tfl.layers.flatten({ inputShape: [4, 5, 3] }), tfl.layers.dense({ units: 3 })] }),
      /takes \[any, 4, 5, 3\]/,
    ],
  ])('refused: %s', async (_, make, message) => {
    const model = make();
    const io = memoryIO();
    await model.save(io);
    model.dispose();
    const error = await refusal(loadTeachableMachine(io, { labels: ['a', 'b', 'c'] }));
    expect(error.message).toMatch(message);
  });
});

describe('predict', () => {
  let machine: TeachableMachine;
  beforeEach(async () => {
    machine = await loadTeachableMachine(local());
  });
  afterEach(() => machine.dispose());

  /**
   * By the library's formulas, in plain numbers: the picture drawn at the size whose shorter side fits (a canvas samples
   * at the pixels' centres), its middle, x / 127 − 1.
   */
  function expected(image: tf.Tensor3D): Record<string, number> {
    const [height, width] = image.shape;
    const pixels = image.arraySync();
    const scale = 16 / Math.min(height, width);
    const samples = (side: number) => {
      const drawn = Math.ceil(side * scale);
      const first = Math.trunc((drawn - 16) / 2);
      return Array.from({ length: 16 }, (_, i) => {
        const position = Math.min(Math.max(((first + i + 0.5) * side) / drawn - 0.5, 0), side - 1);
        const before = Math.floor(position);
        return { before, after: Math.min(before + 1, side - 1), weight: position - before };
      });
    };
    const [rows, columns] = [samples(height), samples(width)];
    const mixed = (a: number, b: number, weight: number) => (1 - weight) * a + weight * b;
    const values = rows.flatMap((y) =>
      columns.flatMap((x) =>
        [0, 1, 2].map((c) => {
          const inRow = (row: number) => mixed(pixels[row][x.before][c], pixels[row][x.after][c], x.weight);
          return mixed(inRow(y.before), inRow(y.after), y.weight) / 127 - 1;
        }),
      ),
    );
    const output = tf.tidy(() => (machine.model.predict(tf.tensor4d(values, [1, 16, 16, 3])) as tf.Tensor).dataSync());
    return Object.fromEntries(METADATA.labels.map((label, i) => [label, output[i]]));
  }

  // float32 in interpolation and net: 1e-5 of a probability; a shifted crop or another range is off by 1e-2.
  const closeTo = (found: Record<string, number>, wanted: Record<string, number>) => {
    for (const label of METADATA.labels) expect(Math.abs(found[label] - wanted[label])).toBeLessThan(1e-5);
  };

  test.each([
    [16, 16],
    [16, 40],
    [41, 16],
    [37, 50],
    [8, 9],
    [1, 1],
  ])('the middle square of %d × %d, as the library takes it', async (height, width) => {
    const image = picture(height, width);
    closeTo(await probabilities(machine, image), expected(image));
    expect(image.isDisposed).toBe(false);
    image.dispose();
  });

  test('float32 tensors, ImageData and its like', async () => {
    const image = picture(20, 24);
    const wanted = expected(image);
    const floats = tf.cast(image, 'float32');
    const data = Uint8ClampedArray.from(
      tf.tidy(() =>
        tf
          .pad(
            image,
            [
              [0, 0],
              [0, 0],
              [0, 1],
            ],
            255,
          )
          .dataSync(),
      ),
    );
    closeTo(await probabilities(machine, floats), wanted);
    closeTo(await probabilities(machine, { width: 24, height: 20, data } as unknown as PictureInput), wanted);
    closeTo(await probabilities(machine, { width: 24, height: 20, data: Uint8Array.from(data) }), wanted);
    tf.dispose([image, floats]);
  });

  test('the likeliest first, as many as wanted', async () => {
    const image = picture(16, 16);
    const all = await machine.predict(image);
    expect(all.map(({ className }) => className).sort()).toEqual([...METADATA.labels].sort());
    expect(all.map(({ probability }) => probability)).toEqual(
      all.map(({ probability }) => probability).sort((a, b) => b - a),
    );
    expect(await machine.predict(image, 2)).toEqual(all.slice(0, 2));
    expect(await machine.predict(image, 9)).toEqual(all);
    image.dispose();
  });

  test.each<[string, () => unknown, number | undefined, RegExp]>([
    ['four channels', () => picture(4, 4, 4), undefined, /expected a picture with 3 channels; found 4/],
    ['grey', () => picture(4, 4, 1), undefined, /found 1/],
    ['a batch', () => tf.zeros([1, 4, 4, 3]), undefined, /found a tensor \[1, 4, 4, 3\]/],
    ['no pixels', () => tf.zeros([0, 4, 3]), undefined, /found a tensor \[0, 4, 3\]/],
    ['a path', () => 'cat.jpg', undefined, /found string/],
    ['null', () => null, undefined, /found null/],
    ['topk 0', () => picture(4, 4), 0, /'topk' must be a whole number from 1; found 0/],
    ['topk 1.5', () => picture(4, 4), 1.5, /found 1.5/],
  ])('refused: %s', async (_, image, topk, message) => {
    const given = image();
    const error = await refusal(machine.predict(given as PictureInput, topk));
    expect(error.message).toMatch(message);
    tf.dispose(given as tf.Tensor);
  });

  test('a grey model takes coloured pictures, and grey ones', async () => {
    const model = teachable(2, { channels: 1 });
    writeFiles(folder('grey'), {
      ...(await filesOf(model)),
      'metadata.json': JSON.stringify({ labels: ['a', 'b'], grayscale: true, imageSize: 16 }),
    });
    disposeLayers(model);
    const grey = await loadTeachableMachine(folder('grey'));
    const light = picture(16, 16, 1);
    // 0.2989 + 0.587 + 0.114 = 0.9999: the same to 1e-4 of the range.
    const coloured = tf.tidy(() => tf.concat([light, light, light], 2)) as tf.Tensor3D;
    const [a, b] = [await probabilities(grey, light), await probabilities(grey, coloured)];
    expect(Math.abs(a.a - b.a)).toBeLessThan(1e-3);
    tf.dispose([light, coloured]);
    grey.dispose();
  });
});

describe('save', () => {
  test('a folder in the form of an export, which tfjs, this loader and the command read', async () => {
    const machine = await loadTeachableMachine(local());
    const image = picture(20, 20);
    const before = await probabilities(machine, image);
    await machine.save(folder('out'));
    expect(listed(folder('out'))).toEqual([
      expect.stringMatching(/^group1-shard1of1\..*\.bin$/),
      'metadata.json',
      'model.json',
    ]);
    const json = JSON.parse(fs.readFileSync(folder('out', 'model.json'), 'utf8'));
    expect(Object.keys(json)).toEqual(expect.arrayContaining(['modelTopology', 'weightsManifest']));
    expect(json.modelTopology.class_name).toBe('Sequential');
    const metadata = JSON.parse(fs.readFileSync(folder('out', 'metadata.json'), 'utf8'));
    expect(metadata).toEqual({
      ...METADATA,
      tfjsVersion: tf.version_core,
      timeStamp: expect.not.stringMatching('2020'),
    });
    expect(machine.metadata).toEqual(metadata);
    machine.dispose();

    const again = await loadTeachableMachine(folder('out'));
    expect(await probabilities(again, image)).toEqual(before);
    again.dispose();
    // As the library does it.
    const plain = await tfl.loadLayersModel(fileIO(folder('out')));
    expect(plain.outputs[0].shape).toEqual([null, metadata.labels.length]);
    disposeLayers(plain);
    const { model, metadata: read } = await loadModel(folder('out'));
    expect(read).toEqual({ labels: METADATA.labels, imageSize: [16, 16], inputRange: [-1, 1] });
    disposeLayers(model);
    image.dispose();
  });

  test('into an IOHandler, which then has the labels too', async () => {
    const machine = await loadTeachableMachine(local());
    const io = memoryIO();
    await machine.save(io);
    expect(machine.model.getUserDefinedMetadata()).toBeUndefined();
    machine.dispose();
    const again = await loadTeachableMachine(io);
    expect(again).toMatchObject({ labels: METADATA.labels, imageSize: 16 });
    again.dispose();
  });

  test('what a metadata.json lacks is filled in', async () => {
    const machine = await loadTeachableMachine(local(), { labels: ['a', 'b', 'c'] });
    await machine.save(folder('out'));
    machine.dispose();
    expect(JSON.parse(fs.readFileSync(folder('out', 'metadata.json'), 'utf8'))).toMatchObject({
      labels: ['a', 'b', 'c'],
      imageSize: 16,
      packageName: '@teachablemachine/image',
      modelName: 'untitled',
      userMetadata: {},
    });
  });

  test.each<[string, unknown, RegExp]>([
    ['nothing', undefined, /expected a place or an IOHandler that can save; found undefined/],
    ['a handler that only loads', { load: () => {} }, /that can save/],
    ['a page’s storage', 'indexeddb://x', /nothing here can save to 'indexeddb:\/\/x'/],
  ])('refused: %s', async (_, target, message) => {
    const machine = await loadTeachableMachine(local());
    expect((await refusal(machine.save(target as string))).message).toMatch(message);
    machine.dispose();
  });

  test('after dispose nothing works, and dispose again does nothing', async () => {
    const machine = await loadTeachableMachine(local());
    machine.dispose();
    machine.dispose();
    const image = picture(4, 4);
    for (const using of [machine.predict(image), machine.save(folder('out')), machine.fineTune({} as never)]) {
      expect((await refusal(using)).code).toBe('model-disposed');
    }
    expect(listed(folder('out'))).toEqual([]);
    image.dispose();
  });
});

describe('fineTune', () => {
  const OPTIONS = { epochs: 3, batchSize: 8, learningRate: 3e-3, seed: 1 };
  let data: Toy;
  let machine: TeachableMachine;
  beforeEach(async () => {
    data = toy({ train: 24, val: 12, size: 16, classes: 2 });
    machine = await loadTeachableMachine(local());
  });
  afterEach(() => {
    disposeToy(data);
    machine.dispose();
  });

  test('other classes: the loss falls, and predict and save use the new names', async () => {
    const result = await machine.fineTune(data, OPTIONS);
    const { history, bestEpoch } = result;
    expect(history[bestEpoch].valLoss).toBeLessThan(history[0].valLoss);
    expect(result.model).toBe(machine.model);
    expect(machine.labels).toEqual(['red', 'green']);
    expect(machine.report.pairs).toHaveLength(2);
    expect(getMode(machine.model)).toBe('tune');
    const red = tf.tidy(() => tf.add(tf.fill([16, 16, 3], 90), tf.tensor1d([90, 0, 0])) as tf.Tensor3D);
    const before = await machine.predict(red);
    expect(before[0].className).toBe('red');
    await machine.save(folder('out'));
    const again = await loadTeachableMachine(folder('out'));
    expect(again.labels).toEqual(['red', 'green']);
    expect(await again.predict(red)).toEqual(before);
    again.dispose();
    red.dispose();
  });

  test('twice, and the head that is left over is freed', async () => {
    await machine.fineTune(data, { ...OPTIONS, epochs: 1 });
    const between = tf.memory().numTensors;
    await machine.fineTune(data, { ...OPTIONS, epochs: 1 });
    expect(tf.memory().numTensors).toBe(between);
    expect(machine.labels).toEqual(['red', 'green']);
  });

  test('the same classes with the old head: still Sequential in Sequential', async () => {
    const three = toy({ train: 12, val: 6, size: 16, classes: 3 });
    await machine.fineTune({ ...three, classNames: METADATA.labels }, { ...OPTIONS, epochs: 1, keepHead: true });
    expect(machine.labels).toEqual(METADATA.labels);
    await machine.save(folder('out'));
    const { modelTopology } = JSON.parse(fs.readFileSync(folder('out', 'model.json'), 'utf8'));
    expect(modelTopology.config.layers.map((layer: { class_name: string }) => layer.class_name)).toEqual([
      'Sequential',
      'Sequential',
    ]);
    disposeToy(three);
  });

  test('after an error everything is as it was', async () => {
    const image = picture(16, 16);
    const before = await probabilities(machine, image);
    const { model } = machine;
    const broken = { ...data, classNames: ['only one'] };
    expect((await refusal(machine.fineTune(broken, OPTIONS))).code).toBe('invalid-data');
    const stop = () => {
      throw new RangeError('mine');
    };
    await expect(machine.fineTune(data, { ...OPTIONS, onEpochEnd: stop })).rejects.toThrow(new RangeError('mine'));
    expect(machine.model).toBe(model);
    expect(machine.labels).toEqual(METADATA.labels);
    expect(await probabilities(machine, image)).toEqual(before);
    image.dispose();
  });

  test('pictures of another size are refused, from either kind of set', async () => {
    const large = toy({ train: 4, val: 4, size: 20 });
    const source = {
      size: 1,
      async *batches() {
        yield { xs: tf.clone(large.train.xs), ys: tf.clone(large.train.ys) };
      },
    };
    for (const train of [large.train, source]) {
      const error = await refusal(machine.fineTune({ ...large, train }, OPTIONS));
      expect(error.message).toMatch(/takes pictures \[16, 16, 3\]; found \[20, 20, 3\].*imageSize 16/);
    }
    disposeToy(large);
  });
});

describeShared('a real export', (shared) => {
  const real = path.join(shared, 'models', 'layers_tm_food_mobilenetv2_035');
  const labels = Array.from({ length: 36 }, (_, i) => `food ${i}`);

  test('over http: 52 pairs, the same classes as tfjs, saved and loaded again', async () => {
    await useBackend('wasm');
    const server = await startServer(
      under('/m', { ...readFolder(real), 'metadata.json': JSON.stringify({ ...METADATA, labels }) }),
    );
    const machine = await loadTeachableMachine(`${server.address}/m`, undefined, { cache: folder('cache') });
    await server.close();
    expect(machine.imageSize).toBe(224); // the model knows better than this metadata
    expect(machine.report.pairs).toHaveLength(52);
    const image = picture(224, 224);
    const found = await machine.predict(image, 36);
    const plain = await tfl.loadLayersModel(fileIO(real));
    const output = tf.tidy(() => (plain.predict(tf.sub(tf.div(tf.expandDims(image), 127), 1)) as tf.Tensor).dataSync());
    // Folded against unfolded, through 52 blocks: 1e-4 of a probability.
    for (const { className, probability } of found) {
      expect(Math.abs(probability - output[labels.indexOf(className)])).toBeLessThan(1e-4);
    }
    disposeLayers(plain);
    await machine.save(folder('out'));
    machine.dispose();
    const again = await loadTeachableMachine(folder('out'));
    expect(await again.predict(image, 36)).toEqual(found);
    again.dispose();
    image.dispose();
    await useBackend('cpu');
  });
});
