import os from 'node:os';
import { checkOptionNames, TuneModeError } from '../../src/errors';

/** A picture that could not be read, and why. */
export interface SkippedPicture {
  file: string;
  reason: string;
}

/** How a picture becomes numbers. */
export interface PictureOptions {
  /** Side in pixels, or [height, width]. Default 224. */
  imageSize?: number | readonly [height: number, width: number];
  /** What black and white become. Default [-1, 1], as MobileNet wants it; [0, 1] for nets trained on pixels ÷ 255. */
  inputRange?: readonly [black: number, white: number];
  /** 3 for red, green and blue (the default), 1 for grey (luminance). */
  channels?: 1 | 3;
}

/** How a folder becomes two data sets. */
export interface PictureFolderOptions extends PictureOptions {
  /** Pictures in a batch; the last one of an epoch may have fewer. Default 32. */
  batchSize?: number;
  /** Share of each class kept for validation, in [0, 1). Default 0.2. Not used where there are train/ and val/ folders. */
  validationSplit?: number;
  /** A whole number ≥ 0 that fixes the split and the order of every epoch. Default 0. */
  seed?: number;
  /** Called once for each picture that cannot be read. Default: a `console.warn` with its name and the reason. */
  onSkip?: (skipped: SkippedPicture) => void;
  /** Pictures that an earlier run found unreadable: left out from the beginning, and listed in `skipped`. Default: none. */
  skip?: readonly SkippedPicture[];
  /** The classes in the order of the labels, for a head that is kept. Default: the folders' names in code-unit order. */
  classNames?: readonly string[];
  /**
   * Whether what comes from `train` by itself (`fitDataset`, `for await`) is changed at random: cut, mirrored, in other
   * light; anew in every epoch. Default false. Whoever calls `batches()` says it there.
   */
  augment?: boolean;
  /**
   * Threads that decode pictures while this one trains. Default: one less than there are processors, from 1 to 4.
   * 0: this thread decodes, each batch when it is asked for. The batches are the same.
   */
  workers?: number;
  /**
   * Whether decoded, shrunk copies of large pictures are kept on disk (at most 2 GiB in the system's temporary folder)
   * until `close()` or the end of the process. Default true. The batches are the same.
   */
  cache?: boolean;
}

/** All options with their defaults filled in. */
export interface ResolvedOptions {
  size: readonly [height: number, width: number];
  inputRange: readonly [number, number];
  channels: 1 | 3;
  batchSize: number;
  validationSplit: number;
  seed: number;
  onSkip?: (skipped: SkippedPicture) => void;
  skip: readonly SkippedPicture[];
  classNames?: readonly string[];
  augment: boolean;
  workers: number;
  cache: boolean;
}

/** More threads than any machine has processors for are a mistake. */
const MAX_WORKERS = 64;

const isSide = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 8192;
const isPair = (value: unknown): value is [unknown, unknown] => Array.isArray(value) && value.length === 2;
const isName = (value: unknown): boolean => typeof value === 'string' && value !== '';

/** One row for each option: which values are right, and how to say so. */
const RULES: Record<keyof PictureFolderOptions, { ok: (value: unknown) => boolean; expected: string }> = {
  imageSize: {
    ok: (value) => isSide(value) || (isPair(value) && value.every(isSide)),
    expected: 'a whole number of pixels from 1 to 8192, or two of them: [height, width]',
  },
  inputRange: {
    ok: (value) => isPair(value) && value.every(Number.isFinite) && (value[0] as number) < (value[1] as number),
    expected: 'two finite numbers, the smaller one first, for example [-1, 1]',
  },
  batchSize: {
    ok: (value) => Number.isInteger(value) && (value as number) >= 1,
    expected: 'a whole number, at least 1',
  },
  validationSplit: {
    ok: (value) => typeof value === 'number' && value >= 0 && value < 1,
    expected: 'a number from 0 up to, but not including, 1',
  },
  seed: {
    ok: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
    expected: 'a whole number, at least 0',
  },
  onSkip: { ok: (value) => typeof value === 'function', expected: 'a function' },
  skip: {
    ok: (value) => Array.isArray(value) && value.every((each) => isName(each?.file) && typeof each.reason === 'string'),
    expected: "a list of pictures with 'file' and 'reason'",
  },
  channels: { ok: (value) => value === 1 || value === 3, expected: '3 (colour) or 1 (grey)' },
  classNames: {
    ok: (value) =>
      Array.isArray(value) && value.length >= 2 && value.every(isName) && new Set(value).size === value.length,
    expected: 'a list of at least two different names',
  },
  augment: { ok: (value) => typeof value === 'boolean', expected: 'true or false' },
  workers: {
    ok: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_WORKERS,
    expected: `a whole number from 0 to ${MAX_WORKERS}`,
  },
  cache: { ok: (value) => typeof value === 'boolean', expected: 'true or false' },
};

/** The options that make sense for a single picture. */
export const PICTURE_OPTIONS = ['imageSize', 'inputRange', 'channels'] as const;
/** The options that make sense for a folder of pictures. */
export const FOLDER_OPTIONS = Object.keys(RULES) as (keyof PictureFolderOptions)[];

/**
 * Checks names and values, and fills in the defaults.
 * @param where the function's name, for messages.
 * @throws TuneModeError `invalid-option` naming the option, what was found and what is expected.
 */
export function resolveOptions(
  where: string,
  options: PictureFolderOptions | undefined,
  valid: readonly (keyof PictureFolderOptions)[],
): ResolvedOptions {
  checkOptionNames(where, options, valid);
  const given = options ?? {};
  for (const name of valid) {
    const value = given[name];
    if (value !== undefined && !RULES[name].ok(value)) {
      const found = typeof value === 'function' ? 'a function' : JSON.stringify(value);
      throw new TuneModeError(
        'invalid-option',
        `${where}: option '${name}' must be ${RULES[name].expected}; found ${found}.`,
      );
    }
  }
  const {
    imageSize = 224,
    inputRange = [-1, 1],
    channels = 3,
    batchSize = 32,
    validationSplit = 0.2,
    seed = 0,
  } = given;
  const { onSkip, skip = [], classNames, augment = false, workers = defaultWorkers(), cache = true } = given;
  const size = typeof imageSize === 'number' ? ([imageSize, imageSize] as const) : imageSize;
  const form = { size, inputRange, channels };
  return { ...form, batchSize, validationSplit, seed, onSkip, skip, classNames, augment, workers, cache };
}

function defaultWorkers(): number {
  return Math.max(1, Math.min(4, os.availableParallelism() - 1));
}
