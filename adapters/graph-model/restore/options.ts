import { checkOptionNames, TuneModeError } from '../../../src/errors';
import { DEFAULT_RULE, SCALE_RULES, type ScaleRule } from './rules';

export interface RestoreOptions {
  /** How many calibration pictures are used, at most. Default 64. */
  pictures?: number;
  /** How s is chosen. The default is what trains best of those measured (`bench/restore`). */
  rule?: ScaleRule;
  /** ε of the new layers. Default 0.001, as in Keras. */
  epsilon?: number;
  /** Which convolutions get a BatchNormalization, by their path. Default: all that can. */
  include?: (conv: string) => boolean;
  /**
   * What black and white are, for the pictures of noise that are used where no calibration data are given. Default: what a
   * rescaling at the model's beginning brings to [-1, 1], else [-1, 1].
   */
  inputRange?: readonly [black: number, white: number];
}

export type ResolvedRestoreOptions = Required<Omit<RestoreOptions, 'inputRange'>> & Pick<RestoreOptions, 'inputRange'>;

const DEFAULTS: ResolvedRestoreOptions = {
  pictures: 64,
  rule: DEFAULT_RULE,
  epsilon: 1e-3,
  include: () => true,
};

const CHECKS: { [K in keyof RestoreOptions]-?: { ok(value: unknown): boolean; expected: string } } = {
  pictures: {
    ok: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
    expected: 'a whole number, at least 1',
  },
  rule: {
    ok: (value) => SCALE_RULES.includes(value as ScaleRule),
    expected: `one of ${SCALE_RULES.map((name) => `'${name}'`).join(', ')}`,
  },
  epsilon: { ok: (value) => Number.isFinite(value) && (value as number) > 0, expected: 'a number above 0' },
  include: {
    ok: (value) => typeof value === 'function',
    expected: 'a function that takes the path of a convolution and returns true or false',
  },
  inputRange: {
    ok: (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite) && value[0] < value[1],
    expected: 'two finite numbers, the smaller one first',
  },
};

/** @throws TuneModeError `invalid-option`. */
export function resolveRestoreOptions(given: RestoreOptions = {}): ResolvedRestoreOptions {
  checkOptionNames('restoreBatchNorm', given, Object.keys(CHECKS));
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of known) {
    const { ok, expected } = CHECKS[name as keyof RestoreOptions];
    if (ok(value)) continue;
    const found = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value);
    throw new TuneModeError('invalid-option', `restoreBatchNorm: '${name}' must be ${expected}; found ${found}.`);
  }
  const options = { ...DEFAULTS, ...Object.fromEntries(known) };
  const { include } = options;
  return {
    ...options,
    include: (conv) => {
      const answer: unknown = include(conv);
      if (typeof answer === 'boolean') return answer;
      throw new TuneModeError(
        'invalid-option',
        `restoreBatchNorm: 'include' must return true or false, found ${answer instanceof Promise ? 'a Promise' : String(answer)} for '${conv}'.`,
      );
    },
  };
}
