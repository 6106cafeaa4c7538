/** The search for a learning rate: what it chooses, and that it leaves no trace. The recipe's numbers are not pinned. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { setMode } from 'tfjs-tune-mode';
import type { BatchSource } from '../../src/fine-tune';
import { OPTIMIZER_NAMES } from '../../src/fine-tune/optimizer';
import { choose, findLearningRate } from '../../src/fine-tune/range-test';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { bn, conv, disposeLayers, disposeToy, gap, line, tinyNet, toy } from './toy';

const points = (...rates: number[]) => rates.map((learningRate) => ({ learningRate, loss: 1 }));

describe('choose', () => {
  test.each([[[1e-5, 1e-4, 1e-2]], [[0.3]], [[1e-6, 5e-6]]])(
    'of %p: below the rate at which the test ended',
    (rates) => {
      const chosen = choose(points(...rates), 1e-6);
      expect(chosen).toBeLessThan(rates.at(-1) as number);
      expect(chosen).toBeGreaterThan((rates.at(-1) as number) / 100);
    },
  );

  test('without any finite loss: less than the first rate, and not 0', () => {
    expect(choose([], 1e-3)).toBeLessThan(1e-3);
    expect(choose([], 1e-3)).toBeGreaterThan(0);
  });

  test('two digits', () => {
    expect(choose(points(0.123456), 1)).toBe(Number(choose(points(0.123456), 1).toPrecision(2)));
  });

  test('the sooner the loss exploded, the smaller', () => {
    const grid = Array.from({ length: 20 }, (_, i) => 1e-6 * 2 ** i);
    const chosen = grid.map((_, i) => choose(points(...grid.slice(0, i + 1)), 1e-6));
    expect(chosen).toEqual([...chosen].sort((a, b) => a - b));
    expect(new Set(chosen).size).toBeGreaterThan(15);
  });
});

const SETTINGS = { labelSmoothing: 0.1, augment: true };
/** ReLU6 would hold back what the pictures of the exploding source do to the loss. */
const unbounded = () =>
  line(
    [8, 8, 3],
    [conv('c1', 4), bn('n1'), tfl.layers.reLU({}), gap(), tfl.layers.dense({ units: 2, activation: 'softmax' })],
  );

/** Blows up the pictures from some batch on, so that the loss explodes. */
function exploding(pictures: BatchSource, from: number, factor: number): BatchSource & { asked: number } {
  const source = {
    size: pictures.size,
    asked: 0,
    async *batches(pass: Parameters<BatchSource['batches']>[0]) {
      for await (const batch of pictures.batches(pass)) {
        if (source.asked++ >= from) {
          const xs = tf.mul(batch.xs, factor) as tf.Tensor4D;
          const ys = tf.reverse(batch.ys, 1) as tf.Tensor2D;
          tf.dispose([batch.xs, batch.ys]);
          yield { xs, ys };
        } else yield batch;
      }
    },
  };
  return source;
}

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(OPTIMIZER_NAMES)('%s: the weights come back bit-identical, and no tensor is left', async (optimizer) => {
    const [model, data] = [tinyNet(), toy({ train: 8, val: 2, size: 8 })];
    setMode(model, 'tune');
    const pictures = fromTensors(data.train, 4, 0, [-1, 1]);
    const before = weightValues(model);
    const tensors = tf.memory().numTensors;
    const { learningRate, points } = await findLearningRate(model, pictures, { ...SETTINGS, optimizer });
    expect(weightValues(model)).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(points.length).toBeGreaterThan(1);
    for (let i = 1; i < points.length; i++) expect(points[i].learningRate).toBeGreaterThan(points[i - 1].learningRate);
    for (const { loss } of points) expect(Number.isFinite(loss)).toBe(true);
    expect(learningRate).toBe(choose(points, points[0].learningRate));
    // The same again gives the same: what it does is fixed by the pictures.
    expect(await findLearningRate(model, pictures, { ...SETTINGS, optimizer })).toEqual({ learningRate, points });
    disposeLayers(model);
    disposeToy(data);
  });

  test('moving statistics come back, too, where the test has moved them', async () => {
    const [model, data] = [tinyNet(), toy({ train: 8, val: 2, size: 8 })];
    setMode(model, 'train');
    const before = weightValues(model);
    await findLearningRate(model, fromTensors(data.train, 4, 0, [-1, 1]), { ...SETTINGS, optimizer: 'adam' });
    expect(weightValues(model)).toEqual(before);
    disposeLayers(model);
    disposeToy(data);
  });

  test.each([
    ['explodes', 1e4],
    ['is no number', Number.NaN],
  ])('a loss that %s ends it early, with a smaller rate', async (_name, factor) => {
    const [model, data] = [unbounded(), toy({ train: 8, val: 2, size: 8 })];
    setMode(model, 'tune');
    const pictures = fromTensors(data.train, 4, 0, [-1, 1]);
    const calm = await findLearningRate(model, pictures, { ...SETTINGS, optimizer: 'adam' });
    const source = exploding(pictures, 5, factor);
    const before = weightValues(model);
    const tensors = tf.memory().numTensors;
    const found = await findLearningRate(model, source, { ...SETTINGS, optimizer: 'adam' });
    expect(found.points.length).toBeLessThan(calm.points.length);
    expect(found.learningRate).toBeLessThan(calm.learningRate);
    // Not a batch more is asked for than steps are taken, the last of which may have had a loss that is no number.
    expect(source.asked).toBeLessThanOrEqual(found.points.length + 1);
    expect(weightValues(model)).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
    disposeLayers(model);
    disposeToy(data);
  });

  test('a callback that throws in the middle: the weights come back, no tensor is left', async () => {
    const [model, data] = [tinyNet(), toy({ train: 8, val: 2, size: 8 })];
    setMode(model, 'tune');
    const before = weightValues(model);
    const tensors = tf.memory().numTensors;
    for (const at of [0, 1, 7]) {
      const stop = new Error('stop');
      let calls = 0;
      const run = findLearningRate(
        model,
        fromTensors(data.train, 4, 0, [-1, 1]),
        { ...SETTINGS, optimizer: 'sgd' },
        () => {
          if (calls++ === at) throw stop;
        },
      );
      await expect(run).rejects.toBe(stop);
      expect(weightValues(model)).toEqual(before);
      expect(tf.memory().numTensors).toBe(tensors);
    }
    disposeLayers(model);
    disposeToy(data);
  });
});
