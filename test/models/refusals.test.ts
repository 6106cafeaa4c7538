/** What is refused, with which code, in words that say what to do; and that a refusal leaves the model as it was. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import {
  enableTuneMode,
  getMode,
  inspect,
  type Mode,
  setMode,
  TuneModeError,
  type TuneModeErrorCode,
  type TuneOptions,
} from 'tfjs-tune-mode';
import { verifyInstalled } from '../../src/walker/verify';
import { useBackend } from '../helpers/backends';
import { changes, inputsFor, predictions, randomise, snapshot } from '../helpers/models';
import { bn, chain, conv, input, L, relu } from './table';

jest.mock('../../src/walker/verify', () => {
  const actual = jest.requireActual('../../src/walker/verify');
  return { ...actual, verifyInstalled: jest.fn(actual.verifyInstalled) };
});

beforeAll(() => useBackend('cpu'));

const MODES: Mode[] = ['train', 'eval', 'tune'];

function build(): tfl.LayersModel {
  const x = input();
  const model = tfl.model({
    inputs: x,
    outputs: chain(x, conv('c1'), bn('n1'), relu('r1'), conv('c2'), bn('n2'), relu('r2')),
    name: 'net',
  });
  randomise(model, 1);
  return model;
}

function refusalOf(run: () => unknown): TuneModeError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(TuneModeError);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).name).toBe('TuneModeError');
    return error as TuneModeError;
  }
  throw new Error('nothing was thrown');
}

/** Whatever the arguments, called as JavaScript calls. */
const loosely = { setMode, enableTuneMode, getMode, inspect } as unknown as Record<
  'setMode' | 'enableTuneMode' | 'getMode' | 'inspect',
  (...args: unknown[]) => unknown
>;

const graphModel = () => ({ executeAsync() {}, execute() {}, predict() {}, inputs: [], outputs: [], weights: {} });

const NO_MODELS: [string, () => unknown, RegExp][] = [
  ['undefined', () => undefined, /found undefined/],
  ['null', () => null, /found null/],
  ['a path', () => 'models/mobilenet', /found string/],
  ['a number', () => 3, /found number/],
  ['a function', () => () => {}, /found function/],
  ['a Promise of a model', () => Promise.resolve(build()), /Promise: write 'await tf\.loadLayersModel/],
  ['a GraphModel', graphModel, /GraphModel, .*load a layers model with tf\.loadLayersModel/],
  ['a layer', () => conv('lonely'), /class Conv2D/],
  ['a tensor', () => tf.scalar(1), /class Tensor/],
  ['a symbolic tensor', () => input(), /class SymbolicTensor/],
  ['an empty object', () => ({}), /class Object/],
  ['an object without a prototype', () => Object.create(null), /class unknown/],
  ['an array of models', () => [build()], /class Array/],
];

describe.each(NO_MODELS)('instead of a model %s', (_name, make, message) => {
  test.each(['setMode', 'enableTuneMode', 'getMode', 'inspect'] as const)('%s refuses: not-a-layers-model', (name) => {
    const args = name === 'setMode' ? [make(), 'tune'] : [make()];
    const error = refusalOf(() => loosely[name](...args));
    expect(error.code).toBe('not-a-layers-model');
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/expected a tfjs-layers LayersModel/);
  });
});

const UNUSABLE: [string, () => tfl.LayersModel, TuneModeErrorCode, RegExp][] = [
  ['an empty Sequential', () => tfl.sequential({ name: 'bare' }), 'model-not-built', /'bare'.*Add layers.*inputShape/],
  [
    'a disposed model',
    () => {
      const model = build();
      model.dispose();
      return model;
    },
    'model-disposed',
    /'net' has been disposed/,
  ],
  [
    'a model disposed in tune mode',
    () => {
      const model = build();
      enableTuneMode(model);
      model.dispose();
      return model;
    },
    'model-disposed',
    /'net' has been disposed/,
  ],
  [
    'a disposed Sequential',
    () => {
      const model = tfl.sequential({ name: 'gone', layers: [conv('c', { inputShape: [6, 6, 3] }), bn('n')] });
      model.dispose();
      return model;
    },
    'model-disposed',
    /'gone' has been disposed/,
  ],
  [
    'a disposed Sequential of a nested model',
    () => {
      const inner = tfl.sequential({ name: 'inner', layers: [conv('c', { inputShape: [6, 6, 3] }), bn('n')] });
      const model = tfl.sequential({ name: 'gone', layers: [inner, L.flatten()] });
      model.dispose();
      return model;
    },
    'model-disposed',
    /disposed/,
  ],
];

