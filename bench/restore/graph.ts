/**
 * `npm run bench:restore-graph -- --model <graph model> --data <folder>`: fineTune on a GraphModel as it was lifted (its BNs
 * folded, biases trained), and after restoreBatchNorm (Tune), from the same seed, at the same learning rates.
 */
import { enableProdMode } from '@tensorflow/tfjs-core';
import { restoreBatchNorm } from '../../adapters/graph-model/restore';
import { loadPictureFolder, useBestBackend } from '../../adapters/node';
import { loadModel } from '../../adapters/node/load-model';
import { fineTune } from '../../src/fine-tune';
import {
  CommandLineError,
  modelPaths,
  nameOf,
  progress,
  readOptions,
  runBench,
  wholeNumber,
  wholeNumbers,
} from '../command-line';

const USAGE = `npm run bench:restore-graph -- --model <folder of a graph model> --data <folder of pictures>
  --epochs 4
  --rates 1e-4,3e-4,1e-3         of Adam; 'test' lets fineTune find it
  --optimizer adam               or sgd
  --seeds 0,1,2`;

const percent = (values: number[]) =>
  `${((100 * values.reduce((a, b) => a + b, 0)) / values.length).toFixed(1)} (${values.map((each) => (100 * each).toFixed(1)).join(' ')})`;

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    model: { type: 'string', multiple: true },
    data: { type: 'string' },
    epochs: { type: 'string', default: '4' },
    rates: { type: 'string', default: '1e-4,3e-4,1e-3' },
    optimizer: { type: 'string', default: 'adam' },
    seeds: { type: 'string', default: '0,1,2' },
  });
  const [path] = modelPaths(options.model);
  if (options.data === undefined) throw new CommandLineError('--data is missing.');
  const epochs = wholeNumber('epochs', options.epochs);
  const seeds = wholeNumbers('seeds', options.seeds, 0);
  const rates = options.rates.split(',').map((rate) => (rate === 'test' ? undefined : Number(rate)));
  enableProdMode();
  console.error((await useBestBackend()).why);

  console.log(`${nameOf(path)}, ${epochs} epochs, ${options.optimizer}: validation accuracy in %, mean (each seed)\n`);
  console.log('| rate | model | best epoch | last epoch | ms a step |\n| --- | --- | --- | --- | --- |');
  for (const learningRate of rates) {
    for (const arm of ['folded', 'restored']) {
      const [best, last, ms]: [number[], number[], number[]] = [[], [], []];
      let found = learningRate;
      for (const seed of seeds) {
        progress(`${arm}, rate ${learningRate ?? 'found'}, seed ${seed}`);
        const { lifted, metadata } = await loadModel(path);
        if (lifted === null) throw new CommandLineError(`--model: '${path}' is no graph model.`);
        const { inputRange = [-1, 1] } = metadata;
        const [, height, width] = lifted.model.inputs[0].shape as number[];
        const pictures = await loadPictureFolder(options.data, {
          imageSize: [height, width],
          batchSize: 16,
          inputRange,
          seed,
          augment: true,
        });
        const { model } = arm === 'folded' ? lifted : await restoreBatchNorm(lifted, pictures.train);
        const { history, learningRate: used } = await fineTune(model, pictures, {
          epochs,
          seed,
          inputRange,
          learningRate,
          optimizer: options.optimizer as 'adam',
          patience: epochs,
        });
        found = used;
        best.push(Math.max(...history.map(({ valAccuracy }) => valAccuracy)));
        last.push(history.at(-1)?.valAccuracy ?? Number.NaN);
        ms.push(...history.slice(1).map(({ msPerStep }) => msPerStep ?? Number.NaN));
        await pictures.close();
      }
      const step = ms.sort((a, b) => a - b)[ms.length >> 1];
      const rate = learningRate ?? `${found?.toPrecision(2)}, found`;
      console.log(`| ${rate} | ${arm} | ${percent(best)} | ${percent(last)} | ${step.toFixed(0)} |`);
    }
  }
}

await runBench(USAGE, main);
