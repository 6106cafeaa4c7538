/** Whole runs of `fineTune`. What the recipe may change (epochs, rates, dropout …) is given, not taken from the defaults. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { getMode } from 'tfjs-tune-mode';
import { type FineTuneOptions, fineTune, type Progress } from '../../src/fine-tune';
import { evaluate } from '../../src/fine-tune/evaluate';
import { learningRateAt } from '../../src/fine-tune/schedule';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { largestDifference, predictions, rounding, weightValues } from '../helpers/models';
import { curve, disposeLayers, disposeToy, net, refusal, tinyNet, toy } from './toy';

const BACKENDS = ['cpu', 'wasm'] as const;
const GIVEN: FineTuneOptions = {
  epochs: 2,
  batchSize: 4,
  learningRate: 0.01,
  dropout: 0.2,
  labelSmoothing: 0.1,
  patience: 99,
  augment: true,
  seed: 1,
};
const SMALL = { train: 10, val: 6, size: 8 };

/** A run on a net of its own: what came of it in plain numbers. Nothing is left of it. */
async function once(options: FineTuneOptions, { size = SMALL, build = tinyNet } = {}) {
  const [source, data] = [build(), toy(size)];
  const result = await fineTune(source, data, { ...GIVEN, ...options });
  const weights = weightValues(result.model);
  disposeLayers(source, result.model);
  disposeToy(data);
  return { curve: curve(result), weights, result };
}

describe('learning', () => {
  beforeAll(() => useBackend('wasm'));

  test.each(['tune', 'eval'] as const)(
    'in %s mode: what the head alone cannot tell apart, the whole net can',
    async (mode) => {
      const data = toy({ train: 48, val: 24 });
      const source = net();
      const result = await fineTune(source, data, {
        ...GIVEN,
        mode,
        epochs: 6,
        batchSize: 8,
        learningRate: 0.03,
        augment: false,
      });
      const accuracies = result.history.map(({ valAccuracy }) => valAccuracy);
      expect(accuracies[0]).toBeLessThan(0.9);
      expect(accuracies[result.bestEpoch]).toBeGreaterThan(0.9);
      expect(result.ending).toBe('finished');
      expect(getMode(result.model)).toBe(mode);
      // The model that is returned is that good, on new pictures as well.
      const fresh = toy({ train: 2, val: 30 });
      const again = await evaluate(result.model, fromTensors(fresh.val, 10, 0, [-1, 1]));
      expect(again.accuracy).toBeGreaterThan(0.9);
      disposeToy(fresh);
      disposeToy(data);
      disposeLayers(source, result.model);
    },
  );

  test('labels that say nothing are not learned', async () => {
    const data = toy({ train: 32, val: 32, contrast: 0 });
    const source = net();
    const { history, model } = await fineTune(source, data, { ...GIVEN, batchSize: 8, learningRate: 0.003 });
    // Guessing 32 pictures right with p = 1/2: five standard deviations of 0.088.
    for (const { valAccuracy } of history) expect(Math.abs(valAccuracy - 0.5)).toBeLessThan(0.45);
    disposeToy(data);
    disposeLayers(source, model);
  });

  test('a range test finds a rate with which it learns', async () => {
    const data = toy({ train: 48, val: 24, contrast: 1 });
    const source = net(3);
    const { learningRate: _, ...rest } = GIVEN;
    const { history, bestEpoch, learningRate, rateTest, model } = await fineTune(source, data, {
      ...rest,
      epochs: 4,
      batchSize: 8,
    });
    expect(rateTest?.length).toBeGreaterThan(0);
    expect(learningRate).toBeGreaterThan(0);
    expect(history[bestEpoch].valLoss).toBeLessThan(history[0].valLoss);
    disposeToy(data);
    disposeLayers(source, model);
  });
});

