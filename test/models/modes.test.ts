/**
 * What the modes compute and write, on every model of the table that tfjs-layers can run.
 *
 * Tolerances: outputs, `rounding(model)` (derived there from float32 and the sizes of the net's sums; 1e-6 to 3e-5 here).
 * Weights after N steps: two gradients differ by about that, relative to the largest one. Adam turns a difference δ of a
 * gradient g into at most lr · δ / ε, which with lr = 0.01 and ε = 0.001 is 10 δ a step; SGD with lr = 0.02 and momentum
 * 0.9 stays below. So 10 · N · rounding.
 */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  applied,
  batchNorms,
  changes,
  inputsFor,
  largestDifference,
  movingStatistics,
  predictions,
  randomise,
  rounding,
  setWeightValues,
  snapshot,
  targetsFor,
  toList,
  weightValues,
} from '../helpers/models';
import { MODELS } from './table';

beforeAll(() => useBackend('cpu'));

const STEPS = 3;
const RUNNABLE = MODELS.filter(({ cannotRun }) => cannotRun !== 'at all');
const OPTIMIZERS = {
  'SGD with momentum': () => tf.train.momentum(0.02, 0.9),
  Adam: () => tf.train.adam(0.01, 0.9, 0.999, 1e-3),
};

function compile(model: tfl.LayersModel, optimizer: tf.Optimizer): void {
  // Reduced to one number: tfjs-layers cannot add up losses of outputs of different rank.
  model.compile({ optimizer, loss: (target, y) => tf.mean(tf.squaredDifference(target, y)) });
}

async function train(model: tfl.LayersModel, steps: number): Promise<number[]> {
  const [x, y] = [inputsFor(model, 3), targetsFor(model, 4)];
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) losses.push(toList(await model.trainOnBatch(x, y))[0] as number);
  tf.dispose([x, y]);
  return losses;
}

const values = (record: Record<string, number[]>) => Object.values(record);
const changed = (before: Record<string, number[]>, after: Record<string, number[]>) =>
  Object.keys(before).filter((name) => before[name].some((value, i) => !Object.is(value, after[name][i])));

describe.each(RUNNABLE)('$name', ({ build, options, cannotRun, onlyTuneTrains }) => {
  test('predict, apply and training passes give one result in eval and tune, that of the untouched model', () => {
    const model = build();
    randomise(model, 1);
    const x = inputsFor(model, 2);
    const untouched = cannotRun === undefined ? predictions(model, x) : null;
    const statistics = movingStatistics(model);
    const before = snapshot(model);

    setMode(model, 'eval', options);
    const evaluated = predictions(model, x);
    if (untouched !== null) expect(largestDifference(evaluated, untouched)).toBeLessThan(rounding(model));
    expect(Math.max(...evaluated.map((y) => Math.max(...y.map(Math.abs))))).toBeGreaterThan(1e-3);
    const passed = applied(model, x, true);

    setMode(model, 'tune', options);
    expect(largestDifference(predictions(model, x), evaluated)).toBeLessThan(rounding(model));
    expect(largestDifference(applied(model, x, false), evaluated)).toBeLessThan(rounding(model));
    // Dropout makes these another number, the same in both.
    expect(largestDifference(applied(model, x, true), passed)).toBeLessThan(rounding(model));
    expect(movingStatistics(model)).toEqual(statistics);

    setMode(model, 'train', options);
    if (untouched !== null) expect(predictions(model, x)).toEqual(untouched);
    expect(changes(before, snapshot(model))).toEqual([]);
  });

  test.each(Object.entries(OPTIMIZERS))(
    'training: eval and tune give the same weights, %s',
    async (_name, optimizer) => {
      const model = build();
      randomise(model, 5);
      const start = weightValues(model);
      const runs = [];
      for (const mode of ['eval', 'tune'] as const) {
        setMode(model, mode, options);
        setWeightValues(model, start);
        compile(model, optimizer());
        if (mode === 'eval' && onlyTuneTrains) {
          await expect(train(model, 1)).rejects.toThrow(/gradient/);
          continue;
        }
        const losses = await train(model, STEPS);
        runs.push({ losses, weights: weightValues(model) });
      }
      const tuned = runs[runs.length - 1];
      const evaluated = runs[0];
      const tolerance = 10 * STEPS * rounding(model);
      expect(largestDifference([tuned.losses], [evaluated.losses])).toBeLessThan(tolerance);
      expect(largestDifference(values(tuned.weights), values(evaluated.weights))).toBeLessThan(tolerance);
      expect(changed(start, tuned.weights)).toEqual(changed(start, evaluated.weights));
      expect(changed(start, tuned.weights).filter((name) => name.includes('moving_'))).toEqual([]);
      expect(changed(start, tuned.weights).length).toBeGreaterThan(0);
    },
  );
});

test('the tests of these tests: train mode does write moving statistics, and gives other numbers', async () => {
  for (const { build, cannotRun } of RUNNABLE) {
    const model = build();
    if (cannotRun !== undefined || batchNorms(model).length === 0) continue;
    randomise(model, 1);
    const x = inputsFor(model, 2);
    const [batch, statistics] = [applied(model, x, true), movingStatistics(model)];
    compile(model, tf.train.sgd(0.01));
    await train(model, 1);
    expect(changed(statistics, movingStatistics(model))).toEqual(Object.keys(statistics));
    randomise(model, 1);
    setMode(model, 'eval');
    expect(largestDifference(applied(model, x, true), batch)).toBeGreaterThan(1e-2);
  }
});

test('the tests of these tests: a snapshot sees eval, tune, and an activation more or less', () => {
  const { build } = RUNNABLE[0];
  const model = build();
  const seen = [snapshot(model)];
  for (const step of [
    () => setMode(model, 'eval'),
    () => enableTuneMode(model, { fuseActivation: false }),
    () => enableTuneMode(model),
  ]) {
    step();
    seen.push(snapshot(model));
  }
  for (const a of seen) for (const b of seen) expect(changes(a, b).length > 0).toBe(a !== b);
});
