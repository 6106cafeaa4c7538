/**
 * Cutting models, attaching to them and calling their layers by hand, after enabling: everybody gets the numbers that he
 * got before.
 *
 * Tolerance: rounding(model), see there; where no block lies on the way, the numbers are the same bit by bit.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, getMode, inspect, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  applied,
  changes,
  inputsFor,
  largestDifference,
  movingStatistics,
  predictions,
  randomise,
  rounding,
  snapshot,
  targetsFor,
  weightValues,
} from '../helpers/models';
import { bn, chain, conv, input, L, merge, relu } from './table';

beforeAll(() => useBackend('cpu'));

type Symbolic = tfl.SymbolicTensor;
const MODES = ['train', 'eval', 'tune'] as const;

/** conv → BN → ReLU, a nested model of two blocks, a residual sum, a head. */
function build() {
  const i = input('inner_in');
  const inner = tfl.model({
    inputs: i,
    outputs: chain(i, conv('ic1'), bn('in1'), relu('ir1', 6), conv('ic2'), bn('in2')),
    name: 'inner',
  });
  const x = input();
  const y = chain(x, conv('c1'), bn('n1'), relu('r1'));
  const nested = chain(y, inner as unknown as tfl.layers.Layer);
  const sum = merge(L.add({ name: 'sum' }), nested, y);
  const out = chain(
    sum,
    L.globalAveragePooling2d({ name: 'pool' }),
    L.dense({ units: 4, name: 'c2' }),
    bn('n2'),
    relu('r2'),
  );
  const model = tfl.model({ inputs: x, outputs: out });
  randomise(model, 3);
  // A nested model's first node is its own graph; its call in this model is the second.
  const at = (name: string) => model.getLayer(name).getOutputAt(name === 'inner' ? 1 : 0) as Symbolic;
  return { model, inner, x, at };
}

/** Numbers of a cut that is made before enabling (in eval), and of the same cut made afterwards. */
function beforeAndAfter(cut: (b: ReturnType<typeof build>) => tfl.LayersModel) {
  const made = build();
  setMode(made.model, 'eval');
  const early = cut(made);
  const x = inputsFor(early, 7);
  const expected = predictions(early, x);
  enableTuneMode(made.model);
  const late = cut(made);
  return { ...made, early, late, expected, tensors: x };
}

const CUTS: Record<string, (b: ReturnType<typeof build>) => tfl.LayersModel> = {
  'at the conv’s own output': ({ x, at }) => tfl.model({ inputs: x, outputs: at('c1') }),
  'at the BN’s output': ({ x, at }) => tfl.model({ inputs: x, outputs: at('n1') }),
  'at the activation’s output': ({ x, at }) => tfl.model({ inputs: x, outputs: at('r1') }),
  'at the nested model’s output': ({ x, at }) => tfl.model({ inputs: x, outputs: at('inner') }),
  'at the sum': ({ x, at }) => tfl.model({ inputs: x, outputs: at('sum') }),
  'inside the nested model, at a conv': ({ inner }) =>
    tfl.model({ inputs: inner.inputs, outputs: inner.getLayer('ic2').output }),
  'inside the nested model, at a BN': ({ inner }) =>
    tfl.model({ inputs: inner.inputs, outputs: inner.getLayer('in1').output }),
  'the nested model by itself': ({ inner }) => tfl.model({ inputs: inner.inputs, outputs: inner.outputs }),
  'at conv, BN, activation and the end, all in one': ({ x, at, model }) =>
    tfl.model({ inputs: x, outputs: [at('c1'), at('n1'), at('r1'), model.outputs[0]] }),
  'at the end first, then the conv': ({ x, at, model }) =>
    tfl.model({ inputs: x, outputs: [model.outputs[0], at('c1')] }),
  'with a layer on the conv’s output': ({ x, at }) =>
    tfl.model({ inputs: x, outputs: L.flatten().apply(at('c1')) as Symbolic }),
  'with a layer on the BN’s output': ({ x, at }) =>
    tfl.model({ inputs: x, outputs: L.activation({ activation: 'tanh' }).apply(at('n1')) as Symbolic }),
  'with a sum of conv, BN and activation': ({ x, at }) =>
    tfl.model({ inputs: x, outputs: merge(L.add(), at('c1'), at('n1'), at('r1')) }),
  'with the nested model on another input': ({ inner }) => {
    const other = input('other');
    return tfl.model({ inputs: other, outputs: inner.apply(other) as Symbolic });
  },
  'with conv, BN and activation on another input': ({ model }) => {
    const other = input('other');
    const layers = ['c1', 'n1', 'r1'].map((name) => model.getLayer(name));
    return tfl.model({ inputs: other, outputs: chain(other, ...layers) });
  },
  'with the conv alone on another input': ({ model }) => {
    const other = input('other');
    return tfl.model({ inputs: other, outputs: chain(other, model.getLayer('c1')) });
  },
  'with the BN alone on another input': ({ model }) => {
    const other = input('other');
    return tfl.model({ inputs: other, outputs: chain(other, model.getLayer('n1')) });
  },
  'with the BN twice in a row': ({ model, at, x }) =>
    tfl.model({ inputs: x, outputs: chain(at('c1'), model.getLayer('n1'), model.getLayer('n1')) }),
  'with the BN once more on its own output': ({ model, at, x }) =>
    tfl.model({ inputs: x, outputs: chain(at('n1'), model.getLayer('n1')) }),
  'with the conv on the block’s output': ({ model, at, x }) =>
    tfl.model({ inputs: x, outputs: chain(at('r1'), model.getLayer('c1'), model.getLayer('n1')) }),
  'as a layer of a Sequential': ({ model }) =>
    tfl.sequential({ layers: [model as unknown as tfl.layers.Layer, L.reshape({ targetShape: [4, 1] })] }),
};

