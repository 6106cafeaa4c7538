/** The head by itself: features of a net, and a softmax regression on them. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { withNewHead } from '../../src/fine-tune/head';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { computeFeatures, type Features, trainHead } from '../../src/fine-tune/train-head';
import type { DenseLayer } from '../../src/internals';
import { useBackend } from '../helpers/backends';
import { rounding } from '../helpers/models';
import { random } from '../helpers/random';
import { disposeLayers, disposeToy, oneHot, tinyNet, toy } from './toy';

const SIZE = 6;

function makeDense(classes: number): { dense: DenseLayer; values: () => number[][] } {
  const layer = tfl.layers.dense({
    units: classes,
    activation: 'softmax',
    kernelInitializer: 'zeros',
    inputShape: [SIZE],
  });
  layer.build([null, SIZE]);
  return {
    dense: layer as unknown as DenseLayer,
    values: () => layer.getWeights().map((weight) => Array.from(weight.dataSync())),
  };
}

/** Features around a centre that the class has. */
function features(count: number, classes: number, noise: number): Features {
  const rng = random(9);
  const labels = Array.from({ length: count }, (_, i) => i % classes);
  const values = labels.flatMap((label) =>
    Array.from(rng.array(SIZE, (k) => (k === label ? 1 : 0) + noise * rng.uniform())),
  );
  const encoded = labels.flatMap((label) => Array.from({ length: classes }, (_, k) => (k === label ? 1 : 0)));
  const perClass = Array.from({ length: classes }, (_, k) => labels.filter((label) => label === k).length);
  return { values: Float32Array.from(values), oneHot: Float32Array.from(encoded), count, perClass };
}

/** Share of the rows that the head gets right, and its mean cross-entropy, in plain code. */
function judge([kernel, bias]: number[][], { values, oneHot, count }: Features) {
  const classes = bias.length;
  let [right, loss] = [0, 0];
  for (let row = 0; row < count; row++) {
    const logits = bias.map(
      (b, k) =>
        b +
        Array.from({ length: SIZE }, (_, i) => values[row * SIZE + i] * kernel[i * classes + k]).reduce(
          (x, y) => x + y,
        ),
    );
    const label = oneHot.subarray(row * classes, (row + 1) * classes).indexOf(1);
    if (logits.indexOf(Math.max(...logits)) === label) right++;
    loss += Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - logits[label]), 0));
  }
  return { accuracy: right / count, loss: loss / count };
}

