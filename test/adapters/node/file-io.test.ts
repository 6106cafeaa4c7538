import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { fileIO } from '../../../adapters/node';
import { describeShared } from '../../helpers/shared';
import { checkedValue, listing, madeUpModel } from './models';
import { temporaryFolder, writeFiles } from './temporary-folder';

const at = temporaryFolder();

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const bytesOf = (artifacts: tf.io.ModelArtifacts) => [...new Uint8Array(artifacts.weightData as ArrayBuffer)];

/** Conv + BN with random statistics. */
function convBn(): layers.LayersModel {
  const model = layers.sequential({
    layers: [
      layers.layers.conv2d({ inputShape: [6, 6, 3], filters: 4, kernelSize: 3, name: 'conv' }),
      layers.layers.batchNormalization({ name: 'bn' }),
      layers.layers.globalAveragePooling2d({}),
      layers.layers.dense({ units: 2, name: 'head' }),
    ],
  });
  const weights = model.getWeights().map((w, i) => tf.randomUniform(w.shape, 0.2, 1.5, 'float32', i + 1));
  model.setWeights(weights);
  tf.dispose(weights);
  return model;
}

const predict = (model: layers.LayersModel) =>
  tf.tidy(() => [...(model.predict(tf.randomUniform([2, 6, 6, 3], -1, 1, 'float32', 7)) as tf.Tensor).dataSync()]);

