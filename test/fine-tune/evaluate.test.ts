/** Evaluation against the same by hand. The "model" is a softmax of the pictures themselves, so that we choose its answers. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { evaluate, labelsOf } from '../../src/fine-tune/evaluate';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { random } from '../helpers/random';
import { oneHot } from './toy';

const CLASSES = 3;
const build = () => {
  const inputs = tfl.input({ shape: [1, 1, CLASSES] });
  const flat = tfl.layers.flatten({}).apply(inputs) as tfl.SymbolicTensor;
  return tfl.model({ inputs, outputs: tfl.layers.softmax({}).apply(flat) as tfl.SymbolicTensor });
};

function setOf(rows: number[][], labels: number[]) {
  return { xs: tf.tensor4d(rows.flat(), [rows.length, 1, 1, CLASSES]), ys: oneHot(labels, CLASSES) };
}

const softmax = (row: number[]) => {
  const exp = row.map((x) => Math.exp(x - Math.max(...row)));
  const sum = exp.reduce((a, b) => a + b);
  return exp.map((e) => e / sum);
};

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  const rng = random(3);
  const rows = Array.from({ length: 23 }, () => Array.from(rng.array(CLASSES, () => rng.uniform(-3, 3))));
  const labels = rows.map((_, index) => (index * 7) % CLASSES);

  test.each([1, 4, 23, 64])('loss, accuracy, confusion and mistakes by hand, in batches of %i', async (batchSize) => {
    const set = setOf(rows, labels);
    const found = await evaluate(build(), fromTensors(set, batchSize, 0, [-1, 1]));

    const probabilities = rows.map(softmax);
    const predicted = probabilities.map((p) => p.indexOf(Math.max(...p)));
    const loss = labels.reduce((sum, label, i) => sum - Math.log(probabilities[i][label]), 0) / labels.length;
    // A float32 softmax: exp, sum and quotient are within 8 · 2⁻²⁴ of their value, and so is p; log p within that.
    expect(Math.abs(found.loss - loss)).toBeLessThan(8 * 2 ** -24 * 8);
    expect(found.accuracy).toBe(labels.filter((label, i) => label === predicted[i]).length / labels.length);
    const confusion = [0, 1, 2].map((label) =>
      [0, 1, 2].map((guess) => labels.filter((l, i) => l === label && predicted[i] === guess).length),
    );
    expect(found.confusion).toEqual(confusion);

    const wrong = labels.map((_, i) => i).filter((i) => labels[i] !== predicted[i]);
    expect(wrong.length).toBeGreaterThan(5);
    wrong.sort((a, b) => probabilities[a][labels[a]] - probabilities[b][labels[b]]);
    expect(found.mistakes.map(({ index }) => index)).toEqual(wrong);
    for (const { index, label, predicted: guess, probability, probabilityOfLabel } of found.mistakes) {
      expect([label, guess]).toEqual([labels[index], predicted[index]]);
      expect(Math.abs(probability - probabilities[index][guess])).toBeLessThan(8 * 2 ** -24);
      expect(Math.abs(probabilityOfLabel - probabilities[index][label])).toBeLessThan(8 * 2 ** -24);
      expect(probability).toBeGreaterThan(probabilityOfLabel);
    }
    tf.dispose([set.xs, set.ys]);
  });

  test('of many mistakes the worst are kept, wherever they are', async () => {
    const count = 200;
    // The later, the worse up to the middle, then better again.
    const strength = (i: number) => 3 - Math.abs(i - 100) / 50;
    const set = setOf(
      Array.from({ length: count }, (_, i) => [strength(i), 0, 0]),
      new Array(count).fill(1),
    );
    const { mistakes, confusion } = await evaluate(build(), fromTensors(set, 16, 0, [-1, 1]));
    expect(confusion).toEqual([
      [0, 0, 0],
      [count, 0, 0],
      [0, 0, 0],
    ]);
    expect(mistakes.length).toBeLessThan(50);
    expect(mistakes.length).toBeGreaterThan(10);
    const reach = mistakes.length;
    for (const { index } of mistakes) expect(Math.abs(index - 100)).toBeLessThanOrEqual(reach / 2);
    const given = mistakes.map(({ probabilityOfLabel }) => probabilityOfLabel);
    expect(given).toEqual([...given].sort((a, b) => a - b));
    expect(mistakes[0].index).toBe(100);
    tf.dispose([set.xs, set.ys]);
  });

  test('a probability of 0 does not cost infinitely much', async () => {
    const set = setOf([[200, 0, 0]], [2]);
    const { loss, accuracy } = await evaluate(build(), fromTensors(set, 1, 0, [-1, 1]));
    expect(loss).toBeCloseTo(-Math.log(1e-7), 6);
    expect(accuracy).toBe(0);
    tf.dispose([set.xs, set.ys]);
  });

  test('no mistakes where all are right; a tie is the first class’s', async () => {
    const set = setOf(
      [
        [1, 0, 0],
        [0, 0, 2],
        [0.5, 0.5, 0.5],
      ],
      [0, 2, 0],
    );
    const { mistakes, accuracy, confusion } = await evaluate(build(), fromTensors(set, 2, 0, [-1, 1]));
    expect(mistakes).toEqual([]);
    expect(accuracy).toBe(1);
    expect(confusion).toEqual([
      [2, 0, 0],
      [0, 0, 0],
      [0, 0, 1],
    ]);
    tf.dispose([set.xs, set.ys]);
  });

  test('names of files are kept where there are any, and only there', async () => {
    const set = setOf(
      [
        [1, 0, 0],
        [1, 0, 0],
      ],
      [1, 2],
    );
    const plain = fromTensors(set, 2, 0, [-1, 1]);
    const named = {
      size: 1,
      async *batches(pass: Parameters<typeof plain.batches>[0]) {
        for await (const batch of plain.batches(pass)) yield { ...batch, files: ['a.png', 'b.png'] };
      },
    };
    expect((await evaluate(build(), named)).mistakes.map(({ file }) => file)).toEqual(['a.png', 'b.png']);
    for (const mistake of (await evaluate(build(), plain)).mistakes) expect(mistake).not.toHaveProperty('file');
    tf.dispose([set.xs, set.ys]);
  });

  test('numbers that are none give a loss that is none, not a good one', async () => {
    const set = setOf(
      [
        [1, 0, 0],
        [Number.NaN, Number.NaN, Number.NaN],
      ],
      [0, 0],
    );
    expect((await evaluate(build(), fromTensors(set, 2, 0, [-1, 1]))).loss).toBe(Number.NaN);
    tf.dispose([set.xs, set.ys]);
  });

  test('a callback that throws ends it at once; nothing is left, and the pictures stay', async () => {
    const set = setOf(rows, labels);
    const model = build();
    const before = tf.memory().numTensors;
    const seen: number[] = [];
    const stop = new Error('stop');
    const run = evaluate(model, fromTensors(set, 5, 0, [-1, 1]), async (done) => {
      seen.push(done);
      if (done === 3) throw stop;
    });
    await expect(run).rejects.toBe(stop);
    expect(seen).toEqual([1, 2, 3]);
    await evaluate(model, fromTensors(set, 5, 0, [-1, 1]));
    expect(tf.memory().numTensors).toBe(before);
    expect(set.xs.isDisposed || set.ys.isDisposed).toBe(false);
    tf.dispose([set.xs, set.ys]);
  });
});

test.each([
  [[1, 0, 0, 0, 0, 1], 3, [0, 2]],
  [[0, 1, 1, 0], 2, [1, 0]],
  [[], 4, []],
])('labels of %p in %i classes', (values, classes, expected) => {
  expect(labelsOf(Float32Array.from(values), classes)).toEqual(expected);
});
