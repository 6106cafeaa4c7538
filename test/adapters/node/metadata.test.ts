/** What the files beside a model say of its pictures and classes. */
import '@tensorflow/tfjs-backend-cpu';
import fs from 'node:fs/promises';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import { fileIO } from '../../../adapters/node/file-io';
import { loadModel } from '../../../adapters/node/load-model';
import { metadataText } from '../../../adapters/node/metadata';
import { temporaryFolder } from './temporary-folder';

const folder = temporaryFolder();
const teachable = { tfjsVersion: '1.3.1', tmVersion: '2.4.5', packageName: '@teachablemachine/image', imageSize: 224 };

async function save(userMetadata?: object): Promise<string> {
  await tf.setBackend('cpu');
  const net = sequential({
    layers: [layers.globalAveragePooling2d({ inputShape: [8, 8, 3] }), layers.dense({ units: 2 })],
  });
  if (userMetadata) net.setUserDefinedMetadata(userMetadata);
  await net.save(fileIO(folder()));
  net.dispose();
  return folder();
}

test.each<[what: string, file: object | undefined, own: object | undefined, expected: object]>([
  ['neither', undefined, undefined, {}],
  [
    'a Teachable Machine export',
    { ...teachable, labels: ['a', 'b'] },
    undefined,
    { labels: ['a', 'b'], imageSize: [224, 224], inputRange: [-1, 1] },
  ],
  [
    'the model itself',
    undefined,
    { classNames: ['a', 'b'], inputRange: [0, 1] },
    { labels: ['a', 'b'], inputRange: [0, 1] },
  ],
  [
    'both: the file wins',
    { labels: ['c', 'd'], userMetadata: { inputRange: [0, 255], imageSize: [10, 20] }, imageSize: 96 },
    { labels: ['a', 'b'], inputRange: [0, 1] },
    { labels: ['c', 'd'], inputRange: [0, 255], imageSize: [10, 20] },
  ],
  [
    'somebody else: no range is made up',
    { labels: ['a', 'b'], packageName: 'other' },
    undefined,
    { labels: ['a', 'b'] },
  ],
  ['sizes and ranges that are none', { imageSize: 'big', userMetadata: { inputRange: [1, 'x'] } }, undefined, {}],
])('%s', async (_, file, own, expected) => {
  const place = await save(own);
  if (file) await fs.writeFile(path.join(place, 'metadata.json'), JSON.stringify(file));
  const { model, metadata } = await loadModel(place);
  expect(JSON.parse(JSON.stringify(metadata))).toEqual(expected);
  model.dispose();
});

test('what is written is read again, with a byte order mark too, and is Teachable Machine’s form', async () => {
  const place = await save();
  const written = { labels: ['x', '<b>', 'ü'], imageSize: [48, 64], inputRange: [0, 1] } as const;
  const text = metadataText('net', {
    ...written,
    labels: [...written.labels],
    imageSize: [48, 64],
    inputRange: [0, 1],
  });
  await fs.writeFile(path.join(place, 'metadata.json'), `\uFEFF${text}`);
  const { model, metadata } = await loadModel(path.join(place, 'model.json'));
  expect(metadata).toEqual(written);
  model.dispose();
  const square = JSON.parse(metadataText('net', { labels: ['a', 'b'], imageSize: [96, 96], inputRange: [-1, 1] }));
  // What @teachablemachine/image looks at: a version as text, labels, one number for the size.
  expect(square).toMatchObject({
    tfjsVersion: expect.any(String),
    modelName: 'net',
    labels: ['a', 'b'],
    imageSize: 96,
  });
});

test.each([
  ['{ "labels": ', /metadata\.json' is not valid JSON/],
  ['{ "labels": "a, b" }', /'labels' must be a list of names, found "a, b"/],
  ['{ "labels": [1, 2] }', /'labels' must be a list of names/],
])('%s is refused', async (text, message) => {
  const place = await save();
  await fs.writeFile(path.join(place, 'metadata.json'), text);
  await expect(loadModel(place)).rejects.toMatchObject({
    code: 'invalid-model-file',
    message: expect.stringMatching(message),
  });
});

test('a model that is refused leaves no tensors', async () => {
  const place = await save();
  const alive = tf.memory().numTensors;
  const shard = (await fs.readdir(place)).find((name) => name.endsWith('.bin')) as string;
  const bytes = await fs.readFile(path.join(place, shard));
  bytes.writeFloatLE(Number.POSITIVE_INFINITY, 4);
  await fs.writeFile(path.join(place, shard), bytes);
  await expect(loadModel(place)).rejects.toMatchObject({
    message: expect.stringMatching(/has Infinity at position 1/),
  });
  await fs.writeFile(path.join(place, 'metadata.json'), '{');
  bytes.writeFloatLE(0, 4);
  await fs.writeFile(path.join(place, shard), bytes);
  await expect(loadModel(place)).rejects.toMatchObject({ code: 'invalid-model-file' });
  expect(tf.memory().numTensors).toBe(alive);
});
