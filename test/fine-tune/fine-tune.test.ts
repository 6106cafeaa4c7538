/** Whole runs of `fineTune`: that it learns, what it returns, whose tensors come and go. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { getMode } from 'tfjs-tune-mode';
import { type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { evaluate } from '../../src/fine-tune/evaluate';
import { learningRateAt } from '../../src/fine-tune/schedule';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { predictions, rounding, weightValues } from '../helpers/models';
import { disposeLayers, disposeToy, net, refusal, tinyNet, toy } from './toy';

import { BACKENDS, GIVEN, once, SMALL } from './whole-runs';

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

  test('for pictures of another size nothing is made but the weights of the model that is returned', async () => {
    const [source, data] = [tinyNet(1, 12), toy(SMALL)];
    const before = tf.memory().numTensors;
    const { model } = await fineTune(source, data, GIVEN);
    expect(tf.memory().numTensors - before).toBe(model.weights.length);
    disposeLayers(source, model);
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