const OPTIONS = { dropout: 0.2, labelSmoothing: 0.1, seed: 1 };

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([
    [2, 0.5],
    [5, 0.5],
    [3, 0.4],
  ])('%i classes with noise %f are learned', async (classes, noise) => {
    const { dense, values } = makeDense(classes);
    const set = features(60, classes, noise);
    await trainHead(dense, set, OPTIONS);
    const { accuracy, loss } = judge(values(), set);
    expect(accuracy).toBeGreaterThan(0.95);
    // Smoothed labels and few steps leave it unsure; knowing nothing costs log(classes).
    expect(loss).toBeLessThan(0.7 * Math.log(classes));
  });

  test('the same seed gives the same head, bit for bit; another one another', async () => {
    const heads: string[] = [];
    for (const seed of [1, 1, 2]) {
      const { dense, values } = makeDense(3);
      await trainHead(dense, features(40, 3, 0.5), { ...OPTIONS, seed });
      heads.push(JSON.stringify(values()));
    }
    expect(heads[1]).toBe(heads[0]);
    expect(heads[2]).not.toBe(heads[0]);
  });

  test('labels that are smoothed more make it less sure', async () => {
    const losses: number[] = [];
    for (const labelSmoothing of [0, 0.2, 0.6]) {
      const { dense, values } = makeDense(2);
      const set = features(40, 2, 0.3);
      await trainHead(dense, set, { ...OPTIONS, dropout: 0, labelSmoothing });
      losses.push(judge(values(), set).loss);
    }
    expect(losses).toEqual([...losses].sort((a, b) => a - b));
    expect(losses[2]).toBeGreaterThan(1.15 * losses[0]);
  });

  test('features that all are alike teach how frequent the classes are, and nothing else', async () => {
    const { dense, values } = makeDense(2);
    const labels = Array.from({ length: 40 }, (_, i) => (i % 4 === 0 ? 1 : 0));
    const encoded = Float32Array.from(labels.flatMap((label) => [1 - label, label]));
    const set = { values: new Float32Array(40 * SIZE), oneHot: encoded, count: 40, perClass: [30, 10] };
    await trainHead(dense, set, { ...OPTIONS, labelSmoothing: 0 });
    const [kernel, bias] = values();
    expect(kernel).toEqual(new Array(2 * SIZE).fill(0));
    // log(30 / 10), reached from 0 in the limit only.
    expect(bias[0] - bias[1]).toBeGreaterThan(0.3 * Math.log(3));
    expect(bias[0] - bias[1]).toBeLessThan(1.1 * Math.log(3));
  });

  test('the callback is told of every epoch and may stop it; no tensor is left', async () => {
    const { dense } = makeDense(3);
    const set = features(40, 3, 0.5);
    const before = tf.memory().numTensors;
    const seen: [number, number][] = [];
    await trainHead(dense, set, OPTIONS, (done, of) => void seen.push([done, of]));
    expect(seen.map(([done]) => done)).toEqual(Array.from({ length: seen[0][1] }, (_, i) => i + 1));
    expect(tf.memory().numTensors).toBe(before);
    const stop = new Error('stop');
    const run = trainHead(dense, set, OPTIONS, async (done) => {
      if (done === 3) throw stop;
    });
    await expect(run).rejects.toBe(stop);
    expect(tf.memory().numTensors).toBe(before);
  });

  describe('features', () => {
    test('are what the net gives for each picture, in plain memory, with its own label', async () => {
      const [source, data] = [tinyNet(), toy({ train: 10, val: 1, size: 8 })];
      const { features: net } = withNewHead(source, 2, 0.1);
      const tensors = tf.memory().numTensors;
      const found = await computeFeatures(net, fromTensors(data.train, 4, 1, [-1, 1]));
      expect(tf.memory().numTensors).toBe(tensors);
      expect(found.count).toBe(10);
      expect(found.perClass).toEqual([5, 5]);
      const size = found.values.length / 10;
      const expected = tf.tidy(() => (net.predict(data.train.xs) as tf.Tensor).arraySync() as number[][]);
      const labels = data.train.ys.arraySync();
      // Their order is a shuffled one: each belongs to the nearest of the expected ones, and each of those is found once.
      const nearest = Array.from({ length: 10 }, (_, row) => {
        const own = found.values.subarray(row * size, (row + 1) * size);
        const distances = expected.map((each) => Math.max(...each.map((value, i) => Math.abs(value - own[i]))));
        const index = distances.indexOf(Math.min(...distances));
        // Batches of other sizes may be computed in another order.
        expect(distances[index]).toBeLessThan(10 * rounding(source));
        expect(Array.from(found.oneHot.subarray(row * 2, row * 2 + 2))).toEqual(labels[index]);
        return index;
      });
      expect([...nearest].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      disposeLayers(source);
      disposeToy(data);
    });

    test('are the same again, and no augmented ones', async () => {
      const [source, data] = [tinyNet(), toy({ train: 10, val: 1, size: 8 })];
      const { features: net } = withNewHead(source, 2, 0.1);
      const passes: unknown[] = [];
      const pictures = fromTensors(data.train, 4, 1, [-1, 1]);
      const watched: typeof pictures = {
        size: pictures.size,
        batches: (pass) => {
          passes.push(pass);
          return pictures.batches(pass);
        },
      };
      expect(await computeFeatures(net, watched)).toEqual(await computeFeatures(net, pictures));
      expect(passes).toEqual([expect.objectContaining({ augment: false })]);
      disposeLayers(source);
      disposeToy(data);
    });

    test('without a net: only counts, of every class', async () => {
      const xs = tf.zeros([7, 4, 4, 3]) as tf.Tensor4D;
      const ys = oneHot([0, 3, 3, 0, 0, 1, 0], 4);
      const seen: number[] = [];
      const found = await computeFeatures(null, fromTensors({ xs, ys }, 3, 1, [-1, 1]), (done) => void seen.push(done));
      expect(found.perClass).toEqual([4, 1, 0, 2]);
      expect([found.values.length, found.count]).toEqual([0, 0]);
      expect(seen).toEqual([1, 2, 3]);
      expect(xs.isDisposed || ys.isDisposed).toBe(false);
      tf.dispose([xs, ys]);
    });

    test('a callback that throws ends it; no tensor is left', async () => {
      const [source, data] = [tinyNet(), toy({ train: 10, val: 1, size: 8 })];
      const { features: net } = withNewHead(source, 2, 0.1);
      const tensors = tf.memory().numTensors;
      const stop = new Error('stop');
      const run = computeFeatures(net, fromTensors(data.train, 4, 1, [-1, 1]), (done) => {
        if (done === 2) throw stop;
      });
      await expect(run).rejects.toBe(stop);
      expect(tf.memory().numTensors).toBe(tensors);
      disposeLayers(source);
      disposeToy(data);
    });
  });
});
