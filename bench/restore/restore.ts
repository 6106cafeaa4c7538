/**
 * `npm run bench:restore -- --model <dir> --data <folder>`: what restored BatchNormalizations are worth, for nets whose
 * true ones are known. Each net is deployed (its BNs folded away) and restored.
 *
 * Scales: how near each rule's s is to the true one. Sweep: validation accuracy after some epochs of training the whole
 * net, against the learning rate, with its true BNs (Tune), with restored ones (Tune), and folded (Deploy, trained by
 * tfjs's own layers). All arms have the same outputs before the first step, and see the same batches.
 */
import fs from 'node:fs';
import { enableProdMode, gather, sum, tensor1d, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { median } from '../../adapters/graph-model/restore/algebra';
import { restoreLayers } from '../../adapters/graph-model/restore/restore-layers';
import { DEFAULT_RULE, SCALE_RULES, type ScaleRule } from '../../adapters/graph-model/restore/rules';
import { loadPictureFolder, useBestBackend } from '../../adapters/node';
import { loadModel } from '../../adapters/node/load-model';
import { setMode, toDeploy } from '../../src';
import { withInputShape } from '../../src/fine-tune/input-size';
import {
  CommandLineError,
  modelPaths,
  nameOf,
  oneOf,
  progress,
  readOptions,
  runBench,
  wholeNumber,
  wholeNumbers,
} from '../command-line';
import { compareScales, type LayerScales } from './scales';
import {
  type Arm,
  accuracyOf,
  BATCH,
  inMemory,
  makeArm,
  OPTIMIZERS,
  type Pictures,
  type SweepOptimizer,
  trainOnce,
} from './sweep';

const RATES = '3e-5,1e-4,3e-4,1e-3,3e-3,1e-2';
const USAGE = `npm run bench:restore -- --model <folder or model.json> [--model …] --data <folder of pictures>
  --arms true,${DEFAULT_RULE},folded   rules (${SCALE_RULES.join(', ')}), true, folded
  --size 96                      of the pictures
  --epochs 3
  --sgd 3e-5,1e-4,3e-4,1e-3,3e-3,1e-2    learning rates of SGD with momentum 0.9; '' for none
  --adam 3e-5,1e-4,3e-4,1e-3,3e-3,1e-2   of Adam
  --seeds 0,1,2
  --calibration 64               pictures for the statistics; the training set's
  --scales                       only how near s is to the true one, no training
  --out <file>                   JSON; the chart is drawn from it:
node scripts/draw-restore.mjs <file>… > docs/restore.svg`;

/** One rate, one arm. */
export interface SweepPoint {
  arm: string;
  optimizer: SweepOptimizer;
  rate: number;
  /** Of each seed; null where the loss became NaN. */
  accuracies: (number | null)[];
  /** Mean training loss of the last epoch, likewise. */
  losses: (number | null)[];
}

export interface RestoreBench {
  model: string;
  size: number;
  epochs: number;
  seeds: number[];
  /** Accuracy of the head alone, before the first step. */
  head: number;
  /** Accuracy of always naming the larger class. */
  chance: number;
  scales: Record<string, LayerScales[]>;
  points: SweepPoint[];
}

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    model: { type: 'string', multiple: true },
    data: { type: 'string' },
    arms: { type: 'string', default: `true,${DEFAULT_RULE},folded` },
    size: { type: 'string', default: '96' },
    epochs: { type: 'string', default: '3' },
    sgd: { type: 'string', default: RATES },
    adam: { type: 'string', default: RATES },
    seeds: { type: 'string', default: '0,1,2' },
    calibration: { type: 'string', default: '64' },
    scales: { type: 'boolean', default: false },
    out: { type: 'string' },
  });
  const paths = modelPaths(options.model);
  if (options.data === undefined) throw new CommandLineError('--data is missing.');
  const arms = options.arms.split(',').map((arm) => oneOf('arms', arm, ['true', 'folded', ...SCALE_RULES]));
  const rates: Record<SweepOptimizer, number[]> = {
    sgd: ratesOf('sgd', options.sgd),
    adam: ratesOf('adam', options.adam),
  };
  const size = wholeNumber('size', options.size, 32);
  const epochs = wholeNumber('epochs', options.epochs);
  const seeds = wholeNumbers('seeds', options.seeds, 0);
  const calibration = wholeNumber('calibration', options.calibration);
  enableProdMode();
  console.error((await useBestBackend()).why);
  const results: RestoreBench[] = [];
  for (const path of paths) {
    const { model: loaded } = await loadModel(path);
    const channels = loaded.inputs[0].shape[3] as number;
    const net = await withInputShape(loaded, [size, size, channels]);
    const folder = await loadPictureFolder(options.data, { imageSize: [size, size], batchSize: BATCH, seed: 0 });
    const pictures = await inMemory(folder, channels);
    const seen = someOf(pictures, calibration);
    const scales: RestoreBench['scales'] = {};
    for (const rule of SCALE_RULES) scales[rule] = await compareScales(net, seen, rule);
    scales[`${DEFAULT_RULE}, without pictures`] = await compareScales(net, undefined, DEFAULT_RULE);
    const name = nameOf(path);
    console.log(
      `${name}, pictures of ${size} × ${size}, ${calibration} of them for the statistics\n\n${scalesTable(scales)}\n`,
    );

    if (options.scales) continue;
    const deployed = toDeploy(net);
    const made: Arm[] = [];
    for (const arm of arms) made.push(await makeArm(arm, await netOf(arm, net, deployed, seen), pictures));
    seen.dispose();
    for (const { name: arm, model } of made) if (arm !== 'folded') setMode(model, 'tune');
    const result: RestoreBench = {
      model: name,
      size,
      epochs,
      seeds,
      head: await accuracyOf(made[0].model, pictures),
      chance: chanceOf(pictures),
      scales,
      points: [],
    };
    for (const optimizer of Object.keys(OPTIMIZERS) as SweepOptimizer[]) {
      for (const rate of rates[optimizer]) {
        for (const arm of made) {
          const point: SweepPoint = { arm: arm.name, optimizer, rate, accuracies: [], losses: [] };
          for (const seed of seeds) {
            progress(`${name}: ${arm.name}, ${OPTIMIZERS[optimizer]}, rate ${rate}, seed ${seed}`);
            const { accuracy, loss } = await trainOnce(arm, pictures, { optimizer, rate, seed, epochs });
            point.accuracies.push(finite(accuracy));
            point.losses.push(finite(loss));
          }
          result.points.push(point);
        }
      }
    }
    progress('');
    console.log(`${sweepTable(result, arms)}\n`);
    results.push(result);
    if (options.out !== undefined) fs.writeFileSync(options.out, JSON.stringify(results));
  }
}

