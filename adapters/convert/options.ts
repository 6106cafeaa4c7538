import { checkOptionNames, TuneModeError } from '../../src/errors';
import { SHARD_BYTES } from '../node/shards';
import type { Reading } from './source';
import { QUANTIZATIONS, type QuantizationDtype } from './weight-file';

export const MODES = ['tune', 'deploy'] as const;
export const TARGETS = ['layers', 'graph', 'h5'] as const;
export type ConvertMode = (typeof MODES)[number];
export type ConvertTarget = (typeof TARGETS)[number];

export interface ConvertProgress {
  phase: 'reading' | 'restoring' | 'writing' | 'verifying';
  /** 0…1 */
  share: number;
}

/** Reports how much of a phase is done. */
export function reporting({ onProgress }: ConvertOptions, phase: ConvertProgress['phase']): Reading {
  return (done, total) => onProgress?.({ phase, share: done / total });
}

export interface ConvertOptions {
  /** `tune` (default): Convs and BatchNorms as they are, to be trained; `deploy`: folded, for inference. */
  mode?: ConvertMode;
  /**
   * What is written: `layers`, a folder with a tfjs LayersModel; `graph`, a folder with a GraphModel (of a GraphModel alone,
   * always deployed); `h5`, a file for Keras. Default: `h5` for an output that ends in .h5, .hdf5 or .keras.h5, else `layers`.
   */
  to?: ConvertTarget;
  /** Of a Keras file with weights alone: the file with its topology. */
  topology?: string;
  /** Of a GraphModel: a folder of pictures on which the folded BatchNorms are put back. Default: they are not. */
  restore?: string;
  /**
   * How kernels are stored: a value takes 2, 1 or 2 bytes instead of 4. Vectors (biases, BatchNorms) stay float32. Kernels
   * with values beyond 65504, where float16 ends, are refused with it. Default: not at all.
   */
  quantize?: QuantizationDtype;
  /** Bytes of a weight file, at most. Default 4 MiB, which browsers cache. */
  shardSize?: number;
  /** Whether source and result are run and compared before the output gets its name. Default true. */
  verify?: boolean;
  /** A folder of pictures on which both are compared too. */
  pictures?: string;
  /** [height, width] of pictures where the model leaves it open. Default 256 × 256. */
  imageSize?: readonly [height: number, width: number];
  /** What black and white are for the model. Default: what it says itself, or [-1, 1]. */
  inputRange?: readonly [black: number, white: number];
  /** Largest difference of an output, in shares of its largest value. Default 1e-3; 0.25 with float16 and uint16, 0.5 with uint8. */
  tolerance?: number;
  /**
   * Keeps layers and arguments that tfjs-layers does not know: whoever loads the result registers them. Such a model can
   * neither be built, nor deployed, nor verified here.
   */
  allowCustom?: boolean;
  /** Replaces an output that exists. */
  force?: boolean;
  onProgress?: (progress: ConvertProgress) => void;
  /** Stops the work; nothing is left of it then. */
  signal?: AbortSignal;
}

const isText = (value: unknown) => typeof value === 'string' && value !== '';
const isFlag = (value: unknown) => typeof value === 'boolean';
const oneOf = (valid: readonly string[]) => ({
  ok: (value: unknown) => valid.includes(value as string),
  expected: `one of ${valid.map((each) => `'${each}'`).join(', ')}`,
});
const path = { ok: isText, expected: 'a path' };
const flag = { ok: isFlag, expected: 'true or false' };
const isPair = (value: unknown, ok: (each: number) => boolean) =>
  Array.isArray(value) && value.length === 2 && value.every((each) => Number.isFinite(each) && ok(each));

const CHECKS: { [K in keyof ConvertOptions]-?: { ok(value: unknown): boolean; expected: string } } = {
  mode: oneOf(MODES),
  to: oneOf(TARGETS),
  topology: path,
  restore: path,
  quantize: oneOf(QUANTIZATIONS),
  shardSize: {
    ok: (value) => Number.isSafeInteger(value) && (value as number) >= 1024,
    expected: 'a whole number of bytes, at least 1024',
  },
  verify: flag,
  pictures: path,
  imageSize: {
    ok: (value) => isPair(value, (each) => Number.isInteger(each) && each >= 1 && each <= 8192),
    expected: 'two whole numbers of pixels, height and width',
  },
  inputRange: {
    ok: (value) => isPair(value, () => true) && (value as number[])[0] < (value as number[])[1],
    expected: 'two finite numbers, the smaller one first',
  },
  tolerance: {
    ok: (value) => Number.isFinite(value) && (value as number) >= 0,
    expected: 'a number, at least 0',
  },
  allowCustom: flag,
  force: flag,
  onProgress: { ok: (value) => typeof value === 'function', expected: 'a function' },
  signal: { ok: (value) => typeof (value as AbortSignal)?.aborted === 'boolean', expected: 'an AbortSignal' },
};

export type Resolved = ConvertOptions &
  Required<Pick<ConvertOptions, 'mode' | 'shardSize' | 'verify' | 'allowCustom' | 'force'>>;

/** @throws TuneModeError `invalid-option`. */
export function resolveConvertOptions(where: string, given: ConvertOptions = {}): Resolved {
  checkOptionNames(where, given, Object.keys(CHECKS));
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of known) {
    const { ok, expected } = CHECKS[name as keyof ConvertOptions];
    if (ok(value)) continue;
    const found = JSON.stringify(value) ?? typeof value;
    throw new TuneModeError('invalid-option', `${where}: '${name}' must be ${expected}; found ${found}.`);
  }
  return {
    mode: 'tune',
    shardSize: SHARD_BYTES,
    verify: true,
    allowCustom: false,
    force: false,
    ...(Object.fromEntries(known) as ConvertOptions),
  };
}