describe.each(BACKENDS)('%s: what a seed fixes', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(['adam', 'sgd', 'rmsprop'] as const)(
    '%s: the same seed gives the same curve and weights, bit for bit',
    async (optimizer) => {
      const [first, second] = [await once({ optimizer }), await once({ optimizer })];
      expect(second.curve).toEqual(first.curve);
      expect(second.weights).toEqual(first.weights);
      const other = await once({ optimizer, seed: 2 });
      expect(other.curve).not.toEqual(first.curve);
      expect(other.weights).not.toEqual(first.weights);
    },
  );

  test('also the range test, and what the caller does meanwhile changes nothing', async () => {
    const plain = await once({ learningRate: undefined });
    const watched = await once({
      learningRate: undefined,
      onProgress: () => tf.dispose(tf.randomUniform([3])),
      onEpochEnd: async () => {
        Math.random();
        await new Promise((resolve) => setTimeout(resolve, 5));
      },
    });
    expect(watched.result.rateTest).toEqual(plain.result.rateTest);
    expect(watched.curve).toEqual(plain.curve);
    expect(watched.weights).toEqual(plain.weights);
  });

  test('tune and eval give the same curve up to rounding', async () => {
    // Not Adam, which divides a gradient by its own size: of rounding errors it makes whole steps.
    const options: FineTuneOptions = { optimizer: 'sgd', learningRate: 0.003, epochs: 2, keepHead: true };
    const [tuned, evaluated] = [await once({ ...options, mode: 'tune' }), await once({ ...options, mode: 'eval' })];
    const model = tinyNet();
    // As in models/training.test.ts: 10 · rounding a step, of which there are 6.
    const tolerance = 10 * 6 * rounding(model);
    disposeLayers(model);
    const numbers = ({ curve }: typeof tuned) => [curve.flatMap(({ loss, valLoss }) => [loss ?? 0, valLoss])];
    expect(largestDifference(numbers(tuned), numbers(evaluated))).toBeLessThan(tolerance);
    expect(largestDifference(Object.values(tuned.weights), Object.values(evaluated.weights))).toBeLessThan(tolerance);
    expect(tuned.curve[2].valLoss).not.toBe(tuned.curve[0].valLoss);
    // Train mode is something else.
    const plain = await once({ ...options, mode: 'train' });
    expect(largestDifference(numbers(plain), numbers(evaluated))).toBeGreaterThan(10 * tolerance);
  });
});

