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
import { loadTeachableMachine } from 'tfjs-tune-mode/zoo';
import { writeFiles } from '../adapters/node/temporary-folder';
import { disposeLayers, memoryIO, refusal } from '../fine-tune/toy';
import { useBackend } from '../helpers/backends';
import { describeShared } from '../helpers/shared';
import { listed, type ModelFiles, readFolder, under } from './models';
import { html, type Server, startServer } from './server';
import { METADATA, picture, teachableExport } from './teachable-files';

const { folder, local, files } = teachableExport();

describe('loading', () => {
  let server: Server;
  beforeEach(async () => {
    server = await startServer(under('/models/abc', files()));
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
    server.pages = under('/m', files(), '?key=1');
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
