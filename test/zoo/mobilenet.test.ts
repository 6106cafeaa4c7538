/**
 * loadMobileNet beside the package whose place it takes.
 *
 * Restoring rounds each weight a few times (2⁻²⁴ each), and every layer passes that on: over 27 blocks logits of up to 20
 * were seen to differ by 5e-5, so 2e-4 is what two right nets may differ by; of the tiny net with 2 blocks 1e-5. A wrong
 * fold, or pictures prepared otherwise, differ by far more.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as realMobileNet from '@tensorflow-models/mobilenet';
import { fileIO, loadPicture, loadPictureFolder } from '../../adapters/node';
import type { FineTuneData } from '../../src/fine-tune';
import { loadLayersOn } from '../../zoo/layers';
import { loadMobileNetOn, MOBILENET_URLS, type MobileNetOptions } from '../../zoo/mobilenet';
import { nodePlatform } from '../../zoo/node-platform';
import { useBackend } from '../helpers/backends';
import { random } from '../helpers/random';
import { describeShared } from '../helpers/shared';
import { tinyMobileNet } from './graphs';

beforeAll(() => useBackend('wasm'));

const load = (options?: MobileNetOptions) => loadMobileNetOn(nodePlatform, options);
const INPUT_RANGE = [0, 1] as [number, number];

const picture = (seed: number, height = 200, width = 260) =>
  tf.tensor3d(
    random(seed).array(height * width * 3, () => random(seed).uniform(0, 255)),
    [height, width, 3],
  );

function difference(a: tf.Tensor, b: tf.Tensor): number {
  expect(a.shape).toEqual(b.shape);
  const result = tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]);
  tf.dispose([a, b]);
  return result;
}

/** Bright and dark pictures: two classes that any net tells apart. */
function brightness(): FineTuneData {
  const numbers = random(5);
  const xs = tf.tensor4d(
    numbers.array(12 * 224 * 224 * 3, (i) => (Math.floor(i / (224 * 224 * 3)) % 2 === 0 ? 0.9 : 0.1)),
    [12, 224, 224, 3],
  );
  const ys = tf.oneHot(tf.tensor1d([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1], 'int32'), 2) as tf.Tensor2D;
  return { classNames: ['bright', 'dark'], train: { xs, ys }, val: { xs, ys } };
}

