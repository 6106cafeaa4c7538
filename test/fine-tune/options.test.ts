/** Every option is checked before anything else happens. Defaults of the recipe are not pinned here: they may change. */
import * as tf from '@tensorflow/tfjs-core';
import { fineTune } from '../../src/fine-tune';
import { OPTIMIZER_NAMES } from '../../src/fine-tune/optimizer';
import { type FineTuneOptions, resolveFineTuneOptions } from '../../src/fine-tune/options';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { disposeLayers, disposeToy, memoryIO, refusal, thrown, tinyNet, toy } from './toy';

beforeAll(() => useBackend('cpu'));

const io = memoryIO();
const nothing = () => {};

const WRONG: [name: keyof FineTuneOptions, values: unknown[]][] = [
  ['mode', ['deploy', 'Tune', '', 1, null]],
  ['epochs', [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '10', null, [3]]],
  ['batchSize', [0, -16, 0.5, Number.NaN, '16', null]],
  ['learningRate', [0, -1e-3, Number.NaN, Number.POSITIVE_INFINITY, '0.1', null]],
  ['optimizer', ['Adam', 'adamw', '', null, {}]],
  ['unfreeze', ['', -1, 0.5, Number.NaN, null, true, ['c1']]],
  ['recompute', [0, 1, 'yes', null]],
  ['keepHead', [0, 1, 'yes', null]],
  ['dropout', [-0.1, 1, 1.5, Number.NaN, '0.2', null]],
  ['labelSmoothing', [-0.1, 1, 2, Number.NaN, '0.1', null]],
  ['augment', [0, 'no', null, {}]],
  [
    'inputRange',
    [[1, -1], [0, 0], [0], [0, 1, 2], [0, Number.NaN], [Number.NEGATIVE_INFINITY, 0], ['0', '1'], 1, null],
  ],
  ['patience', [0, -1, 2.5, Number.NaN, '5', null]],
  ['seed', [-1, 0.5, Number.NaN, '7', null]],
  ['onProgress', [1, 'log', null, {}]],
  ['onEpochEnd', [1, 'log', null, {}]],
  ['signal', [true, null, {}, 'stop']],
  ['checkpoint', ['folder', null, {}, { load: nothing }]],
  ['resume', [1, 'yes', null]],
];

describe.each(WRONG)('%s', (name, values) => {
  test.each(values.map((value) => [value]))('%p is refused by name', (value) => {
    const error = thrown(() => resolveFineTuneOptions({ [name]: value }));
    expect(error?.code).toBe('invalid-option');
    expect(error?.message).toMatch(new RegExp(`^fineTune: '${name}' must be .+; found .+\\.$`));
  });
});

// JSON has no BigInt: writing the error must not be an error of its own.
test('a BigInt is refused as any other wrong value', () => {
  const error = thrown(() => resolveFineTuneOptions({ seed: 7n as never }));
  expect(error?.message).toContain("'seed' must be");
});

test('a refusal of NaN says NaN', () => {
  expect(thrown(() => resolveFineTuneOptions({ learningRate: Number.NaN }))?.message).toContain('found NaN');
});

const RIGHT: [name: keyof FineTuneOptions, values: unknown[]][] = [
  ['mode', ['tune', 'eval', 'train']],
  ['epochs', [1, 1000]],
  ['batchSize', [1, 64]],
  ['learningRate', [1e-12, 1, 1e20]],
  ['optimizer', [...OPTIMIZER_NAMES]],
  ['unfreeze', ['c1', 'a/b', 0, 3]],
  ['recompute', [true, false]],
  ['keepHead', [true, false]],
  ['dropout', [0, 0.999]],
  ['labelSmoothing', [0, 0.999]],
  ['augment', [true, false]],
  ['inputRange', [[0, 1], [0, 255], [-1, 1], Object.freeze([-128, 127])]],
  ['patience', [1, 99]],
  ['seed', [0, Number.MAX_SAFE_INTEGER]],
  ['onProgress', [nothing]],
  ['onEpochEnd', [nothing, async () => {}]],
  ['signal', [new AbortController().signal, AbortSignal.abort()]],
  ['checkpoint', [io]],
  ['resume', [false]],
];