describe.each(Object.entries(CUTS))('a model cut %s', (_name, cut) => {
  test('gives the same numbers, made before enabling or after it, in every pass', () => {
    const { model, early, late, expected, tensors } = beforeAndAfter(cut);
    const close = (found: number[][]) => expect(largestDifference(found, expected)).toBeLessThan(rounding(model));
    for (const made of [early, late]) {
      close(predictions(made, tensors));
      close(applied(made, tensors, false));
      close(applied(made, tensors, true));
    }
    expect(largestDifference([expected[0]], [expected[0].map(() => 0)])).toBeGreaterThan(0.1);
  });

  test('the base is not disturbed by it, nor by switching the cut, in whatever order', () => {
    for (const [first, second] of [
      ['base', 'cut'],
      ['cut', 'base'],
    ] as const) {
      const made = build();
      const x = inputsFor(made.model, 7);
      const expected = predictions(made.model, x);
      const cutModel = cut(made);
      const seen = inputsFor(cutModel, 8);
      const expectedCut = predictions(cutModel, seen);
      const models = { base: made.model, cut: cutModel };
      const before = [snapshot(made.model), snapshot(cutModel)];
      const check = () => {
        expect(largestDifference(predictions(made.model, x), expected)).toBeLessThan(rounding(made.model));
        expect(largestDifference(predictions(cutModel, seen), expectedCut)).toBeLessThan(rounding(made.model));
      };
      enableTuneMode(models[first]);
      check();
      enableTuneMode(models[second]);
      check();
      setMode(models[first], 'train');
      check();
      setMode(models[first], 'eval');
      setMode(models[second], 'train');
      setMode(models[first], 'train');
      expect(changes(before[0], snapshot(made.model))).toEqual([]);
      expect(changes(before[1], snapshot(cutModel))).toEqual([]);
      expect(predictions(made.model, x)).toEqual(expected);
      expect(predictions(cutModel, seen)).toEqual(expectedCut);
    }
  });
});

describe('layers called by hand on numbers', () => {
  const call = (layer: tfl.layers.Layer, x: tf.Tensor, training: boolean) =>
    tf.tidy(() => [Array.from((layer.apply(x, { training }) as tf.Tensor).dataSync())]);

  test.each(['c1', 'n1', 'r1', 'inner', 'c2', 'n2', 'r2'])('%s gives the same in tune as in eval', (name) => {
    for (const training of [false, true]) {
      const { model } = build();
      setMode(model, 'eval');
      const layer = model.getLayer(name);
      const [{ shape }] = (layer.inboundNodes.at(-1) as unknown as { inputTensors: Symbolic[] }).inputTensors;
      const x = tf.randomUniform(shape.map((n) => n ?? 3) as number[], -1, 1, 'float32', 5);
      const alive = tf.memory().numTensors;
      const expected = call(layer, x, training);
      enableTuneMode(model);
      for (let i = 0; i < 3; i++)
        expect(largestDifference(call(layer, x, training), expected)).toBeLessThan(rounding(model));
      expect(x.isDisposed).toBe(false);
      expect(tf.memory().numTensors).toBe(alive);
    }
  });

  test('a BN called on what a pass of the model has returned normalises it again', () => {
    const { model, x, at } = build();
    const cut = tfl.model({ inputs: x, outputs: at('n1') });
    const layer = model.getLayer('n1');
    const [tensor] = inputsFor(model, 2);
    const results = (['eval', 'tune'] as const).map((mode) => {
      setMode(model, mode);
      return [false, true].map((training) =>
        tf.tidy(() => {
          const once = cut.apply(tensor, { training }) as tf.Tensor;
          return Array.from((layer.apply(once) as tf.Tensor).dataSync());
        }),
      );
    });
    expect(largestDifference(results[1], results[0])).toBeLessThan(rounding(model));
  });

  test('a pass that fails midway leaves nothing that a later pass would take for normalised', () => {
    const { model, x, at } = build();
    const [tensor] = inputsFor(model, 2);
    setMode(model, 'eval');
    const cut = tfl.model({ inputs: x, outputs: at('r1') });
    const expected = predictions(cut, [tensor]);
    enableTuneMode(model, { fuseActivation: false });
    const layer = model.getLayer('n1');
    const ours = Object.getOwnPropertyDescriptor(layer, 'apply') as PropertyDescriptor;
    const alive = tf.memory().numTensors;
    layer.apply = () => {
      throw new Error('midway');
    };
    expect(() => predictions(cut, [tensor])).toThrow('midway');
    Object.defineProperty(layer, 'apply', ours);
    expect(tf.memory().numTensors).toBe(alive);
    expect(largestDifference(predictions(cut, [tensor]), expected)).toBeLessThan(rounding(model));
  });
});

