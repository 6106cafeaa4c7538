import type { io } from '@tensorflow/tfjs-core';
import { checkOptionNames, TuneModeError } from '../errors';
import type { Mode } from '../modes';
import type { EpochRecord } from './history';
import { OPTIMIZER_NAMES, type OptimizerName } from './optimizer';

/** How far a run is; `phase` in the order in which they come. */
export interface Progress {
  phase: 'features' | 'head' | 'learning-rate' | 'train' | 'validate';
  /** From 1; 0 before the first epoch. */
  epoch: number;
  epochs: number;
  /** Batches (in `head`: epochs of the head) done, and of how many. */
  step: number;
  steps: number;
  /** Means of the epoch so far, in `train`. */
  loss?: number;
  accuracy?: number;
  picturesPerSecond?: number;
  /** Until the last epoch's end, in `train` and `validate`, estimated from the epochs so far. */
  secondsLeft?: number;
}

export interface FineTuneOptions {
  /** Default 'tune'. 'eval' gives the same at several times the cost; 'train' is plain tfjs, for comparison. */
  mode?: Mode;
  /** Epochs over the whole net, after the head. Default 10. */
  epochs?: number;
  /** Pictures in a batch, where the data are tensors; other data sets come in batches already. Default 16. */
  batchSize?: number;
  /** Highest rate of the schedule. Default: found by a short range test. */
  learningRate?: number;
  /** Default 'adam'. */
  optimizer?: OptimizerName;
  /** A layer's name (it and all after it train) or a number of ConvBN blocks from the end. Default: everything trains. */
  unfreeze?: string | number;
  /** In Tune mode, compute cheap feature maps once more instead of keeping them: less memory, more time. Default false. */
  recompute?: boolean;
  /** Keep the model's own head instead of a new one. Default false. */
  keepHead?: boolean;
  /** Share of the features that each step leaves out, before the new head. Default 0.2. */
  dropout?: number;
  /** Share of each label that is spread evenly over all classes. Default 0.1. */
  labelSmoothing?: number;
  /** Change the training pictures at random. Default true. */
  augment?: boolean;
  /** What black and white are, where the data are tensors. Default [-1, 1]. */
  inputRange?: readonly [black: number, white: number];
  /** Stop after so many epochs without a better one. Default 8: with the cosine schedule the gains come late. */
  patience?: number;
  /** Fixes everything random. Default 0. */
  seed?: number;
  /** Called after every batch. */
  onProgress?: (progress: Progress) => void;
  /** Called, and waited for, after every epoch. */
  onEpochEnd?: (record: EpochRecord) => void | Promise<void>;
  /** Stops after the running batch; what was reached is kept. */
  signal?: AbortSignal;
  /**
   * Where the run is kept after every epoch and when it is stopped: `fileIO(folder)`, or in a page
   * `tf.io.getSaveHandlers('indexeddb://my-run')[0]`.
   */
  checkpoint?: io.IOHandler;
  /** Go on with what `checkpoint` holds; with the same model, data and options the curve is that of one run. Default false. */
  resume?: boolean;
}

export const FINE_TUNE_DEFAULTS = {
  mode: 'tune' as Mode,
  epochs: 10,
  batchSize: 16,
  optimizer: 'adam' as OptimizerName,
  recompute: false,
  keepHead: false,
  dropout: 0.2,
  labelSmoothing: 0.1,
  augment: true,
  inputRange: [-1, 1] as readonly [number, number],
  patience: 8,
  seed: 0,
  resume: false,
};

/** Options with defaults filled in. */
export type ResolvedFineTuneOptions = ReturnType<typeof resolveFineTuneOptions>;

interface Rule {
  ok: (value: unknown) => boolean;
  expected: string;
}

const wholeFrom = (least: number): Rule => ({
  ok: (value) => Number.isSafeInteger(value) && (value as number) >= least,
  expected: `a whole number, at least ${least}`,
});
const share: Rule = {
  ok: (value) => typeof value === 'number' && value >= 0 && value < 1,
  expected: 'a number from 0 up to, but not including, 1',
};
const flag: Rule = { ok: (value) => typeof value === 'boolean', expected: 'true or false' };
const callback: Rule = { ok: (value) => typeof value === 'function', expected: 'a function' };
const oneOf = (names: readonly string[]): Rule => ({
  ok: (value) => names.includes(value as string),
  expected: `one of ${names.map((name) => `'${name}'`).join(', ')}`,
});

const RULES: Record<keyof FineTuneOptions, Rule> = {
  mode: oneOf(['tune', 'eval', 'train']),
  epochs: wholeFrom(1),
  batchSize: wholeFrom(1),
  learningRate: { ok: (value) => Number.isFinite(value) && (value as number) > 0, expected: 'a number above 0' },
  optimizer: oneOf(OPTIMIZER_NAMES),
  unfreeze: {
    ok: (value) => (typeof value === 'string' && value !== '') || wholeFrom(0).ok(value),
    expected: "a layer's name, or a number of blocks from 0",
  },
  recompute: flag,
  keepHead: flag,
  dropout: share,
  labelSmoothing: share,
  augment: flag,
  inputRange: {
    ok: (value) =>
      Array.isArray(value) && value.length === 2 && value.every(Number.isFinite) && (value[0] as number) < value[1],
    expected: 'two finite numbers, the smaller one first',
  },
  patience: wholeFrom(1),
  seed: wholeFrom(0),
  onProgress: callback,
  onEpochEnd: callback,
  signal: {
    ok: (value) => typeof (value as AbortSignal | null)?.aborted === 'boolean',
    expected: 'an AbortSignal',
  },
  checkpoint: {
    ok: (value) => typeof (value as io.IOHandler | null)?.save === 'function',
    expected: 'a tfjs IOHandler that can save and load',
  },
  resume: flag,
};

/** JSON has no NaN, and no BigInt. */
function describe(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : JSON.stringify(value);
}

/** @throws TuneModeError `invalid-option` naming the option, what was found and what is expected. */
export function resolveFineTuneOptions(given: FineTuneOptions = {}) {
  checkOptionNames('fineTune', given, Object.keys(RULES));
  for (const [name, value] of Object.entries(given)) {
    const rule = RULES[name as keyof FineTuneOptions];
    if (value !== undefined && !rule.ok(value)) {
      const found = describe(value);
      throw new TuneModeError('invalid-option', `fineTune: '${name}' must be ${rule.expected}; found ${found}.`);
    }
  }
  if (given.resume === true && typeof given.checkpoint?.load !== 'function') {
    throw new TuneModeError('invalid-option', "fineTune: 'resume' needs a 'checkpoint' that can load, to go on with.");
  }
  return {
    ...FINE_TUNE_DEFAULTS,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  } as FineTuneOptions & Required<Omit<FineTuneOptions, OptionalOnes>>;
}

type OptionalOnes = 'learningRate' | 'unfreeze' | 'onProgress' | 'onEpochEnd' | 'signal' | 'checkpoint';
