/**
 * `npm run bench:recipes -- --data <folder> <model folder>…`: what the finetune command's defaults are worth, beside
 * (a) a head alone on frozen features, as Teachable Machine trains it, and
 * (b) plain tfjs `fitDataset` on all layers in Train mode, with the same pictures, batch size, epochs and learning rate.
 *
 * Every run is a process of its own, so that its memory is its own. Accuracy is that of the best epoch, for all three.
 * (b) needs this package's wasm kernels too: without them tfjs cannot train a conv net there at all.
 */
import { execFile } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { enableProdMode, train } from '@tensorflow/tfjs-core';
import { loadPictureFolder, useBestBackend } from '../adapters/node';
import { loadModel } from '../adapters/node/load-model';
import { fineTune } from '../src/fine-tune';
import { evaluate } from '../src/fine-tune/evaluate';
import { withNewHead } from '../src/fine-tune/head';
import { FINE_TUNE_DEFAULTS } from '../src/fine-tune/options';
import { weigh } from '../src/fine-tune/steps';
import { computeFeatures, trainHead } from '../src/fine-tune/train-head';
import { table } from '../src/report';

const exec = promisify(execFile);
const root = path.resolve(import.meta.dirname, '..');
const { dropout, labelSmoothing, batchSize } = FINE_TUNE_DEFAULTS;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    seeds: { type: 'string', default: '0,1,2' },
    epochs: { type: 'string', default: '10' },
    arms: { type: 'string', default: 'head,fit,tune' },
    rate: { type: 'string' },
    child: { type: 'string' },
  },
});
if (values.data === undefined || positionals.length === 0) {
  console.error('usage: npm run bench:recipes -- --data <folder> [--seeds 0,1,2] [--epochs 10] <model folder>…');
  process.exit(2);
}
const data = values.data;
const epochs = Number(values.epochs);

interface Outcome {
  /** Of the best epoch. */
  accuracy: number;
  /** Of the last one. */
  last: number;
  seconds: number;
  msPerStep?: number;
  peakBytes?: number;
  rssBytes: number;
  learningRate?: number;
  best?: number;
}