describe('a model saved and loaded', () => {
  test('predicts the same, with the same weight names, and leaks nothing', async () => {
    const model = convBn();
    const { modelArtifactsInfo } = await model.save(fileIO(at('model')));
    expect(modelArtifactsInfo).toMatchObject({ modelTopologyType: 'JSON', weightDataBytes: model.countParams() * 4 });
    expect(modelArtifactsInfo.dateSaved.getTime()).toBeLessThanOrEqual(Date.now());
    expect(listing(at('model'))).toEqual([expect.stringMatching(/^group1-shard1of1\.[0-9a-f]{8}\.bin$/), 'model.json']);

    const before = tf.memory().numTensors;
    const loaded = await layers.loadLayersModel(fileIO(at('model')));
    expect(predict(loaded)).toEqual(predict(model));
    // `name` gets a suffix in a process that has used it before.
    expect(loaded.weights.map((w) => w.originalName)).toEqual(model.weights.map((w) => w.originalName));
    loaded.dispose();
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  test('keeps its compilation and the optimizer', async () => {
    const model = convBn();
    model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
    await model.save(fileIO(at('model')), { includeOptimizer: true });
    const loaded = await layers.loadLayersModel(fileIO(at('model')));
    expect(loaded.optimizer.getClassName()).toBe('Adam');
    expect(loaded.loss).toBe('meanSquaredError');
  });

  test.each([
    ['a .json file of any name', () => at('deep/er/net.json')],
    ['a folder with a slash', () => `${at('model')}/`],
    ['a file URL', () => pathToFileURL(at('a folder with spaces, ä and %')).href],
    ['a relative path', () => path.relative(process.cwd(), at('model'))],
    ['a relative path after file://', () => `file://${path.relative(process.cwd(), at('model'))}`],
  ])('%s will do as the place', async (_, place) => {
    await fileIO(place()).save(madeUpModel(3));
    expect(checkedValue(await fileIO(place()).load())).toBe(3);
    expect(listing(at()).length).toBe(1); // inside the temporary folder, not beside the program
  });

  test('a folder whose name ends in .json is a folder', async () => {
    fs.mkdirSync(at('v1.json'));
    await fileIO(at('v1.json')).save(madeUpModel(3));
    expect(listing(at('v1.json'))).toContain('model.json');
    expect(checkedValue(await fileIO(at('v1.json')).load())).toBe(3);
  });

  test('keeps every field of the artifacts', async () => {
    const artifacts: tf.io.ModelArtifacts = {
      ...madeUpModel(1),
      convertedBy: 'TensorFlow.js Converter v4.22.0',
      trainingConfig: { optimizer_config: {}, loss: 'mse' },
      userDefinedMetadata: { labels: ['ant', 'bee'] },
      signature: { inputs: {} },
      modelInitializer: { node: [] },
      initializerSignature: { outputs: {} },
    };
    await fileIO(at('m')).save(artifacts);
    expect(await fileIO(at('m')).load()).toEqual(artifacts);
  });

  test('large weights are cut into shards of 4 MiB, each named after its bytes', async () => {
    const count = 2.25 * 2 ** 20; // 9 MiB
    const data = Float32Array.from({ length: count }, (_, i) => i);
    const saved = { ...madeUpModel(1, count), weightData: data.buffer };
    await fileIO(at('m')).save(saved);
    const shards = listing(at('m')).filter((name) => name.endsWith('.bin'));
    expect(shards.map((name) => name.replace(/[0-9a-f]{8}/, '#'))).toEqual(
      [1, 2, 3].map((i) => `group1-shard${i}of3.#.bin`),
    );
    expect(shards.map((name) => fs.statSync(at('m', name)).size)).toEqual([4, 4, 1].map((mib) => mib * 2 ** 20));
    expect(new Float32Array((await fileIO(at('m')).load()).weightData as ArrayBuffer)).toEqual(data);
  });

  test('weight data may come as a list of buffers of any lengths', async () => {
    const parts = [3, 0, 1, 30].map((length, i) => new Uint8Array(length).fill(i + 1).buffer);
    const specs = [{ name: 'w', shape: [34], dtype: 'bool' as const }];
    await fileIO(at('m')).save({ ...madeUpModel(1), weightSpecs: specs, weightData: parts });
    expect(bytesOf(await fileIO(at('m')).load())).toEqual([...Array(3).fill(1), 3, ...Array(30).fill(4)]);
  });

  test('a model without weights, and a topology alone', async () => {
    await fileIO(at('none')).save({ ...madeUpModel(1), weightSpecs: [], weightData: new ArrayBuffer(0) });
    expect(await fileIO(at('none')).load()).toMatchObject({ weightSpecs: [], weightData: new ArrayBuffer(0) });
    await fileIO(at('topology')).save({ modelTopology: { a: 1 } });
    expect(listing(at('topology'))).toEqual(['model.json']);
    const loaded = await fileIO(at('topology')).load();
    expect(loaded.modelTopology).toEqual({ a: 1 });
    expect([loaded.weightSpecs, loaded.weightData]).toEqual([undefined, undefined]);
  });

  test('two saves at once to one place: the later one wins, whole', async () => {
    const saves = [1, 2, 3, 4].map((value) => fileIO(at('m')).save(madeUpModel(value, 1000)));
    await Promise.all(saves);
    expect(checkedValue(await fileIO(at('m')).load())).toBe(4);
    expect(listing(at('m'))).toHaveLength(2);
  });

  test('loading while somebody else saves gives one model or the other', async () => {
    await fileIO(at('m')).save(madeUpModel(0, 1000));
    const saving = (async () => {
      for (let value = 1; value <= 30; value++) await fileIO(at('m')).save(madeUpModel(value, 1000));
    })();
    for (let i = 0; i < 30; i++) checkedValue(await fileIO(at('m')).load());
    await saving;
    expect(checkedValue(await fileIO(at('m')).load())).toBe(30);
  });
});

describe('files of other makers', () => {
  test('several groups with several shards, in subfolders, the last one the longest', async () => {
    const group = (paths: string[], name: string, size: number) => ({
      paths,
      weights: [{ name, shape: [size], dtype: 'bool' }],
    });
    writeFiles(at('m'), {
      'model.json': `\uFEFF${JSON.stringify({
        modelTopology: { x: 1 },
        weightsManifest: [group(['a.bin'], 'a', 2), group(['b/1', 'b/2'], 'b', 50)],
      })}`,
      'a.bin': Uint8Array.of(1, 2),
      'b/1': Uint8Array.of(3),
      'b/2': new Uint8Array(49).fill(4),
    });
    const loaded = await fileIO(at('m')).load();
    expect(bytesOf(loaded)).toEqual([1, 2, 3, ...Array(49).fill(4)]);
    const weights = tf.io.decodeWeights(loaded.weightData!, loaded.weightSpecs!);
    expect([...weights.b.dataSync()].slice(-3)).toEqual([4, 4, 4]);
    tf.dispose(weights);
  });

  test.each([
    ['uint8', Uint8Array.of(0, 128, 255), { dtype: 'uint8', min: -1, scale: 2 / 255 }, [-1, 128 * (2 / 255) - 1, 1]],
    ['uint16', Uint16Array.of(0, 1, 65535), { dtype: 'uint16', min: 0, scale: 0.5 }, [0, 0.5, 32767.5]],
    ['float16', Uint16Array.of(0x3c00, 0xc000, 0x3555), { dtype: 'float16' }, [1, -2, 0.333251953125]],
  ])('%s weights are read, saved again as they are, and decoded by tfjs', async (_, stored, quantization, expected) => {
    const weights = [
      { name: 'q', shape: [3], dtype: 'float32', quantization },
      { name: 'i', shape: [2], dtype: 'int32' },
    ];
    writeFiles(at('m'), {
      'model.json': JSON.stringify({ modelTopology: {}, weightsManifest: [{ paths: ['q', 'i'], weights }] }),
      q: new Uint8Array(stored.buffer),
      i: new Uint8Array(Int32Array.of(-5, 70000).buffer),
    });
    const loaded = await fileIO(at('m')).load();
    await fileIO(at('again')).save(loaded);
    const again = await fileIO(at('again')).load();
    expect(again).toEqual(loaded);
    const decoded = tf.io.decodeWeights(again.weightData!, again.weightSpecs!);
    const values = [...decoded.q.dataSync()];
    for (let i = 0; i < 3; i++) expect(values[i]).toBeCloseTo(expected[i], 5);
    expect([...decoded.i.dataSync()]).toEqual([-5, 70000]);
    tf.dispose(decoded);
  });

  test('a quantised layers model loads and predicts', async () => {
    const model = convBn();
    await model.save(fileIO(at('m')));
    const { weightSpecs, weightData, ...rest } = await fileIO(at('m')).load();
    const full = new Float32Array(weightData as ArrayBuffer);
    const scale = 1.5 / 65535;
    const quantised = {
      ...rest,
      weightSpecs: weightSpecs!.map((spec) => ({ ...spec, quantization: { dtype: 'uint16' as const, min: 0, scale } })),
      weightData: Uint16Array.from(full, (value) => Math.round(value / scale)).buffer,
    };
    await fileIO(at('q')).save(quantised);
    const loaded = await layers.loadLayersModel(fileIO(at('q')));
    const expected = predict(model);
    // 16 bits: each weight is off by at most 1.2e-5; the outputs are sums of some hundred products.
    predict(loaded).forEach((value, i) => {
      expect(Math.abs(value - expected[i])).toBeLessThan(2e-3);
    });
  });

  test('string weights, whose size only the data tells', async () => {
    const { data, specs } = await tf.io.encodeWeights({ s: tf.tensor1d(['ä', 'bee']), n: tf.tensor1d([1]) });
    await fileIO(at('m')).save({ modelTopology: {}, weightSpecs: specs, weightData: data });
    const loaded = await fileIO(at('m')).load();
    expect([...tf.io.decodeWeights(loaded.weightData!, loaded.weightSpecs!).s.dataSync()]).toEqual(['ä', 'bee']);
  });
});

describe('plain tfjs, in a process without this package', () => {
  const script = (source: string) => `
    const tf = require('@tensorflow/tfjs-core');
    const layers = require('@tensorflow/tfjs-layers');
    require('@tensorflow/tfjs-backend-cpu');
    layers.loadLayersModel(${source}).then((model) => {
      const y = model.predict(tf.randomUniform([2, 6, 6, 3], -1, 1, 'float32', 7));
      console.log(JSON.stringify([...y.dataSync()]));
    });`;

  test('reads the folder over http', async () => {
    const model = convBn();
    await model.save(fileIO(at('m')));
    const server = http.createServer((request, response) => {
      const type = request.url!.endsWith('.json') ? 'application/json' : 'application/octet-stream';
      response.setHeader('content-type', type).end(fs.readFileSync(at('m', path.basename(request.url!))));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/m/model.json`;
    const child = spawn(process.execPath, ['-e', script(JSON.stringify(url))], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    for await (const chunk of child.stdout) output += chunk;
    server.close();
    expect(JSON.parse(output.trim().split('\n').at(-1)!)).toEqual(predict(model));
  });
});

describeShared('real models', (shared) => {
  test.each([
    ['layers_mobilenet_v1_025_224', 137],
    ['layers_facecls_emotion_mobilenet_v1', 137], // one group for each layer
    ['layers_tm_food_mobilenetv2_035', 263],
    ['layers_crepe_tiny', undefined],
  ])('%s loads, and saved again it is the same', async (name, count) => {
    const model = await layers.loadLayersModel(fileIO(path.join(shared, 'models', name)));
    if (count) expect(model.weights).toHaveLength(count);
    await model.save(fileIO(at('again')));
    const again = await layers.loadLayersModel(fileIO(at('again')));
    const differing = model.weights.filter((weight, i) => {
      const [a, b] = [weight.read().dataSync(), again.weights[i].read().dataSync()];
      return (
        weight.originalName !== again.weights[i].originalName ||
        a.length !== b.length ||
        a.some((value, j) => value !== b[j])
      );
    });
    expect(differing.map((weight) => weight.originalName)).toEqual([]);
    model.dispose();
    again.dispose();
  });

  test('a quantised graph model is read with all its bytes', async () => {
    const loaded = await fileIO(path.join(shared, 'models/graph_handtrack_ssd320fpnlite_mobilenetv2_uint8')).load();
    expect(loaded.weightSpecs).toHaveLength(619);
    const before = tf.memory().numTensors;
    const decoded = tf.io.decodeWeights(loaded.weightData!, loaded.weightSpecs!);
    expect(Object.keys(decoded)).toHaveLength(619);
    tf.dispose(decoded);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a model.json whose weight files are not there names the first', async () => {
    const loading = fileIO(path.join(shared, 'models/topology_only/keras_resnet50')).load();
    await expect(loading).rejects.toThrow(/The weight file '.*', named in '.*model\.json', is missing/);
  });
});
