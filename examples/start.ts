/**
 * `npm start`: what Tune mode saves, on what the package ships.
 *
 * A small ConvBN net, pretrained on circles, crosses, squares and triangles, is fine-tuned on shapes that it has never
 * seen: in Eval mode and in Tune mode, from the same weights, on the same batches.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { enableProdMode, memory, profile, train } from '@tensorflow/tfjs-core';
import {
  type LayersModel,
  layers,
  loadLayersModel,
  model as makeModel,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { type Mode, setMode, toDeploy } from 'tfjs-tune-mode';
import { fileIO, loadPictureFolder, type PictureDataset, useBestBackend } from 'tfjs-tune-mode/node';
import { drawPictures } from './draw-pictures';

const SHIPPED = path.join(import.meta.dirname, 'assets', 'shapes-model');
const CLASSES = ['hexagon', 'moon', 'ring', 'star'];
const EPOCHS = 6;

interface Result {
  accuracy: number;
  msPerStep: number;
  peakBytes: number;
  model: LayersModel;
}

async function main(out: string): Promise<void> {
  enableProdMode();
  const { backend, why } = await useBestBackend();
  console.log(`backend ${backend}. ${why}`);

  const pictures = path.join(out, 'pictures');
  await fs.rm(pictures, { recursive: true, force: true });
  await drawPictures(pictures, { shapes: CLASSES, count: 120, size: 64, seed: 7 });
  const results: Partial<Record<Mode, Result>> = {};
  for (const mode of ['eval', 'tune'] as const) {
    // The same seed for both: the same split and the same order of batches.
    const { train, val } = await loadPictureFolder(pictures, { imageSize: 64, batchSize: 16, seed: 1 });
    results[mode] = await fineTune(mode, await pretrainedWithNewHead(), train, val);
  }
  const { eval: evaluated, tune } = results as Record<'eval' | 'tune', Result>;

  const row = (name: string, accuracy: string, ms: string, memory: string) =>
    console.log(name.padEnd(14) + accuracy.padStart(10) + ms.padStart(14) + memory.padStart(14));
  const line = (name: string, { accuracy, msPerStep, peakBytes }: Result) =>
    row(name, `${(100 * accuracy).toFixed(1)} %`, msPerStep.toFixed(1), `${(peakBytes / 1e6).toFixed(1)} MB`);
  console.log();
  row('mode', 'accuracy', 'ms per step', 'peak memory');
  line('eval', evaluated);
  line('tune', tune);
  row(
    'tune / eval',
    '',
    (tune.msPerStep / evaluated.msPerStep).toFixed(2),
    (tune.peakBytes / evaluated.peakBytes).toFixed(2),
  );

  await tune.model.save(fileIO(path.join(out, 'tuned')));
  await toDeploy(tune.model).save(fileIO(path.join(out, 'deployed')));
  console.log(`\nsaved: ${path.join(out, 'tuned')} (to train on with) and ${path.join(out, 'deployed')} (folded)`);
}

async function pretrainedWithNewHead(): Promise<LayersModel> {
  const pretrained = await loadLayersModel(fileIO(SHIPPED));
  const features = pretrained.getLayer('features').output as SymbolicTensor;
  const head = layers.dense({
    name: 'new_classes',
    units: CLASSES.length,
    activation: 'softmax',
    kernelInitializer: { className: 'GlorotUniform', config: { seed: 1 } } as never,
  });
  return makeModel({ inputs: pretrained.inputs, outputs: head.apply(features) as SymbolicTensor });
}

async function fineTune(
  mode: Mode,
  model: LayersModel,
  pictures: PictureDataset,
  val: PictureDataset,
): Promise<Result> {
  const { pairs } = setMode(model, mode);
  model.compile({ optimizer: train.adam(3e-4), loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
  const times: number[] = [];
  let peakBytes = 0;
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    for await (const { xs, ys } of pictures) {
      const step = () => model.trainOnBatch(xs, ys);
      if (peakBytes === 0) {
        // The first step is weighed, the others are timed.
        const before = memory().numBytes;
        const { peakBytes: peak } = await profile(async () => {
          await step();
          return {};
        });
        peakBytes = peak - before;
      } else {
        const start = performance.now();
        await step();
        times.push(performance.now() - start);
      }
      xs.dispose();
      ys.dispose();
    }
    progress(`${mode}: epoch ${epoch + 1} of ${EPOCHS}, ${pairs.length} ConvBN blocks`);
  }
  progress('');
  const [, accuracy] = (await model.evaluateDataset(val as never, {})) as { dataSync(): ArrayLike<number> }[];
  times.sort((a, b) => a - b);
  return { accuracy: accuracy.dataSync()[0], msPerStep: times[times.length >> 1], peakBytes, model };
}

/** One line that is written over, on a terminal; nothing in a pipe. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

await main(process.argv[2] ?? 'out');
