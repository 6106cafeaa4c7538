/** Runs inside the browser: the zoo as a user's bundler sees it, on the cpu backend. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { getMode, TuneModeError } from 'tfjs-tune-mode';
import { loadLayers, loadTeachableMachine, type TeachableMachine } from 'tfjs-tune-mode/zoo';
import { drawn } from './drawn';

/** What `run` gives, and how many tensors it leaves; of an error its code and message. */
async function counted<T extends object>(run: () => Promise<T>): Promise<T & { left: number }> {
  await tf.setBackend('cpu');
  const before = tf.memory().numTensors;
  const result = await run().catch((error) => {
    if (!(error instanceof TuneModeError)) throw error;
    return { code: error.code, message: error.message } as unknown as T;
  });
  return { ...result, left: tf.memory().numTensors - before };
}

export interface Loaded {
  mode: string;
  pairs: number;
  output: number[];
  progress: number[];
}

async function load(url: string, options: object = {}) {
  return counted(async () => {
    const progress: number[] = [];
    const onProgress = (fraction: number) => void progress.push(fraction);
    const { model, report, dispose } = await loadLayers(url, { onProgress, ...options });
    const [, height, width, channels] = model.inputs[0].shape as number[];
    const output = tf.tidy(() => [
      ...(model.predict(tf.fill([1, height, width, channels], 0.5)) as tf.Tensor).dataSync(),
    ]);
    const mode = getMode(model);
    if (!url.includes('://kept')) await model.save('indexeddb://kept');
    dispose();
    return { mode, pairs: report.pairs.length, output, progress };
  });
}

/** By the formulas of `@teachablemachine/image` 0.8.5: drawn onto a square canvas, x / 127 − 1. */
async function asTheLibrary({ model, imageSize, labels }: TeachableMachine, picture: HTMLCanvasElement) {
  const scale = imageSize / Math.min(picture.width, picture.height);
  const [width, height] = [Math.ceil(picture.width * scale), Math.ceil(picture.height * scale)];
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: imageSize, height: imageSize });
  const [left, top] = [Math.trunc((width - imageSize) / 2), Math.trunc((height - imageSize) / 2)];
  canvas.getContext('2d')!.drawImage(picture, -left, -top, width, height);
  const values = tf.tidy(() => {
    const pixels = tf.expandDims(tf.browser.fromPixels(canvas));
    return (model.predict(tf.sub(tf.div(pixels, 127), 1)) as tf.Tensor).dataSync();
  });
  return Object.fromEntries(labels.map((label, i) => [label, values[i]]));
}

async function teachable(url: string) {
  return counted(async () => {
    const machine = await loadTeachableMachine(url);
    const elements = { canvas: drawn(40, 30), small: drawn(16, 16) };
    const differences: Record<string, number> = {};
    for (const [name, canvas] of Object.entries(elements)) {
      const wanted = await asTheLibrary(machine, canvas);
      const found = await machine.predict(canvas);
      differences[name] = Math.max(...found.map((each) => Math.abs(each.probability - wanted[each.className])));
    }
    const image = new Image();
    image.src = elements.canvas.toDataURL();
    await image.decode();
    const data = elements.canvas.getContext('2d')!.getImageData(0, 0, 40, 30);
    const bitmap = await createImageBitmap(elements.canvas);
    const kinds = await Promise.all([elements.canvas, image, bitmap].map((each) => machine.predict(each)));
    const ofCanvas = Object.fromEntries(kinds[0].map((each) => [each.className, each.probability]));
    const ofPixels = await machine.predict(data);
    differences.pixels = Math.max(...ofPixels.map((each) => Math.abs(each.probability - ofCanvas[each.className])));

    const x = tf.randomUniform([8, 16, 16, 3], -1, 1, 'float32', 1) as tf.Tensor4D;
    const y = tf.tidy(() =>
      tf.cast(tf.oneHot(tf.tensor1d([0, 1, 0, 1, 0, 1, 0, 1], 'int32'), 2), 'float32'),
    ) as tf.Tensor2D;
    const set = { xs: x, ys: y };
    const options = { epochs: 1, learningRate: 1e-3 };
    await machine.fineTune({ classNames: ['red', 'blue'], train: set, val: set }, options);
    tf.dispose([x, y]);
    const before = await machine.predict(image);
    await machine.save('indexeddb://machine');
    machine.dispose();
    const again = await loadTeachableMachine('indexeddb://machine');
    const after = await again.predict(image);
    const { labels, imageSize } = again;
    again.dispose();
    return { differences, kinds: kinds.map((each) => JSON.stringify(each)), before, after, labels, imageSize };
  });
}

/** Names and texts of what a save puts into the user's downloads. */
async function download(url: string) {
  return counted(async () => {
    const links: HTMLAnchorElement[] = [];
    HTMLAnchorElement.prototype.click = function () {
      links.push(this);
    };
    HTMLAnchorElement.prototype.dispatchEvent = function () {
      links.push(this);
      return true;
    };
    URL.revokeObjectURL = () => {};
    const machine = await loadTeachableMachine(url);
    await machine.save('downloads://model');
    machine.dispose();
    const text = await (await fetch(links.find(({ download }) => download === 'metadata.json')!.href)).text();
    return { names: links.map(({ download }) => download), metadata: JSON.parse(text) };
  });
}

/** Addresses in the cache of downloads. */
async function inCache(): Promise<string[]> {
  const names = await caches.keys();
  const requests = await Promise.all(names.map(async (name) => (await caches.open(name)).keys()));
  return requests.flat().map(({ url }) => url);
}

/** Replaces the content of a file in the cache. */
async function damage(name: string, content: string): Promise<void> {
  const cache = await caches.open('tfjs-tune-mode');
  const found = (await cache.keys()).find(({ url }) => url.endsWith(`/${name}`))!;
  await cache.put(found, new Response(content));
}

Object.assign(globalThis, { load, teachable, download, inCache, damage });
