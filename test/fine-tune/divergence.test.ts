/** A learning rate that is far too large: the run ends, the best epoch is kept, and a smaller rate is advised. */
import * as tf from '@tensorflow/tfjs-core';
import { type EpochRecord, type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { evaluate } from '../../src/fine-tune/evaluate';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { disposeLayers, disposeToy, tinyNet, toy } from './toy';

const GIVEN: FineTuneOptions = { epochs: 3, batchSize: 4, patience: 99, seed: 1 };
const SMALL = { train: 8, val: 4, size: 8 };

const allFinite = (values: Record<string, number[]>) =>
  Object.values(values).every((each) => each.every(Number.isFinite));

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([
    ['adam', 1e20],
    ['adam', 1e37],
    ['sgd', 1e30],
    ['rmsprop', 1e25],
  ] as const)(
    '%s at %f: finite weights of the best epoch, whatever became of the others',
    async (optimizer, learningRate) => {
      const [source, data] = [tinyNet(), toy(SMALL)];
      const before = weightValues(source);
      const tensors = tf.memory().numTensors;
      const result = await fineTune(source, data, { ...GIVEN, optimizer, learningRate });
      expect(tf.memory().numTensors - tensors).toBe(2);
      expect(result.bestEpoch).toBe(0);
      expect(weightValues(source)).toEqual(before);
      expect(allFinite(weightValues(result.model))).toBe(true);
      const again = await evaluate(result.model, fromTensors(data.val, 4, 0, [-1, 1]));
      expect(again).toEqual(result.validation);
      expect(again.loss).toBe(result.history[0].valLoss);
      disposeLayers(source, result.model);
      disposeToy(data);
    },
  );

  test.each([
    ['adam', 1e20],
    ['sgd', 1e30],
  ] as const)('%s at %f: ending "diverged", and a smaller rate to try', async (optimizer, learningRate) => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const records: EpochRecord[] = [];
    const result = await fineTune(source, data, {
      ...GIVEN,
      optimizer,
      learningRate,
      onEpochEnd: (record) => void records.push(record),
    });
    expect(result.ending).toBe('diverged');
    expect(result.advisedLearningRate).toBeGreaterThan(0);
    expect(result.advisedLearningRate).toBeLessThan(learningRate);
    expect(result.history).toEqual(records);
    for (const { valLoss, loss } of records)
      expect(Number.isFinite(valLoss) && (loss === null || Number.isFinite(loss))).toBe(true);
    expect(records.length).toBeLessThan(4);
    disposeLayers(source, result.model);
    disposeToy(data);
  });

  test('no advice where nothing diverged', async () => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const result = await fineTune(source, data, { ...GIVEN, learningRate: 1e-3 });
    expect(result.ending).toBe('finished');
    expect(result).not.toHaveProperty('advisedLearningRate');
    disposeLayers(source, result.model);
    disposeToy(data);
  });
});
