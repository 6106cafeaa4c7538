/**
 * Fine-tunes the zoo's MobileNet on a folder of your own pictures, and hands it back to `@tensorflow-models/mobilenet`,
 * whose graph nobody could train.
 *
 *   npx tsx examples/zoo-mobilenet.ts <pictures> <out> [model] [epochs]
 *
 * `<pictures>` holds a folder for each class. `[model]` is a copy of the MobileNet v1 0.25 graph (a folder or URL), where
 * the package's own place cannot be reached.
 */
import { io } from '@tensorflow/tfjs-core';
import { load } from '@tensorflow-models/mobilenet';
import { fileIO, loadPicture, loadPictureFolder, useBestBackend } from 'tfjs-tune-mode/node';
import { loadMobileNet } from 'tfjs-tune-mode/zoo';

const [folder, out, modelUrl, epochs = '5'] = process.argv.slice(2);
if (out === undefined || !(Number(epochs) >= 1)) {
  console.error('usage: zoo-mobilenet.ts <pictures> <out> [model] [epochs]');
  process.exit(2);
}

console.log(await useBestBackend());
const inputRange: [number, number] = [0, 1];
const pictures = await loadPictureFolder(folder, { imageSize: [224, 224], inputRange, batchSize: 16 });

// As in the package; the BatchNorms that its graph has lost get the statistics of the training pictures.
const net = await loadMobileNet({ version: 1, alpha: 0.25, modelUrl, inputRange, calibration: pictures.train });
console.log(`${net.report.pairs.length} ConvBN blocks in Tune mode`);
const { history } = await net.fineTune(pictures, { epochs: Number(epochs) });
for (const { epoch, valAccuracy } of history) console.log(`epoch ${epoch}: ${(100 * valAccuracy).toFixed(1)} %`);

const [first] = pictures.val.pictures;
const picture = await loadPicture(first.file, { imageSize: [224, 224], inputRange: [0, 255] });
console.log(first.file, await net.classify(picture, 1));

// For training on, and as the graph that it was.
await net.save(`${out}/tuned`);
const artifacts = await net.toGraphModel();
await fileIO(`${out}/graph`).save(artifacts);

// The package itself, untouched, with what the net sees now.
const real = await load({ version: 1, alpha: 0.25, modelUrl: io.fromMemory(artifacts), inputRange });
console.log('tuned embedding of the package:', real.infer(picture, true).shape);
await pictures.close();