test.each(UNUSABLE)('%s is refused', (_name, make, code, message) => {
  for (const run of [setMode, enableTuneMode, getMode, inspect]) {
    const model = make();
    const error = refusalOf(() => (run === setMode ? setMode(model, 'tune') : (run as (m: unknown) => unknown)(model)));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  }
});

describe('modes that do not exist', () => {
  test.each([['Tune'], ['deploy'], [''], [undefined], [null], [3], [true], [{}], [['tune']]])('%p', (mode) => {
    const model = build();
    const before = snapshot(model);
    const error = refusalOf(() => loosely.setMode(model, mode));
    expect(error.code).toBe('invalid-mode');
    expect(error.message).toMatch(/Use 'train', 'eval' or 'tune'/);
    expect(changes(before, snapshot(model))).toEqual([]);
  });
});

const BAD_OPTIONS: [string, unknown, RegExp][] = [
  ['an unknown name', { includes: () => true }, /unknown option 'includes'.*'include', 'fuseActivation'/],
  ['two unknown names', { foo: 1, bar: 2 }, /'foo', 'bar'/],
  ['include as a list', { include: ['c1'] }, /'include' must be a function.*found object/],
  ['include as a name', { include: 'c1' }, /'include' must be a function.*found string/],
  ['include null', { include: null }, /'include' must be a function/],
  ['fuseActivation as a word', { fuseActivation: 'yes' }, /'fuseActivation' must be true or false, found "yes"/],
  ['fuseActivation 0', { fuseActivation: 0 }, /'fuseActivation' must be true or false, found 0/],
  ['fuseActivation null', { fuseActivation: null }, /'fuseActivation' must be true or false/],
  ['null', null, /options must be an object, found null/],
  ['true', true, /options must be an object, found true/],
  ['a function', () => true, /options must be an object/],
  ['a mode', 'tune', /options must be an object, found "tune"/],
];

describe.each(BAD_OPTIONS)('options that are %s', (_name, options, message) => {
  test.each([
    ['setMode', (model: unknown) => loosely.setMode(model, 'eval', options)],
    ['enableTuneMode', (model: unknown) => loosely.enableTuneMode(model, options)],
    ['inspect', (model: unknown) => loosely.inspect(model, options)],
  ] as const)('%s refuses: invalid-option, the model stays as it was', (name, run) => {
    for (const mode of MODES) {
      const model = build();
      setMode(model, mode);
      const before = snapshot(model);
      const error = refusalOf(() => run(model));
      expect(error.code).toBe('invalid-option');
      expect(error.message).toMatch(message);
      // enableTuneMode is setMode, and may say so.
      expect(error.message).toContain(name === 'inspect' ? 'inspect' : 'Mode');
      expect(changes(before, snapshot(model))).toEqual([]);
      expect(getMode(model)).toBe(mode);
    }
  });
});

test.each([undefined, {}, { include: undefined, fuseActivation: undefined }])(
  'options %p are the defaults',
  (options) => {
    expect({ ...inspect(build(), options) }).toEqual({ ...inspect(build()) });
    expect(enableTuneMode(build(), options).pairs).toHaveLength(2);
  },
);

describe('an include that throws', () => {
  const options: TuneOptions = {
    include: ({ bn }) => {
      if (bn === 'n2') throw new Error('of the user');
      return true;
    },
  };

  test.each(MODES)('in %s mode: its own error comes out, the model stays as it was', (mode) => {
    const model = build();
    setMode(model, mode);
    const x = inputsFor(model, 2);
    const expected = predictions(model, x);
    const before = snapshot(model);
    for (const run of [
      () => enableTuneMode(model, options),
      () => setMode(model, 'eval', options),
      () => inspect(model, options),
    ]) {
      expect(run).toThrow('of the user');
      expect(changes(before, snapshot(model))).toEqual([]);
    }
    expect(getMode(model)).toBe(mode);
    expect(predictions(model, x)).toEqual(expected);
    setMode(model, 'train');
    expect(getMode(model)).toBe('train');
  });
});