/** One run in this process. */
async function child(arm: string, model: string, seed: number): Promise<Omit<Outcome, 'rssBytes'>> {
  enableProdMode();
  await useBestBackend();
  const loaded = (await loadModel(model)).model;
  const [, height, width] = loaded.inputs[0].shape as number[];
  const pictures = await loadPictureFolder(data, { imageSize: [height, width], batchSize, seed });
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  if (arm === 'tune') {
    const result = await fineTune(loaded, pictures, { seed, epochs });
    const { history, bestEpoch, learningRate, peakBytes } = result;
    const [accuracy, last] = [history[bestEpoch], history.at(-1) ?? history[0]].map((record) => record.valAccuracy);
    const msPerStep = history.at(-1)?.msPerStep ?? undefined;
    return {
      accuracy,
      last,
      seconds: seconds(),
      learningRate,
      peakBytes: peakBytes ?? undefined,
      best: bestEpoch,
      msPerStep,
    };
  }
  const { model: net, features, dense } = withNewHead(loaded, pictures.classNames.length, dropout);
  if (arm === 'head') {
    const found = await computeFeatures(features, pictures.train);
    await trainHead(dense, found, { dropout, labelSmoothing, seed });
    const { accuracy } = await evaluate(net, pictures.val);
    return { accuracy, last: accuracy, seconds: seconds() };
  }
  net.compile({ optimizer: train.adam(Number(values.rate)), loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
  const accuracies: number[] = [];
  const times: number[] = [];
  let began = 0;
  await net.fitDataset(pictures.train as never, {
    epochs,
    verbose: 0,
    validationData: pictures.val as never,
    callbacks: {
      onBatchBegin: async () => {
        began = performance.now();
      },
      onBatchEnd: async () => {
        times.push(performance.now() - began);
      },
      onEpochEnd: async (_, logs) => {
        accuracies.push(logs?.val_acc ?? Number.NaN);
      },
    },
  });
  const spent = seconds();
  // Weighed afterwards: the weighing itself takes time.
  let peakBytes = Number.NaN;
  for await (const { xs, ys } of pictures.val.batches({ epoch: 0, shuffle: false, augment: false })) {
    ({ peakBytes } = await weigh(() => net.trainOnBatch(xs, ys)));
    break;
  }
  const accuracy = Math.max(...accuracies);
  const msPerStep = times.sort((a, b) => a - b)[times.length >> 1];
  return {
    accuracy,
    last: accuracies.at(-1) as number,
    seconds: spent,
    peakBytes,
    best: accuracies.indexOf(accuracy) + 1,
    msPerStep,
  };
}

async function run(arm: string, model: string, seed: number, rate?: number): Promise<Outcome> {
  const tsx = path.join(root, 'node_modules', 'tsx', 'dist', 'cli.mjs');
  const argv = [tsx, import.meta.filename, '--child', arm, '--data', data, '--seeds', String(seed)];
  if (rate !== undefined) argv.push('--rate', String(rate));
  const { stdout } = await exec(process.execPath, [...argv, '--epochs', String(epochs), model], { maxBuffer: 1e8 });
  return JSON.parse(stdout.trim().split('\n').at(-1) as string);
}

if (values.child !== undefined) {
  const outcome = await child(values.child, positionals[0], Number(values.seeds));
  console.log(JSON.stringify({ ...outcome, rssBytes: process.resourceUsage().maxRSS * 1024 }));
  process.exit(0);
}

const NAMES: Record<string, string> = {
  head: 'head alone, on frozen features',
  fit: 'plain tfjs fit, Train mode',
  tune: 'finetune, defaults',
};
const mean = (numbers: (number | undefined)[]) =>
  numbers.reduce((sum: number, n) => sum + (n ?? Number.NaN), 0) / numbers.length;
const rows: string[][] = [];
for (const model of positionals) {
  const outcomes: Record<string, Outcome[]> = { head: [], fit: [], tune: [] };
  for (const seed of values.seeds.split(',').map(Number)) {
    // First ours: it finds the learning rate, which the plain run is then given.
    const order = ['tune', 'head', 'fit'].filter((arm) => values.arms.split(',').includes(arm));
    for (const arm of order) {
      const outcome = await run(arm, model, seed, outcomes.tune.at(-1)?.learningRate ?? 1e-4);
      outcomes[arm].push(outcome);
      console.error(`${path.basename(model)} seed ${seed} ${arm}: ${JSON.stringify(outcome)}`);
    }
  }
  for (const [arm, list] of Object.entries(outcomes)) {
    if (list.length === 0) continue;
    const accuracies = list.map(({ accuracy }) => 100 * accuracy);
    const has = list[0].peakBytes !== undefined;
    rows.push([
      path.basename(model),
      NAMES[arm],
      accuracies.map((accuracy) => accuracy.toFixed(1)).join(', '),
      mean(accuracies).toFixed(1),
      (100 * mean(list.map(({ last }) => last))).toFixed(1),
      mean(list.map(({ seconds }) => seconds)).toFixed(0),
      list[0].msPerStep === undefined ? '' : mean(list.map(({ msPerStep }) => msPerStep)).toFixed(0),
      has ? (mean(list.map(({ peakBytes }) => peakBytes)) / 1e6).toFixed(0) : '',
      (mean(list.map(({ rssBytes }) => rssBytes)) / 1e6).toFixed(0),
    ]);
  }
}
const head = [
  'model',
  'recipe',
  `accuracy %, seeds ${values.seeds}`,
  'mean',
  'last epoch',
  'seconds',
  'ms/step',
  'peak MB',
  'RSS MB',
];
console.log(`${data}, batch ${batchSize}, ${epochs} epochs, ${os.cpus()[0]?.model}, Node ${process.version}\n`);
console.log(table(head, rows));
