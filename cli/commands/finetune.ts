/** `tfjs-tune-mode finetune`: from a folder of pictures to a tuned, deployed, documented model. */
import type { Mode } from '../../src';
import { OPTIMIZER_NAMES, type OptimizerName } from '../../src/fine-tune/optimizer';
import { FINE_TUNE_DEFAULTS as DEFAULTS } from '../../src/fine-tune/options';
import { type Arguments, type Command, UsageError, type Values } from '../command';
import { COMPUTING_HELP, COMPUTING_OPTIONS, computingOf } from '../computing';
import { finetune } from '../finetune/finetune';
import { isWithin } from '../our-files';
import { imageSizeOf, numberOf, oneOf, rangeOf, wholeNumberOf } from '../values';

const MODES: readonly Mode[] = ['tune', 'eval', 'train'];

export interface FinetuneSettings {
  model: string;
  data: string;
  out: string;
  mode: Mode;
  epochs: number;
  batchSize: number;
  learningRate?: number;
  optimizer: OptimizerName;
  unfreeze?: string | number;
  validationSplit?: number;
  seed: number;
  backend?: string;
  threads?: number;
  imageSize?: [number, number];
  inputRange?: [number, number];
  augment: boolean;
  recompute: boolean;
  keepHead: boolean;
  resume: boolean;
  force: boolean;
  json: boolean;
  /** The command line, for a shell, as it began the run: without --resume and --force. */
  line: string;
}

export const finetuneCommand: Command = {
  name: 'finetune',
  summary: 'tune a pretrained model to your own folders of pictures; writes the model, its deployed form and a report',
  positionals: [],
  required: ['model', 'data', 'out'],
  options: {
    model: { type: 'string' },
    data: { type: 'string' },
    out: { type: 'string' },
    mode: { type: 'string' },
    epochs: { type: 'string' },
    'batch-size': { type: 'string' },
    'learning-rate': { type: 'string' },
    optimizer: { type: 'string' },
    unfreeze: { type: 'string' },
    'val-split': { type: 'string' },
    seed: { type: 'string' },
    ...COMPUTING_OPTIONS,
    'image-size': { type: 'string' },
    'input-range': { type: 'string' },
    'no-augment': { type: 'boolean' },
    recompute: { type: 'boolean' },
    'keep-head': { type: 'boolean' },
    resume: { type: 'boolean' },
    force: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  help: {
    model: 'a saved tfjs model, layers or graph: its folder, or its model.json',
    data: 'a folder with one folder of pictures (jpg, png) for each class, or train/ and val/ with those inside',
    out: 'a new folder for the result',
    mode: 'tune (default), eval or train: how BatchNorm behaves',
    epochs: `runs over all pictures, after the head (default ${DEFAULTS.epochs})`,
    'batch-size': `pictures in a step (default ${DEFAULTS.batchSize})`,
    'learning-rate': 'the highest one (default: found by a short test)',
    optimizer: `${OPTIMIZER_NAMES.join(', ')} (default ${DEFAULTS.optimizer})`,
    unfreeze: 'a layer from which on, or how many ConvBN blocks from the end, are trained (default: all)',
    'val-split': 'share of each class that is kept to validate (default 0.2); not with train/ and val/',
    seed: `fixes everything random (default ${DEFAULTS.seed})`,
    ...COMPUTING_HELP,
    threads: 'how many compute, on wasm (default 1); pays where cores are left beside the one that reads pictures',
    'image-size': "pixels, such as 224 or 224x192 (default: the model's)",
    'input-range': 'what black and white are for the model (default: its metadata, or -1,1)',
    'no-augment': 'train on the pictures as they are',
    recompute: 'compute cheap feature maps once more instead of keeping them: the same result in less memory',
    'keep-head': "keep the model's own last layers; its classes must be the folders",
    resume: 'go on with a run that was stopped',
    force: 'replace an older result, or an unfinished run',
    json: 'print one JSON object for each epoch',
  },
  run: (args, output) => finetune(readSettings(args), output),
};

/** @throws UsageError for a value that cannot be right. */
export function readSettings({ values, line }: Arguments): FinetuneSettings {
  const [model, data, out] = ['model', 'data', 'out'].map((name) => pathOf(values, name));
  const settings: FinetuneSettings = {
    model,
    data,
    out,
    mode: oneOf(values, 'mode', MODES) ?? DEFAULTS.mode,
    epochs: wholeNumberOf(values, 'epochs', 1) ?? DEFAULTS.epochs,
    batchSize: wholeNumberOf(values, 'batch-size', 1) ?? DEFAULTS.batchSize,
    learningRate: numberOf(values, 'learning-rate', 'a number above 0', (rate) => rate > 0),
    optimizer: oneOf(values, 'optimizer', OPTIMIZER_NAMES) ?? DEFAULTS.optimizer,
    unfreeze: unfreezeOf(values),
    validationSplit: numberOf(values, 'val-split', 'a share between 0 and 1', (share) => share > 0 && share < 1),
    seed: wholeNumberOf(values, 'seed', 0) ?? DEFAULTS.seed,
    ...computingOf(values),
    imageSize: imageSizeOf(values, 'image-size'),
    inputRange: rangeOf(values, 'input-range'),
    augment: values['no-augment'] !== true,
    recompute: values.recompute === true,
    keepHead: values['keep-head'] === true,
    resume: values.resume === true,
    force: values.force === true,
    json: values.json === true,
    line: `tfjs-tune-mode ${line}`.replace(/ --(resume|force)(?= |$)/g, ''),
  };
  if (settings.resume && settings.force) {
    throw new UsageError('--resume goes on with an unfinished run, --force begins anew; give one of them');
  }
  // A result among the classes would be a class itself in the next run; and replacing one must not take pictures along.
  if (isWithin(out, data)) {
    throw new UsageError(
      `--out '${out}' is inside --data '${data}', whose folders are classes; name a folder elsewhere`,
    );
  }
  if (isWithin(data, out)) {
    throw new UsageError(`--data '${data}' is inside --out '${out}', which will be replaced; name another --out`);
  }
  return settings;
}

function pathOf(values: Values, name: string): string {
  const value = values[name];
  if (typeof value !== 'string' || value.trim() === '')
    throw new UsageError(`--${name} must be a path; found '${value}'`);
  return value;
}

function unfreezeOf(values: Values): string | number | undefined {
  const value = values.unfreeze as string | undefined;
  if (value === '') throw new UsageError("--unfreeze must be a layer's name or a number of blocks");
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : value;
}
