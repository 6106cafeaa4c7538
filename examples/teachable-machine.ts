/**
 * Improves a Teachable Machine export on a folder of pictures: all its layers are trained, not only the last ones. The
 * result is an export again: model.json, weights, metadata.json.
 *
 *   npx tsx examples/teachable-machine.ts <export> <pictures> <out> [epochs]
 *
 * `<export>` is the folder or the URL of an image model. `<pictures>` holds a folder for each class.
 */
import { loadPicture, loadPictureFolder, useBestBackend } from 'tfjs-tune-mode/node';
import { loadTeachableMachine } from 'tfjs-tune-mode/zoo';

const [source, folder, out, epochs = '5'] = process.argv.slice(2);
if (out === undefined || !(Number(epochs) >= 1)) {
  console.error('usage: teachable-machine.ts <export> <pictures> <out> [epochs]');
  process.exit(2);
}

console.log(await useBestBackend());
const machine = await loadTeachableMachine(source);
const { imageSize, labels } = machine;
console.log(`${labels.length} classes, pictures of ${imageSize} pixels, ${machine.report.pairs.length} ConvBN blocks`);

const pictures = await loadPictureFolder(folder, { imageSize: [imageSize, imageSize], batchSize: 16 });
// The same classes, in the same order: the model's own last layer is kept. Others: it gets a new one.
const keepHead = pictures.classNames.join() === labels.join();
const { history } = await machine.fineTune(pictures, { epochs: Number(epochs), keepHead });
for (const { epoch, valAccuracy } of history) console.log(`epoch ${epoch}: ${(100 * valAccuracy).toFixed(1)} %`);

const [first] = pictures.val.pictures;
const picture = await loadPicture(first.file, { imageSize: [imageSize, imageSize], inputRange: [0, 255] });
console.log(first.file, await machine.predict(picture, 1));
await machine.save(out);
await pictures.close();
