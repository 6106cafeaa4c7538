/** `loadLayers`: where models come from, what is refused, and real ones. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { getMode } from 'tfjs-tune-mode';
import { fileIO } from 'tfjs-tune-mode/node';
import { type LayersOptions, loadLayers, type ModelSource } from 'tfjs-tune-mode/zoo';
import { temporaryFolder, writeFiles } from '../adapters/node/temporary-folder';
import { disposeLayers, memoryIO, refusal, tinyNet } from '../fine-tune/toy';
import { useBackend } from '../helpers/backends';
import { inputsFor, largestDifference, predictions, rounding, savedArtifacts } from '../helpers/models';
import { describeShared } from '../helpers/shared';
import { readFolder, tinyFiles, under } from './models';
import { type Server, startServer } from './server';

const folder = temporaryFolder();
let tensors: number;

beforeAll(() => useBackend('cpu'));
beforeEach(() => {
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  expect(tf.memory().numTensors).toBe(tensors);
});

describe('sources', () => {
  test.each<[string, () => ModelSource]>([
    ['a folder', () => folder('net')],
    ['its model.json', () => folder('net', 'model.json')],
    ['a relative path', () => path.relative(process.cwd(), folder('net'))],
    ['a file:// URL', () => pathToFileURL(folder('net')).href],
    ['an IOHandler', () => fileIO(folder('net'))],
    [
      'an IOHandler that streams',
      () => ({
        load: async () => {
          const { weightData, ...rest } = await fileIO(folder('net')).load();
          return { ...rest, getWeightStream: () => new Response(weightData as ArrayBuffer).body as never };
        },
      }),
    ],
    [
      'an IOHandler that gives its weights in pieces, the last one the longest',
      () => ({
        load: async () => {
          const artifacts = await fileIO(folder('net')).load();
          const data = artifacts.weightData as ArrayBuffer;
          return { ...artifacts, weightData: [data.slice(0, 4), data.slice(4, 12), data.slice(12)] };
        },
      }),
    ],
  ])('%s', async (_, source) => {
    writeFiles(folder('net'), await tinyFiles());
    const plain = await tfl.loadLayersModel(fileIO(folder('net')));
    const { model, report, metadata, dispose } = await loadLayers(source());
    expect(getMode(model)).toBe('tune');
    expect(report.pairs).toHaveLength(2);
    expect(metadata).toEqual({ labels: undefined, imageSize: undefined, inputRange: undefined });
    const x = inputsFor(model, 2);
    expect(largestDifference(predictions(model, x), predictions(plain, x))).toBeLessThan(rounding(model));
    tf.dispose(x);
    plain.dispose();
    dispose();
    dispose();
  });

  test('the metadata.json of a folder, and what a model was saved with', async () => {
    writeFiles(folder('net'), { ...(await tinyFiles()), 'metadata.json': '{"labels":["a","b"],"imageSize":8}' });
    const named = await loadLayers(folder('net'));
    expect(named.metadata).toMatchObject({ labels: ['a', 'b'], imageSize: [8, 8] });
    named.model.setUserDefinedMetadata({ classNames: ['c', 'd'], inputRange: [0, 1] });
    const io = memoryIO();
    await named.model.save(io);
    named.dispose();
    const again = await loadLayers(io);
    expect(again.metadata).toMatchObject({ labels: ['c', 'd'], inputRange: [0, 1] });
    again.dispose();
  });

  test('passes on the options of Tune mode', async () => {
    writeFiles(folder('net'), await tinyFiles());
    const { report, dispose } = await loadLayers(folder('net'), { tune: { include: ({ conv }) => conv === 'c1' } });
    expect(report.pairs.map(({ conv }) => conv)).toEqual(['c1']);
    dispose();
  });
});

describe('refused', () => {
  const artifacts = async (change: object): Promise<tf.io.IOHandler> => {
    const model = tinyNet();
    const given = { ...(await savedArtifacts(model)), ...change };
    model.dispose();
    return { load: async () => given };
  };

  test.each<[string, () => unknown, string, RegExp]>([
    [
      'nothing',
      () => undefined,
      'invalid-option',
      /'urlOrHandler' must be a URL, a path or a tfjs IOHandler; found undefined/,
    ],
    ['null', () => null, 'invalid-option', /found null/],
    ['an empty string', () => '', 'invalid-option', /found ""/],
    ['a number', () => 3, 'invalid-option', /found 3/],
    ['a handler that cannot load', () => ({ save: () => {} }), 'invalid-option', /an IOHandler that cannot load/],
    ['a page’s storage', () => 'indexeddb://net', 'invalid-option', /nothing here can load 'indexeddb:\/\/net'/],
    ['an unknown scheme', () => 'ftp://host/model.json', 'invalid-option', /nothing here can load 'ftp:/],
    ['a URL that is none', () => 'http://[/model.json', 'invalid-option', /is no valid URL/],
    ['a path without a model', () => folder('none'), 'not-found', /There is no '.*none'/],
    ['a folder without a model', () => folder(), 'not-found', /has no model.json/],
    [
      'a GraphModel',
      () => new GraphModel('http://127.0.0.1/model.json'),
      'not-a-layers-model',
      /GraphModel.*liftGraphModel.*loadMobileNet/,
    ],
    ['artifacts that are none', () => ({ load: async () => undefined }), 'invalid-model-file', /no 'modelTopology'/],
    ['no weights', () => artifacts({ weightData: undefined }), 'invalid-model-file', /has no weights/],
    [
      'too few weights',
      () => artifacts({ weightData: new ArrayBuffer(8) }),
      'invalid-model-file',
      /need \d+ bytes, but 8 were found/,
    ],
    [
      'weights of no shape',
      () => artifacts({ weightSpecs: [{ name: 'w', dtype: 'float32' }] }),
      'invalid-model-file',
      /weight 'w': 'shape'/,
    ],
  ])('%s', async (_, source, code, message) => {
    const error = await refusal(loadLayers((await source()) as ModelSource));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  test('weights that are no numbers', async () => {
    const files = await tinyFiles();
    new Float32Array((files['sub/b.bin'] as Uint8Array).buffer)[1] = Number.NaN;
    writeFiles(folder('net'), files);
    const error = await refusal(loadLayers(folder('net')));
    expect(error.message).toMatch(/has NaN at position/);
    expect(error.code).toBe('invalid-model-file');
  });

  test('a metadata.json that is none', async () => {
    writeFiles(folder('net'), { ...(await tinyFiles()), 'metadata.json': 'labels: a, b' });
    expect((await refusal(loadLayers(folder('net')))).message).toMatch(
      /metadata.json' beside '.*net' is not valid JSON/,
    );
  });

  test('an error of the handler comes through', async () => {
    const load = () => Promise.reject(new RangeError('mine'));
    await expect(loadLayers({ load })).rejects.toThrow(new RangeError('mine'));
  });

  test.each<[object, RegExp]>([
    [{ onprogress: () => {} }, /unknown option 'onprogress'.*'onProgress'/],
    [{ onProgress: 1 }, /'onProgress' must be a function; found 1/],
    [{ cache: true }, /'cache' must be a folder .* or false; found true/],
    [{ cache: '' }, /'cache'/],
    [{ refresh: 'yes' }, /'refresh' must be true or false; found "yes"/],
    [{ signal: {} }, /'signal' must be an AbortSignal/],
    [{ fromTFHub: 1 }, /'fromTFHub'/],
    [{ tune: { fuse: true } }, /unknown option 'fuse'/],
  ])('options %j', async (options, message) => {
    const error = await refusal(loadLayers(await artifacts({}), options as LayersOptions));
    expect(error.code).toBe('invalid-option');
    expect(error.message).toMatch(message);
  });
});

describeShared('real models over http', (shared) => {
  let server: Server;
  beforeEach(async () => {
    server = await startServer();
  });
  afterEach(() => server.close());
  const serve = (name: string): string => {
    Object.assign(server.pages, under(`/${name}`, readFolder(path.join(shared, 'models', name))));
    return `${server.address}/${name}/model.json`;
  };

  test.each([
    ['layers_mobilenet_v1_025_224', 27],
    ['layers_facecls_emotion_mobilenet_v1', 27],
    ['layers_emosense_separable', undefined],
    ['layers_tm_food_mobilenetv2_035', 52],
  ])('%s: the very weights that tfjs loads', async (name, pairs) => {
    const url = serve(name);
    const options = { cache: folder('cache') };
    const loaded = await loadLayers(url, options);
    if (pairs !== undefined) expect(loaded.report.pairs).toHaveLength(pairs);
    const plain = await tfl.loadLayersModel(fileIO(path.join(shared, 'models', name)));
    server.asked.length = 0;
    const again = await loadLayers(url, options);
    expect(server.asked).toEqual([]);
    for (const [index, weight] of plain.weights.entries()) {
      const values = weight.read().dataSync();
      expect(loaded.model.weights[index].read().dataSync()).toEqual(values);
      expect(again.model.weights[index].read().dataSync()).toEqual(values);
    }
    disposeLayers(plain);
    loaded.dispose();
    again.dispose();
  });

  test('a graph model is refused with what takes it, and its download is not lost', async () => {
    const url = serve('graph_mobilenet_v1_025_224');
    const error = await refusal(loadLayers(url, { cache: folder('cache') }));
    expect(error.code).toBe('not-a-layers-model');
    expect(error.message).toMatch(/liftGraphModel/);
    const graph = await loadGraphModel(fileIO(path.join(shared, 'models', 'graph_mobilenet_v1_025_224')));
    expect((await refusal(loadLayers(graph as unknown as ModelSource))).message).toMatch(/liftGraphModel/);
    graph.dispose();
  });
});
