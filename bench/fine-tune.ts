/**
 * `npm run bench:fine-tune -- --model <dir> --features <layer> --data <folder>`: the same fine-tuning in train, eval and
 * tune mode, from the same weights, on the same batches: loss of every epoch, accuracy, ms per step, peak memory.
 */
import { parseArgs } from 'node:util';
import { dispose, enableProdMode, type Scalar, type Tensor, train } from '@tensorflow/tfjs-core';
import {
  type LayersModel,
  layers,
  loadLayersModel,
  model as makeModel,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { fileIO, loadPictureFolder, useBestBackend } from '../adapters/node';
import { type Mode, setMode } from '../src';
import { table } from '../src/report';
import { median, peakBytes } from './measure';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    features: { type: 'string' },
    data: { type: 'string' },
    epochs: { type: 'string', default: '3' },
    batch: { type: 'string', default: '16' },
    rate: { type: 'string', default: '1e-4' },
    optimizer: { type: 'string', default: 'adam' },
    seed: { type: 'string', default: '0' },
    backend: { type: 'string' },
  },
});
const { model: modelPath, features, data } = values;
if (modelPath === undefined || features === undefined || data === undefined) {
  console.error(
    'usage: npm run bench:fine-tune -- --model <dir> --features <layer> --data <folder> [--epochs 3] [--batch 16] [--rate 1e-4] [--optimizer adam|sgd] [--seed 0]',
  );
  process.exit(2);
}
const seed = Number(values.seed);
const epochs = Number(values.epochs);
const rate = Number(values.rate);

/** Pretrained features with a new head that is the same for the same seed. */
async function freshModel(classes: number): Promise<LayersModel> {
  const pretrained = await loadLayersModel(fileIO(modelPath as string));
  const output = pretrained.getLayer(features as string).output as SymbolicTensor;
  const pooled = layers.globalAveragePooling2d({}).apply(output);
  const kernelInitializer = { className: 'GlorotUniform', config: { seed: seed + 1 } } as never;
  const head = layers.dense({ units: classes, activation: 'softmax', kernelInitializer });
  return makeModel({ inputs: pretrained.inputs, outputs: head.apply(pooled) as SymbolicTensor });
}

interface Run {
  losses: number[];
  accuracies: number[];
  ms: number;
  peak: number;
}

async function run(mode: Mode): Promise<Run> {
  const [, height, width] = (await freshModel(2)).inputs[0].shape as number[];
  const pictures = await loadPictureFolder(data as string, {
    imageSize: [height, width],
    batchSize: Number(values.batch),
    seed,
  });
  const model = await freshModel(pictures.classNames.length);
  setMode(model, mode);
  const optimizer = values.optimizer === 'sgd' ? train.momentum(rate, 0.9) : train.adam(rate);
  model.compile({ optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
  const times: number[] = [];
  const result: Run = { losses: [], accuracies: [], ms: 0, peak: 0 };
  for (let epoch = 0; epoch < epochs; epoch++) {
    let sum = 0;
    let steps = 0;
    for await (const { xs, ys } of pictures.train) {
      const start = performance.now();
      const [loss] = (await model.trainOnBatch(xs, ys)) as number[];
      times.push(performance.now() - start);
      sum += loss;
      steps++;
      // Weighed last, on a full batch: the profiled step trains too, and would otherwise change the curve.
      if (epoch === epochs - 1 && steps === pictures.train.size - 1) result.peak = await peakBytes(model, xs, ys);
      dispose([xs, ys]);
      process.stderr.write(`\r${mode}: epoch ${epoch + 1} of ${epochs}, step ${steps} of ${pictures.train.size} `);
    }
    const [, accuracy] = (await model.evaluateDataset(pictures.val as never, {})) as Scalar[];
    result.losses.push(sum / steps);
    result.accuracies.push((accuracy as Tensor).dataSync()[0]);
  }
  process.stderr.write('\r\x1b[K');
  result.ms = median(times);
  return result;
}

enableProdMode();
const { backend } = await useBestBackend(values.backend === undefined ? {} : { backend: values.backend });
const rows: string[][] = [];
for (const mode of ['train', 'eval', 'tune'] as const) {
  const { losses, accuracies, ms, peak } = await run(mode);
  rows.push([
    mode,
    losses.map((loss) => loss.toFixed(4)).join(' '),
    accuracies.map((accuracy) => (100 * accuracy).toFixed(1)).join(' '),
    ms.toFixed(0),
    (peak / 1e6).toFixed(1),
  ]);
}
console.log(
  `${modelPath}, ${data}, batch ${values.batch}, ${values.optimizer} ${rate}, seed ${seed}, backend ${backend}\n`,
);
console.log(
  table(['mode', 'training loss by epoch', 'validation accuracy % by epoch', 'ms per step', 'peak MB'], rows),
);
