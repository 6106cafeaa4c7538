/**
 * Trains, from scratch and in Train mode, the small ConvBN model that `npm start` fine-tunes, and writes it to
 * `examples/assets/shapes-model`. Run it with `npx tsx scripts/train-shipped-model.ts`; it takes a few minutes.
 *
 * The net is MobileNet's plan in small: a conv, then depthwise separable blocks, BatchNorm and ReLU6 after each conv.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { train } from '@tensorflow/tfjs-core';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import { fileIO, loadPictureFolder, useBestBackend } from '../adapters/node';
import { drawPictures } from '../examples/draw-pictures';

const SIZE = 64;
const SHAPES = ['circle', 'cross', 'square', 'triangle'];

const { backend } = await useBestBackend();
console.error(`backend ${backend}`);
const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'shapes-'));
await drawPictures(folder, { shapes: SHAPES, count: 600, size: SIZE, seed: 1 });
const { train: pictures, val } = await loadPictureFolder(folder, {
  imageSize: SIZE,
  batchSize: 32,
  validationSplit: 0.1,
});

const model = sequential({ name: 'shapes' });
const seeded = (seed: number) => ({ className: 'HeNormal', config: { seed } }) as never;
let seed = 1;
const normed = (name: string) => {
  model.add(layers.batchNormalization({ name: `${name}_bn`, momentum: 0.9 }));
  model.add(layers.reLU({ name: `${name}_relu`, maxValue: 6 }));
};
model.add(
  layers.conv2d({
    name: 'conv1',
    inputShape: [SIZE, SIZE, 3],
    filters: 16,
    kernelSize: 3,
    strides: 2,
    padding: 'same',
    useBias: false,
    kernelInitializer: seeded(seed++),
  }),
);
normed('conv1');
for (const [i, [filters, strides]] of [
  [24, 1],
  [48, 2],
  [48, 1],
  [96, 2],
  [96, 1],
].entries()) {
  const name = `block${i + 1}`;
  model.add(
    layers.depthwiseConv2d({
      name: `${name}_dw`,
      kernelSize: 3,
      strides,
      padding: 'same',
      useBias: false,
      depthwiseInitializer: seeded(seed++),
    }),
  );
  normed(`${name}_dw`);
  model.add(
    layers.conv2d({ name: `${name}_pw`, filters, kernelSize: 1, useBias: false, kernelInitializer: seeded(seed++) }),
  );
  normed(`${name}_pw`);
}
model.add(layers.globalAveragePooling2d({ name: 'features' }));
model.add(
  layers.dense({ name: 'classes', units: SHAPES.length, activation: 'softmax', kernelInitializer: seeded(seed++) }),
);

for (const [rate, epochs] of [
  [3e-3, 9],
  [1e-3, 5],
  [2e-4, 3],
]) {
  model.compile({ optimizer: train.adam(rate), loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
  await model.fitDataset(pictures, {
    epochs,
    verbose: 0,
    validationData: val,
    callbacks: { onEpochEnd: async (epoch, logs) => console.error(rate, epoch, logs) },
  });
}
model.setUserDefinedMetadata({ classNames: SHAPES, inputRange: [-1, 1] });
await model.save(fileIO('examples/assets/shapes-model'));
await fs.rm(folder, { recursive: true });