function ratesOf(option: string, text: string): number[] {
  const rates = text === '' ? [] : text.split(',').map(Number);
  if (rates.every((rate) => rate > 0)) return rates;
  throw new CommandLineError(`--${option} must be numbers above 0; found '${text}'.`);
}

const finite = (value: number) => (Number.isFinite(value) ? value : null);

/** Pictures spread evenly over the training set, which comes class by class. */
function someOf({ train }: Pictures, count: number) {
  const [all] = train.xs.shape;
  const rows = tensor1d(
    Array.from({ length: Math.min(count, all) }, (_, i) => Math.floor((i * all) / Math.min(count, all))),
    'int32',
  );
  const chosen = gather(train.xs, rows);
  rows.dispose();
  return chosen;
}

/** A net of its own for each arm: training changes it. */
async function netOf(arm: string, net: LayersModel, deployed: LayersModel, seen: ReturnType<typeof someOf>) {
  if (arm === 'true') return net;
  if (arm === 'folded') return toDeploy(net);
  return (await restoreLayers(deployed, seen, { rule: arm as ScaleRule })).model;
}

function chanceOf({ val }: Pictures): number {
  const totals = tidy(() => sum(val.ys, 0).dataSync());
  return Math.max(...totals) / val.ys.shape[0];
}

const markdown = (rows: string[][]) =>
  [rows[0], rows[0].map(() => '---'), ...rows.slice(1)].map((row) => `| ${row.join(' | ')} |`).join('\n');

function scalesTable(scales: RestoreBench['scales']): string {
  const rows = [
    ['rule', 'correlation of log s: median, lowest', 'layers ≥ 0.8', 'of s: median', 's / true s: conv', 'depthwise'],
  ];
  for (const [rule, layers] of Object.entries(scales)) {
    const known = (key: 'ofLogs' | 'ofScales') => layers.map((layer) => layer[key]).filter((value) => value !== null);
    const logs = known('ofLogs');
    const ratio = (depthwise: boolean) => {
      const of = layers.filter(({ kind }) => (kind === 'DepthwiseConv2D') === depthwise);
      return of.length === 0 ? '–' : median(of.map(({ scale, trueScale }) => scale / trueScale)).toFixed(2);
    };
    const text = (values: number[], what: (values: number[]) => number) =>
      values.length === 0 ? '–' : what(values).toFixed(2);
    rows.push([
      rule,
      logs.length === 0 ? '–' : `${text(logs, median)}, ${text(logs, (values) => Math.min(...values))}`,
      `${logs.filter((value) => value >= 0.8).length} of ${layers.length}`,
      text(known('ofScales'), median),
      ratio(false),
      ratio(true),
    ]);
  }
  return markdown(rows);
}

function sweepTable({ points, seeds, epochs, head, chance }: RestoreBench, arms: readonly string[]): string {
  const percent = (value: number) => (100 * value).toFixed(1);
  const cell = (accuracies: (number | null)[]) => {
    const all = accuracies.map((value) => value ?? 0);
    const learned = all.filter((value) => value > chance).length;
    if (learned === 0) return 'chance';
    // A run whose loss became NaN counts as chance.
    const mean = all.reduce((sum, value) => sum + Math.max(value, 1 - chance), 0) / all.length;
    const note = learned < all.length ? `, ${all.length - learned} at chance` : '';
    return `${percent(mean)} (${all.map((value) => (value === 0 ? 'NaN' : percent(value))).join(' ')}${note})`;
  };
  const keys = [...new Set(points.map(({ optimizer, rate }) => `${optimizer} ${rate}`))];
  const rows = keys.map((key) => {
    const of = points.filter(({ optimizer, rate }) => `${optimizer} ${rate}` === key);
    return [
      OPTIMIZERS[of[0].optimizer],
      String(of[0].rate),
      ...arms.map((arm) => cell((of.find((point) => point.arm === arm) as SweepPoint).accuracies)),
    ];
  });
  return (
    `Validation accuracy in % after ${epochs} epochs, mean and seeds ${seeds.join(', ')}; ` +
    `the head alone has ${percent(head)}, chance is ${percent(chance)}\n\n${markdown([['optimizer', 'rate', ...arms], ...rows])}`
  );
}

await runBench(USAGE, main);