describe('a check that fails after the rewrite', () => {
  const failing = jest.mocked(verifyInstalled);
  const broken = () => {
    throw new TuneModeError('broken-invariant', 'seeded by a test');
  };

  test.each(MODES.flatMap((from) => MODES.map((to) => [from, to] as const)))(
    '%s → %s puts the model back',
    (from, to) => {
      const model = build();
      const untouched = snapshot(model);
      setMode(model, from, { fuseActivation: false });
      const x = inputsFor(model, 2);
      const expected = predictions(model, x);
      const alive = tf.memory().numTensors;
      failing.mockImplementationOnce(broken);
      expect(refusalOf(() => setMode(model, to)).code).toBe('broken-invariant');
      expect(getMode(model)).toBe(from);
      expect(predictions(model, x)).toEqual(expected);
      expect(tf.memory().numTensors).toBe(alive);
      tf.dispose(x);
      setMode(model, 'train');
      expect(changes(untouched, snapshot(model))).toEqual([]);
    },
  );

  test('and a failure in the middle of the rewrite does too', () => {
    const model = build();
    setMode(model, 'eval');
    const before = snapshot(model);
    // The second BN cannot be given a call of ours.
    const frozen = model.getLayer('n2');
    setMode(model, 'train');
    const clean = snapshot(model);
    Object.preventExtensions(frozen);
    expect(() => enableTuneMode(model)).toThrow(TypeError);
    expect(getMode(model)).toBe('train');
    expect(changes(clean, snapshot(model))).toEqual([]);
    expect(changes(before, snapshot(model)).length).toBeGreaterThan(0);
  });

  test('does not make a model without BN remember a mode that it was refused', () => {
    const x = input();
    const model = tfl.model({ inputs: x, outputs: chain(x, conv('c')) });
    failing.mockImplementationOnce(broken);
    expect(refusalOf(() => enableTuneMode(model)).code).toBe('broken-invariant');
    expect(getMode(model)).toBe('train');
  });
});

describe('the check itself turns red', () => {
  const wired = (tensor: tfl.SymbolicTensor) => tensor as unknown as { inputs: tfl.SymbolicTensor[] };
  const output = (model: tfl.LayersModel, name: string) => model.getLayer(name).output as tfl.SymbolicTensor;
  const real = jest.requireActual('../../src/walker/verify').verifyInstalled;

  /** Spoils the model between the rewrite and the check. */
  function spoil(mode: Mode, how: (model: tfl.LayersModel) => void): TuneModeError {
    const model = build();
    jest.mocked(verifyInstalled).mockImplementationOnce((...args) => {
      how(model);
      return real(...args);
    });
    const error = refusalOf(() => setMode(model, mode));
    expect(error.code).toBe('broken-invariant');
    return error;
  }

  test('by a BN that lost its call', () => {
    for (const mode of ['eval', 'tune'] as const) {
      const error = spoil(mode, (model) => Reflect.deleteProperty(model.getLayer('n2'), 'call'));
      expect(error.message).toContain("'n2'");
    }
  });

  test('by a BN that is still wired to its conv, or to the conv of another block', () => {
    const original = (model: tfl.LayersModel) => {
      wired(output(model, 'n1')).inputs = [output(model, 'c1')];
    };
    expect(spoil('tune', original).message).toContain("'n1'");
    const swapped = (model: tfl.LayersModel) => {
      const [first, second] = [wired(output(model, 'n1')), wired(output(model, 'n2'))];
      [first.inputs, second.inputs] = [second.inputs, first.inputs];
    };
    expect(spoil('tune', swapped).message).toMatch(/'n[12]'/);
  });

  test('by an activation that is not led past its BN', () => {
    const error = spoil('tune', (model) => {
      wired(output(model, 'r2')).inputs = [output(model, 'n2')];
    });
    expect(error.message).toContain("'r2'");
  });
});

test('a model made by another copy of tfjs-layers is refused by name', () => {
  let other: typeof tfl | undefined;
  jest.isolateModules(() => {
    other = require('@tensorflow/tfjs-layers');
  });
  const x = other!.input({ shape: [6, 6, 3] });
  const y = other!.layers.flatten().apply(x) as tfl.SymbolicTensor;
  const error = refusalOf(() => enableTuneMode(other!.model({ inputs: x, outputs: y })));
  expect(error.code).toBe('not-a-layers-model');
  expect(error.message).toMatch(/another copy of @tensorflow\/tfjs-layers.*npm ls/);
});

describe('what the caller is told', () => {
  test('enableTuneMode is named by its own name', () => {
    expect(() => enableTuneMode(undefined as never)).toThrow(/^enableTuneMode: expected a tfjs-layers LayersModel/);
    expect(() => enableTuneMode('model.json' as never)).toThrow(/found string. Load it first/);
  });

  test.each([
    ['a promise', async () => false],
    ['undefined', () => undefined],
    ['0', () => 0],
  ])("an 'include' that answers with %s is refused, and changes nothing", (_what, include) => {
    const model = tfl.sequential({
      layers: [
        tfl.layers.conv2d({ filters: 2, kernelSize: 1, inputShape: [2, 2, 1] }),
        tfl.layers.batchNormalization(),
      ],
    });
    expect(() => enableTuneMode(model, { include: include as never })).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining("'include' must return") }),
    );
    expect(getMode(model)).toBe('train');
  });
});