describe('what is returned', () => {
  beforeAll(() => useBackend('wasm'));

  test('the best epoch’s weights: the model does on val exactly what the history says of that epoch', async () => {
    const bests = new Set<number>();
    for (const [learningRate, seed] of [
      [0.03, 1],
      [0.3, 1],
      [3, 1],
      [0.1, 5],
    ]) {
      const [source, data] = [tinyNet(seed), toy(SMALL)];
      const result = await fineTune(source, data, { ...GIVEN, epochs: 4, learningRate, seed });
      const { history, bestEpoch, validation } = result;
      const order = [...history].sort(
        (a, b) => b.valAccuracy - a.valAccuracy || a.valLoss - b.valLoss || a.epoch - b.epoch,
      );
      expect(bestEpoch).toBe(order[0].epoch);
      const again = await evaluate(result.model, fromTensors(data.val, 4, 0, [-1, 1]));
      expect(again).toEqual(validation);
      expect([again.loss, again.accuracy]).toEqual([history[bestEpoch].valLoss, history[bestEpoch].valAccuracy]);
      bests.add(bestEpoch);
      disposeLayers(source, result.model);
      disposeToy(data);
    }
    // Or the above would hold for a model that always has the last weights.
    expect([...bests].some((epoch) => epoch < 4)).toBe(true);
  });

  test('the history: epoch 0 is the head alone, then the schedule’s rates', async () => {
    const { result } = await once({ epochs: 3, learningRate: 0.02 });
    expect(result.history.map(({ epoch }) => epoch)).toEqual([0, 1, 2, 3]);
    const [zero, ...rest] = result.history;
    for (const name of ['loss', 'accuracy', 'learningRate', 'picturesPerSecond', 'msPerStep', 'waiting'] as const) {
      expect(zero[name]).toBeNull();
      for (const record of rest) expect(record[name]).not.toBeNull();
    }
    // 10 pictures in batches of 4: 3 steps an epoch.
    expect(rest.map(({ learningRate }) => learningRate)).toEqual(
      [2, 5, 8].map((step) => learningRateAt(step, 9, 0.02)),
    );
    for (const { accuracy, waiting } of rest) {
      expect((accuracy as number) * 10).toBeCloseTo(Math.round((accuracy as number) * 10), 5);
      expect(waiting).toBeGreaterThanOrEqual(0);
      expect(waiting).toBeLessThanOrEqual(1);
    }
    expect(result.learningRate).toBe(0.02);
    expect(result.rateTest).toBeNull();
    expect(result.peakBytes).toBeGreaterThan(0);
    expect(result.blocks.pairs.map(({ conv }) => conv)).toEqual(['c1', 'c3']);
  });

  test('a new head on the very layers of the given model, which keeps its own head', async () => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const old = source
      .getLayer('old')
      .getWeights()
      .map((w) => Array.from(w.dataSync()));
    const before = weightValues(source);
    const { model, head } = await fineTune(source, data, { ...GIVEN, learningRate: 0.03 });
    for (const name of ['c1', 'n1', 'c3', 'n3']) expect(model.getLayer(name)).toBe(source.getLayer(name));
    expect(
      source
        .getLayer('old')
        .getWeights()
        .map((w) => Array.from(w.dataSync())),
    ).toEqual(old);
    expect(weightValues(source)).not.toEqual(before);
    expect(head).toContain("'pool'");
    disposeLayers(source, model);
    disposeToy(data);
  });

  test('with keepHead: the given model itself, whose head goes on from where it was', async () => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const expected = await evaluate(source, fromTensors(data.val, 4, 0, [-1, 1]));
    const { model, history } = await fineTune(source, data, { ...GIVEN, keepHead: true });
    expect(model).toBe(source);
    // Tune mode folds the BN, which rounds otherwise.
    expect(Math.abs(history[0].valLoss - expected.loss)).toBeLessThan(100 * rounding(source));
    disposeLayers(source);
    disposeToy(data);
  });

  test('for pictures of another size: a copy; the given model is neither trained nor switched', async () => {
    const [source, data] = [tinyNet(1, 12), toy(SMALL)];
    const before = weightValues(source);
    const { model } = await fineTune(source, data, GIVEN);
    expect(model.inputs[0].shape).toEqual([null, 8, 8, 3]);
    expect(weightValues(source)).toEqual(before);
    expect(getMode(source)).toBe('train');
    disposeLayers(source, model);
    disposeToy(data);
  });
});

describe('early stop', () => {
  beforeAll(() => useBackend('wasm'));

  test.each([
    [1, 5, 'early-stop', 1],
    [3, 9, 'early-stop', 3],
    [5, 5, 'finished', 5],
    [9, 4, 'finished', 4],
  ] as const)(
    'patience %i, %i epochs, and nothing ever gets better: %s after epoch %i',
    async (patience, epochs, ending, last) => {
      // A rate below half a unit in the last place of every weight: each step rounds to no step.
      const { result } = await once({ patience, epochs, learningRate: 1e-30 });
      expect(result.ending).toBe(ending);
      expect(result.history.at(-1)?.epoch).toBe(last);
      expect(result.bestEpoch).toBe(0);
    },
  );

  test('not while the loss still falls, though no more pictures are right', async () => {
    const { result } = await once(
      { patience: 1, epochs: 4, learningRate: 0.003, augment: false },
      { size: { ...SMALL, train: 16 } },
    );
    const losses = result.history.map(({ valLoss }) => valLoss);
    // The premise, without which the test would say nothing.
    expect(losses).toEqual([...losses].sort((a, b) => b - a));
    expect(result.ending).toBe('finished');
  });
});