test.each(RIGHT.flatMap(([name, values]) => values.map((value) => [name, value] as const)))(
  '%s: %p is taken as it is',
  (name, value) => {
    expect(resolveFineTuneOptions({ [name]: value })[name]).toBe(value);
  },
);

test('both tables are about every option there is', () => {
  const message = thrown(() => resolveFineTuneOptions({ x: 1 } as never))?.message ?? '';
  const [, valid] = message.split('Valid options:');
  const names = [...valid.matchAll(/'(\w+)'/g)].map(([, name]) => name).sort();
  expect(WRONG.map(([name]) => name as string).sort()).toEqual(names);
  expect(RIGHT.map(([name]) => name as string).sort()).toEqual(names);
});

test.each([
  [{ epoch: 3 }, ["'epoch'"]],
  [{ epochs: 3, learningrate: 1, Seed: 1 }, ["'learningrate'", "'Seed'"]],
  [{ weights: undefined }, ["'weights'"]],
])('unknown options are refused by name: %p', (given, named) => {
  const error = thrown(() => resolveFineTuneOptions(given as never));
  expect(error?.code).toBe('invalid-option');
  const [unknown] = (error?.message ?? '').split('Valid options:');
  expect([...unknown.matchAll(/'\w+'/g)].map(([name]) => name)).toEqual(named);
});

test.each([[null], ['fast'], [7]])('options must be an object: %p', (given) => {
  expect(thrown(() => resolveFineTuneOptions(given as never))?.code).toBe('invalid-option');
});

test('undefined is as not given, for every option', () => {
  const defaults = resolveFineTuneOptions();
  expect(resolveFineTuneOptions({})).toEqual(defaults);
  const given = Object.fromEntries(WRONG.map(([name]) => [name, undefined]));
  expect(resolveFineTuneOptions(given)).toEqual(defaults);
});

test('every default is a value that could be given', () => {
  const defaults = resolveFineTuneOptions();
  expect(resolveFineTuneOptions(defaults)).toEqual(defaults);
  expect(defaults.mode).toBe('tune');
  expect(defaults.resume).toBe(false);
});

test('options and their defaults are not shared: changing what was resolved changes nothing of the next', () => {
  const given: FineTuneOptions = { epochs: 3 };
  const resolved = resolveFineTuneOptions(given);
  resolved.epochs = 99;
  expect(given).toEqual({ epochs: 3 });
  expect(resolveFineTuneOptions().epochs).not.toBe(99);
});

describe('resume', () => {
  test('needs a checkpoint', () => {
    const error = thrown(() => resolveFineTuneOptions({ resume: true }));
    expect(error?.code).toBe('invalid-option');
    expect(error?.message).toContain("'checkpoint'");
    expect(resolveFineTuneOptions({ resume: true, checkpoint: io }).resume).toBe(true);
  });

  test('needs a checkpoint that can load', () => {
    const saveOnly = tf.io.withSaveHandler(io.save);
    expect(thrown(() => resolveFineTuneOptions({ resume: true, checkpoint: saveOnly }))?.code).toBe('invalid-option');
  });
});

test('fineTune refuses wrong options before it looks at model or data, and changes nothing', async () => {
  const [model, data] = [tinyNet(), toy({ train: 4, val: 2, size: 8 })];
  const before = weightValues(model);
  const tensors = tf.memory().numTensors;
  for (const options of [{ epochs: 0 }, { speed: 1 }]) {
    expect((await refusal(fineTune(model, data, options as never))).code).toBe('invalid-option');
    expect((await refusal(fineTune(undefined as never, undefined as never, options as never))).code).toBe(
      'invalid-option',
    );
  }
  expect(weightValues(model)).toEqual(before);
  expect(tf.memory().numTensors).toBe(tensors);
  disposeLayers(model);
  disposeToy(data);
});
