/**
 * Fine-tunes a pretrained layers model on a folder of your own pictures, in Tune mode, and saves it twice: to go on
 * training with, and deployed.
 *
 *   npx tsx examples/fine-tune-folder.ts <model> <pictures> <out> <features> [epochs]
 *
 * `<features>` is the top-level layer to put the new head on, such as `conv_pw_13_relu` in MobileNet v1; the model takes
 * pictures. `<pictures>` holds `train/<class>/*.jpg` and `val/<class>/*.jpg`, or just `<class>/*.jpg`.
 */
import { train } from '@tensorflow/tfjs-core';
import { layers, loadLayersModel, model as makeModel, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { enableTuneMode, toDeploy } from 'tfjs-tune-mode';
import { fileIO, loadPictureFolder, useBestBackend } from 'tfjs-tune-mode/node';

const [modelPath, folder, out, featuresLayer, epochs = '4'] = process.argv.slice(2);
if (featuresLayer === undefined || !(Number(epochs) >= 1)) {
  console.error('usage: fine-tune-folder.ts <model> <pictures> <out> <features> [epochs]');
  process.exit(2);
}

console.log(await useBestBackend());
const pretrained = await loadLayersModel(fileIO(modelPath));
const [, height, width] = pretrained.inputs[0].shape as number[];
const pictures = await loadPictureFolder(folder, { imageSize: [height, width], batchSize: 16, inputRange: [-1, 1] });

// The pretrained features, and a new head for our own classes.
const features = pretrained.getLayer(featuresLayer).output as SymbolicTensor;
const pooled = layers.globalAveragePooling2d({ name: 'pooled' }).apply(features);
const head = layers.dense({ units: pictures.classNames.length, activation: 'softmax', name: 'head' });
const model = makeModel({ inputs: pretrained.inputs, outputs: head.apply(pooled) as SymbolicTensor });

const { pairs, skipped } = enableTuneMode(model);
console.log(`${pairs.length} ConvBN blocks in Tune mode, ${skipped.length} BatchNorms left in Eval mode`);
model.compile({ optimizer: train.adam(1e-4), loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
await model.fitDataset(pictures.train, {
  epochs: Number(epochs),
  verbose: 0,
  validationData: pictures.val,
  callbacks: { onEpochEnd: async (epoch, logs) => console.log(`epoch ${epoch + 1}`, logs) },
});
if (pictures.skipped.length > 0) console.log(`${pictures.skipped.length} pictures could not be read`);

await model.save(fileIO(`${out}/tuned`));
await toDeploy(model).save(fileIO(`${out}/deployed`));

// Both load again, here or in any tfjs program.
for (const which of ['tuned', 'deployed']) {
  const loaded = await loadLayersModel(fileIO(`${out}/${which}`));
  console.log(`${which}: ${loaded.countParams()} parameters`);
}