describe('beside the real package, on a tiny net', () => {
  test('infer and classify give the same, for pictures of any size, batches, and embeddings', async () => {
    const artifacts = tinyMobileNet();
    const real = await realMobileNet.load({
      version: 1,
      modelUrl: tf.io.fromMemory(artifacts),
      inputRange: INPUT_RANGE,
    });
    const net = await load({ modelUrl: tf.io.fromMemory(artifacts), inputRange: INPUT_RANGE });
    for (const image of [picture(1), picture(2, 224, 224)]) {
      expect(difference(net.infer(image), real.infer(image))).toBeLessThan(1e-5);
      expect(difference(net.infer(image, true), real.infer(image, true))).toBeLessThan(1e-5);
      const [mine, theirs] = [await net.classify(image, 5), await real.classify(image, 5)];
      expect(mine.map(({ className }) => className)).toEqual(theirs.map(({ className }) => className));
    }
    const batch = tf.stack([picture(3, 224, 224), picture(4, 224, 224)]);
    expect(difference(net.infer(batch), real.infer(batch))).toBeLessThan(1e-5);
    expect((await net.classify(picture(1))).length).toBe(3);
    net.dispose();
  });

  test('is trainable, and the real package runs what it became', async () => {
    const net = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet(2)), inputRange: INPUT_RANGE });
    expect(net.report.pairs.length).toBe(2);
    expect(net.report.mode).toBe('tune');
    const before = net.infer(picture(6), true);
    const result = await net.fineTune(brightness(), { epochs: 2, learningRate: 0.01, batchSize: 4, augment: false });
    expect(result.history.at(-1)?.valAccuracy).toBe(1);
    expect(net.labels).toEqual(['bright', 'dark']);
    const seen = tf.fill([100, 100, 3], 230) as tf.Tensor3D;
    expect((await net.classify(seen, 1))[0].className).toBe('bright');
    expect(net.infer(seen).shape).toEqual([1, 2]);

    const artifacts = await net.toGraphModel();
    const real = await realMobileNet.load({
      version: 1,
      modelUrl: tf.io.fromMemory(artifacts),
      inputRange: INPUT_RANGE,
    });
    const after = real.infer(picture(6), true);
    expect(difference(tf.clone(after), net.infer(picture(6), true))).toBeLessThan(1e-5);
    // It is the tuned embedding, and not the old one; the best epoch may be the head alone, which would leave it.
    if (result.bestEpoch > 0) expect(difference(after, before)).toBeGreaterThan(1e-4);
    net.dispose();
  });

  test('pictures of another size are refused before anything changes', async () => {
    const net = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet()), inputRange: INPUT_RANGE });
    const before = tf.memory().numTensors;
    const xs = tf.zeros([4, 96, 96, 3]) as tf.Tensor4D;
    const ys = tf.tensor2d([1, 0, 0, 1, 1, 0, 0, 1], [4, 2]);
    const data: FineTuneData = { classNames: ['a', 'b'], train: { xs, ys }, val: { xs, ys } };
    await expect(net.fineTune(data, { epochs: 1 })).rejects.toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining('[224, 224, 3]; found [96, 96, 3]'),
    });
    tf.dispose([xs, ys]);
    expect(net.labels).toBeUndefined();
    expect(tf.memory().numTensors).toBe(before);
    net.dispose();
  });

  test('an untouched net handed back classifies as before', async () => {
    const net = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet(3)), inputRange: INPUT_RANGE });
    const real = await realMobileNet.load({
      version: 1,
      modelUrl: tf.io.fromMemory(await net.toGraphModel()),
      inputRange: INPUT_RANGE,
    });
    const [mine, theirs] = [await net.classify(picture(8), 2), await real.classify(picture(8), 2)];
    expect(theirs.map(({ className }) => className)).toEqual(mine.map(({ className }) => className));
    net.dispose();
  });

  test('its calibration decides the statistics, and only them', async () => {
    const source = () => ({ modelUrl: tf.io.fromMemory(tinyMobileNet(4)), inputRange: INPUT_RANGE });
    const calibration = tf.fill([2, 224, 224, 3], 0.25);
    const [plain, calibrated] = [await load(source()), await load({ ...source(), calibration })];
    const meanOf = ({ model }: { model: { layers: { getClassName(): string; weights: { read(): tf.Tensor }[] }[] } }) =>
      model.layers
        .find((layer) => layer.getClassName() === 'BatchNormalization')
        ?.weights[2].read()
        .dataSync();
    expect(meanOf(calibrated as never)).not.toEqual(meanOf(plain as never));
    expect(difference(calibrated.infer(picture(9)), plain.infer(picture(9)))).toBeLessThan(1e-5);
    expect(calibration.isDisposed).toBe(false);
  });

  test('saved as a layers model it gives the same, from its folder', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'zoo-mobilenet-'));
    const net = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet(5)), inputRange: INPUT_RANGE });
    await net.save(folder);
    const { model, metadata } = await loadLayersOn(nodePlatform, folder);
    const x = tf.randomUniform([1, 224, 224, 3], 0, 1, 'float32', 3);
    expect(difference(model.predict(x) as tf.Tensor, net.model.predict(x) as tf.Tensor)).toBe(0);
    expect(metadata.inputRange).toEqual([0, 1]);
    fs.rmSync(folder, { recursive: true });
  });

  test('leaves no tensor behind, nor when it fails', async () => {
    const warm = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet(6)), inputRange: INPUT_RANGE });
    warm.dispose();
    const before = tf.memory().numTensors;
    const net = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet(6)), inputRange: INPUT_RANGE });
    const image = picture(1);
    net.infer(image).dispose();
    await net.classify(image);
    image.dispose();
    net.dispose();
    net.dispose();
    expect(tf.memory().numTensors).toBe(before);
    await expect(
      load({ modelUrl: tf.io.fromMemory(tinyMobileNet(6)), calibration: tf.scalar(1) }),
    ).rejects.toMatchObject({
      code: 'invalid-data',
    });
    expect(tf.memory().numTensors).toBe(before + 1);
  });
});