describe('transfer learning', () => {
  /** A new head on the features of a base, the usual way. */
  function withHead({ x, at }: ReturnType<typeof build>, from: string) {
    const y = chain(at(from), L.flatten({ name: 'flat' }), L.dense({ units: 3, name: 'head', activation: 'softmax' }));
    const model = tfl.model({ inputs: x, outputs: y, name: 'transferred' });
    const weights = model.getLayer('head').getWeights();
    model.getLayer('head').setWeights(weights.map((w) => tf.randomUniform(w.shape, -0.3, 0.3, 'float32', 9)));
    return model;
  }

  test.each(['c1', 'n1', 'r1', 'inner', 'sum'])(
    'a head on %s trains in tune as in eval, enabled before or after it',
    async (from) => {
      const runs = [];
      for (const [mode, when] of [
        ['eval', 'after'],
        ['tune', 'after'],
        ['tune', 'before'],
      ] as const) {
        const base = build();
        if (when === 'before') setMode(base.model, mode);
        const model = withHead(base, from);
        if (when === 'after') setMode(model, mode);
        const statistics = movingStatistics(model);
        model.compile({ optimizer: tf.train.momentum(0.05, 0.9), loss: 'meanSquaredError' });
        const [x, y] = [inputsFor(model, 31), targetsFor(model, 32)];
        for (let i = 0; i < 3; i++) await model.trainOnBatch(x, y);
        expect(movingStatistics(model)).toEqual(statistics);
        runs.push(Object.values(weightValues(model)));
      }
      const tolerance = 30 * rounding(build().model);
      expect(largestDifference(runs[1], runs[0])).toBeLessThan(tolerance);
      expect(largestDifference(runs[2], runs[0])).toBeLessThan(tolerance);
    },
  );

  test('a cut lists, names and saves the plain layers', () => {
    const made = build();
    enableTuneMode(made.model);
    const cut = withHead(made, 'sum');
    const plain = withHead(build(), 'sum');
    const classes = (model: tfl.LayersModel) => model.layers.map((layer) => `${layer.getClassName()} ${layer.name}`);
    expect(classes(cut)).toEqual(classes(plain));
    expect(cut.toJSON(null, false)).toEqual(plain.toJSON(null, false));
    expect(cut.weights.map(({ originalName, shape }) => [originalName, shape])).toEqual(
      plain.weights.map(({ originalName, shape }) => [originalName, shape]),
    );
  });
});

describe('must not', () => {
  test('count a conv whose output a cut returns as a pair of the cut, though the base has it paired', () => {
    const { model, x, at } = build();
    enableTuneMode(model);
    const cut = tfl.model({ inputs: x, outputs: [at('c1'), at('n1')] });
    expect(inspect(cut).skipped.map(({ bn, code }) => [bn, code])).toEqual([['n1', 'conv-is-output']]);
    expect(getMode(cut)).toBe('tune');
  });

  test('switch layers of the base that are not in the cut', () => {
    const { model, x, at } = build();
    const cut = tfl.model({ inputs: x, outputs: at('r1') });
    for (const mode of MODES) {
      setMode(model, 'train');
      const others = ['inner', 'c2', 'n2', 'r2', 'pool'].map((name) => model.getLayer(name));
      const before = others.map((layer) => Reflect.ownKeys(layer));
      setMode(cut, mode);
      expect(others.map((layer) => Reflect.ownKeys(layer))).toEqual(before);
      expect(inspect(cut).mode).toBe(mode);
      expect(inspect(model).mode).toBe(mode);
    }
  });
});
