/** What a seed fixes, and what it does not. */
import * as tf from '@tensorflow/tfjs-core';
import type { FineTuneOptions } from '../../src/fine-tune';
import { useBackend } from '../helpers/backends';
import { largestDifference, rounding } from '../helpers/models';
import { disposeLayers, tinyNet } from './toy';

import { BACKENDS, once } from './whole-runs';

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