describe('progress', () => {
  beforeAll(() => useBackend('wasm'));

  test('phases in their order, each counted up to its end', async () => {
    const seen: Progress[] = [];
    await once({ learningRate: undefined, onProgress: (progress) => seen.push(progress) });
    const runs: Progress[][] = [];
    for (const progress of seen) {
      if (runs.at(-1)?.[0].phase !== progress.phase) runs.push([]);
      runs.at(-1)?.push(progress);
    }
    expect(runs.map(([{ phase }]) => phase)).toEqual([
      'features',
      'head',
      'validate',
      'learning-rate',
      'train',
      'validate',
      'train',
      'validate',
    ]);
    for (const run of runs) {
      for (const { epochs, steps } of run) expect([epochs, steps]).toEqual([2, run[0].steps]);
      if (run[0].phase === 'learning-rate') continue; // may end early
      expect(run.map(({ step }) => step)).toEqual(Array.from({ length: run[0].steps }, (_, i) => i + 1));
    }
    const epochsOf = (index: number) => [...new Set(runs[index].map(({ epoch }) => epoch))];
    expect([0, 1, 2, 4, 5, 6, 7].map(epochsOf)).toEqual([[0], [0], [0], [1], [1], [2], [2]]);
    for (const { loss, accuracy, secondsLeft } of runs[4]) {
      expect(Number.isFinite(loss) && (accuracy as number) >= 0 && (accuracy as number) <= 1).toBe(true);
      expect(secondsLeft).toBeGreaterThanOrEqual(0);
    }
    expect(runs[6].at(-1)?.loss).toBeGreaterThan(0);
  });

  test('onEpochEnd is told of every epoch and waited for', async () => {
    const log: string[] = [];
    await once({
      onProgress: ({ phase, step }) => log.push(`${phase} ${step}`),
      onEpochEnd: async ({ epoch }) => {
        log.push(`begin ${epoch}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
        log.push(`end ${epoch}`);
      },
    });
    for (const epoch of [0, 1, 2]) {
      expect(log.filter((entry) => entry === `begin ${epoch}`)).toHaveLength(1);
      expect(log[log.indexOf(`begin ${epoch}`) + 1]).toBe(`end ${epoch}`);
    }
    expect(log.at(-1)).toBe('end 2');
  });
});

describe.each(BACKENDS)('%s: tensors', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each<FineTuneOptions>([
    {},
    { keepHead: true },
    { learningRate: undefined, optimizer: 'sgd' },
    { mode: 'train', optimizer: 'rmsprop' },
    { unfreeze: 1 },
  ])('%p: the user’s stay, and only the new head’s come', async (options) => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const before = tf.memory().numTensors;
    const result = await fineTune(source, data, { ...GIVEN, ...options });
    expect(tf.memory().numTensors - before).toBe(options.keepHead ? 0 : 2);
    for (const { xs, ys } of [data.train, data.val]) expect(xs.isDisposed || ys.isDisposed).toBe(false);
    // The result can be used and trained further after the run's optimizer is gone.
    expect(predictions(result.model, [data.val.xs])[0].every(Number.isFinite)).toBe(true);
    result.model.compile({ optimizer: tf.train.sgd(0.01), loss: 'categoricalCrossentropy' });
    await result.model.trainOnBatch(data.train.xs, data.train.ys);
    disposeLayers(source, result.model);
    disposeToy(data);
  });

  test('dropout layers and trainable flags are given back', async () => {
    const { result } = await once({ unfreeze: 1 });
    const layers = result.model.layers as (tfl.layers.Layer & { call: unknown })[];
    for (const layer of layers.slice(1)) {
      expect([layer.name, layer.trainable]).toEqual([layer.name, true]);
      if (layer.getClassName() === 'Dropout') expect(Object.hasOwn(layer, 'call')).toBe(false);
    }
  });
});

describe('another run on the same model', () => {
  beforeAll(() => useBackend('wasm'));

  test('goes on from the tuned weights, and a third one on the result of the second', async () => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const first = await fineTune(source, data, GIVEN);
    const tuned = weightValues(source);
    const second = await fineTune(source, data, { ...GIVEN, seed: 2 });
    expect(weightValues(source)).not.toEqual(tuned);
    const third = await fineTune(second.model, data, GIVEN);
    expect(third.model.getLayer('c1')).toBe(source.getLayer('c1'));
    disposeLayers(source, first.model, second.model, third.model);
    disposeToy(data);
  });

  test('what is no model is refused', async () => {
    const data = toy(SMALL);
    expect((await refusal(fineTune({} as never, data, GIVEN))).code).toBe('not-a-layers-model');
    const disposed = tinyNet();
    disposed.dispose();
    expect((await refusal(fineTune(disposed, data, GIVEN))).code).toBe('model-disposed');
    disposeToy(data);
  });
});
