/** Teachable Machine's models fine-tuned, and saved in the form of an export (`teachable.test.ts`). */
import fs from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { getMode } from 'tfjs-tune-mode';
import { fileIO } from 'tfjs-tune-mode/node';
import { loadTeachableMachine, type TeachableMachine } from 'tfjs-tune-mode/zoo';
import { loadModel } from '../../adapters/node/load-model';
import { disposeLayers, disposeToy, memoryIO, refusal, type Toy, toy } from '../fine-tune/toy';
import { listed } from './models';
import { METADATA, picture, probabilities, teachableExport } from './teachable-files';

const { folder, local } = teachableExport();

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