describe('what is refused', () => {
  const offline = { fetchFunc: () => Promise.reject(new TypeError('fetch failed')), cache: false } as const;

  test('an own table that has drifted from the package', () => {
    const source = fs.readFileSync(require.resolve('@tensorflow-models/mobilenet/dist/index.js'), 'utf8');
    const theirs = [...source.matchAll(/url: '([^']+)'/g)].map(([, url]) => url);
    expect(Object.values(MOBILENET_URLS).flatMap((alphas) => Object.values(alphas))).toEqual(theirs);
    // And with them the ranges: all of them [0, 1].
    expect([...source.matchAll(/inputRange: \[([^\]]+)\]/g)].map(([, range]) => range)).toEqual(
      theirs.map(() => '0, 1'),
    );
  });

  test('offline: one sentence with the URL, and how to pass a copy', async () => {
    await expect(load({ ...offline, version: 2, alpha: 0.5 })).rejects.toMatchObject({
      code: 'download-failed',
      message: expect.stringMatching(/tfhub\.dev\/google\/imagenet\/mobilenet_v2_050_224\/classification\/2.*modelUrl/),
    });
  });

  test.each([
    [{ version: 3 }, /version 1 with alpha 0\.25, 0\.5, 0\.75, 1; version 2 with alpha 0\.5, 0\.75, 1/],
    [{ version: 2, alpha: 0.25 }, /no version 2 with alpha 0\.25/],
    [{ inputRange: [1, 0] }, /'inputRange'/],
    [{ alfa: 1 }, /unknown option 'alfa'/],
  ])('%j', async (options, message) => {
    await expect(load({ ...offline, ...(options as MobileNetOptions) })).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(message),
    });
  });

  test('use after dispose, and a graph where there is none', async () => {
    const net = await load({ modelUrl: tf.io.fromMemory(tinyMobileNet()), inputRange: INPUT_RANGE });
    net.dispose();
    expect(() => net.infer(picture(1))).toThrow(expect.objectContaining({ code: 'model-disposed' }));
    await expect(net.classify(picture(1))).rejects.toMatchObject({ code: 'model-disposed' });
    await expect(net.toGraphModel()).rejects.toMatchObject({ code: 'model-disposed' });
  });
});

describeShared('on the real net, v1 0.25', (shared) => {
  const graph = path.join(shared, 'models/graph_mobilenet_v1_025_224');
  const samples = path.join(shared, 'data/imagenet_samples');
  const files = fs.readdirSync(samples).filter((file) => /\.(jpe?g|png)$/i.test(file));
  const read = (file: string) =>
    loadPicture(path.join(samples, file), { imageSize: [256, 256], inputRange: [0, 255], channels: 3 });

  test('names what the package names in real pictures, and Keras’s model nearly so', async () => {
    const real = await realMobileNet.load({
      version: 1,
      alpha: 0.25,
      modelUrl: fileIO(graph),
      inputRange: INPUT_RANGE,
    });
    const net = await load({ alpha: 0.25, modelUrl: graph, inputRange: INPUT_RANGE });
    const keras = await load({ alpha: 0.25, modelUrl: path.join(shared, 'models/layers_mobilenet_v1_025_224') });
    expect(net.report.pairs.length).toBe(27);
    expect(keras.report.pairs.length).toBe(27);
    expect(keras.lifted).toBeNull();
    let agreeing = 0;
    for (const file of files.slice(0, 12)) {
      const image = (await read(file)) as tf.Tensor3D;
      expect(difference(net.infer(image), real.infer(image))).toBeLessThan(2e-4);
      const [[mine], [theirs], [other]] = [
        await net.classify(image, 1),
        await real.classify(image, 1),
        await keras.classify(image, 1),
      ];
      expect(mine.className).toBe(theirs.className);
      expect(Math.abs(mine.probability - theirs.probability)).toBeLessThan(1e-4);
      if (other.className === theirs.className) agreeing++;
      image.dispose();
    }
    // Two trainings of one architecture; each is right on about half of ImageNet.
    expect(agreeing).toBeGreaterThanOrEqual(6);
    await expect(keras.toGraphModel()).rejects.toMatchObject({ code: 'unsupported' });
    net.dispose();
    keras.dispose();
  });

  test('fine-tuned on ants and bees, its embedding is what the untouched package gives', async () => {
    const data = await loadPictureFolder(path.join(shared, 'data/hymenoptera'), {
      imageSize: [224, 224],
      inputRange: INPUT_RANGE,
      batchSize: 16,
    });
    const net = await load({ alpha: 0.25, modelUrl: graph, inputRange: INPUT_RANGE, calibration: data.train });
    const image = (await read(files[0])) as tf.Tensor3D;
    const before = net.infer(image, true);
    const result = await net.fineTune(data, { epochs: 1, learningRate: 1e-4 });
    // Chance is 55 %.
    expect(result.history.at(-1)?.valAccuracy).toBeGreaterThan(0.75);
    const real = await realMobileNet.load({
      version: 1,
      alpha: 0.25,
      modelUrl: tf.io.fromMemory(await net.toGraphModel()),
      inputRange: INPUT_RANGE,
    });
    const embedding = real.infer(image, true);
    expect(difference(tf.clone(embedding), net.infer(image, true))).toBeLessThan(2e-4);
    if (result.bestEpoch > 0) expect(difference(embedding, before)).toBeGreaterThan(1e-3);
    net.dispose();
    await data.close();
  });
});
