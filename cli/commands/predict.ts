/** `tfjs-tune-mode predict`: what a tuned or deployed model sees in pictures. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { dispose, enableProdMode, stack, type Tensor } from '@tensorflow/tfjs-core';
import { loadPicture, useBestBackend } from '../../adapters/node';
import { type LoadedModel, loadModel } from '../../adapters/node/load-model';
import { TuneModeError } from '../../src';
import { checkProbabilities } from '../../src/fine-tune/evaluate';
import type { Command, Output } from '../command';
import { COMPUTING_HELP, COMPUTING_OPTIONS, computingOf } from '../computing';
import { type PictureForm, pictureFormOf } from '../picture-form';
import { ProgressLine } from '../progress';
import { imageSizeOf, rangeOf, wholeNumberOf } from '../values';

/** Pictures in memory at a time. */
const BATCH = 16;

export const predictCommand: Command = {
  name: 'predict',
  summary: 'name the class of pictures, with its probability',
  positionals: ['pictures…'],
  required: ['model'],
  options: {
    model: { type: 'string' },
    top: { type: 'string' },
    ...COMPUTING_OPTIONS,
    'image-size': { type: 'string' },
    'input-range': { type: 'string' },
    json: { type: 'boolean' },
  },
  help: {
    model: "finetune's --out (its deployed model is used), or the folder of any model",
    top: 'classes to name for each picture (default 1)',
    ...COMPUTING_HELP,
    'image-size': "pixels, such as 224 or 224x192 (default: the model's)",
    'input-range': 'what black and white are for the model (default: its metadata, or -1,1)',
    json: 'print one JSON object for each picture, with the probability of every class',
  },
  async run({ positionals, values }, output) {
    const top = wholeNumberOf(values, 'top', 1) ?? 1;
    const size = imageSizeOf(values, 'image-size');
    const range = rangeOf(values, 'input-range');
    const computing = computingOf(values);
    const files = await picturesOf(positionals);
    enableProdMode();
    await useBestBackend(computing);
    const loaded = await loadModel(await modelIn(values.model as string));
    const form = pictureFormOf(loaded, { imageSize: size, inputRange: range });
    const labels = labelsOf(loaded);
    const longest = files.reduce((most, { length }) => Math.max(most, length), 0);
    const unreadable = await predictAll(loaded, files, form, output, (file, probabilities) => {
      checkProbabilities(probabilities, loaded.model.name);
      const order = labels.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
      if (values.json === true) {
        const all = Object.fromEntries(labels.map((label, index) => [label, probabilities[index]]));
        const [best] = order;
        output.out(JSON.stringify({ file, class: labels[best], probability: probabilities[best], probabilities: all }));
        return;
      }
      const named = order
        .slice(0, top)
        .map((index) => `${labels[index]}  ${(100 * probabilities[index]).toFixed(1)} %`);
      output.out(`${file.padEnd(longest)}  ${named.join('   ')}`);
    });
    loaded.model.dispose();
    return unreadable > 0 ? 1 : undefined;
  },
};

async function predictAll(
  { model }: LoadedModel,
  files: string[],
  form: PictureForm,
  output: Output,
  show: (file: string, probabilities: Float32Array) => void,
): Promise<number> {
  const progress = new ProgressLine(output);
  let unreadable = 0;
  for (let at = 0; at < files.length; at += BATCH) {
    const read: { file: string; picture: Tensor }[] = [];
    for (const file of files.slice(at, at + BATCH)) {
      try {
        read.push({ file, picture: await loadPicture(file, form) });
      } catch (error) {
        if (!(error instanceof TuneModeError)) throw error;
        unreadable++;
        progress.note(`error: ${error.message}`);
      }
      progress.show('predicting', (at + read.length) / files.length, `${at + read.length}/${files.length}`);
    }
    if (read.length === 0) continue;
    const pictures = read.map(({ picture }) => picture);
    const xs = stack(pictures);
    const predicted = model.predictOnBatch(xs) as Tensor;
    const probabilities = (await predicted.data()) as Float32Array;
    dispose([...pictures, xs, predicted]);
    progress.clear();
    const classes = probabilities.length / read.length;
    read.forEach(({ file }, row) => {
      show(file, probabilities.subarray(row * classes, (row + 1) * classes));
    });
  }
  progress.clear();
  return unreadable;
}

/** A result of `finetune` has two models; the deployed one is faster and says the same. */
async function modelIn(place: string): Promise<string> {
  const deployed = path.join(place, 'deploy');
  const isThere = (file: string) =>
    fs.access(path.join(file, 'model.json')).then(
      () => true,
      () => false,
    );
  return !(await isThere(place)) && (await isThere(deployed)) ? deployed : place;
}

/** @throws TuneModeError `unsupported` for a model that does not give one number for each class. */
function labelsOf({ model, metadata: { labels } }: LoadedModel): string[] {
  const { shape } = model.outputs[0];
  const classes = shape[1];
  if (
    model.inputs.length !== 1 ||
    model.outputs.length !== 1 ||
    shape.length !== 2 ||
    classes === null ||
    classes < 2
  ) {
    throw new TuneModeError(
      'unsupported',
      `The model '${model.name}' is no classifier of pictures: expected one input and one output [batch, 2 classes or more]; ` +
        `found outputs ${JSON.stringify(model.outputs.map((output) => output.shape))}.`,
    );
  }
  if (labels !== undefined && labels.length !== classes) {
    throw new TuneModeError(
      'invalid-model-file',
      `The metadata name ${labels.length} labels, but the model '${model.name}' has ${classes} outputs.`,
    );
  }
  return labels ?? Array.from({ length: classes }, (_, index) => `class ${index}`);
}

/** A folder stands for the pictures in it. */
async function picturesOf(given: string[]): Promise<string[]> {
  const files: string[] = [];
  for (const place of given) {
    const stats = await fs.stat(place).catch(() => undefined); // a missing file is named when it is read
    if (!stats?.isDirectory()) {
      files.push(place);
      continue;
    }
    const names = (await fs.readdir(place))
      .filter((name) => /\.(jpe?g|png)$/i.test(name) && !name.startsWith('.'))
      .sort();
    if (names.length === 0) {
      throw new TuneModeError('not-found', `There are no pictures (jpg, png) in the folder '${place}'.`);
    }
    files.push(...names.map((name) => path.join(place, name)));
  }
  return files;
}
