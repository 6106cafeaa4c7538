/** The comparison before anything is written, and layers that are saved frozen. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { type LayersModel, layers, sequential } from '@tensorflow/tfjs-layers';
import { thaw } from '../../cli/finetune/thaw';
import { compare } from '../../cli/finetune/write-result';
import type { BatchSource } from '../../src/fine-tune';

beforeAll(() => tf.setBackend('cpu'));

/** Two batches of two pictures. */
const pictures: BatchSource = {
  size: 2,
  async *batches() {
    for (let i = 0; i < 2; i++) yield { xs: tf.zeros([2, 4, 4, 3]), ys: tf.tensor2d([1, 0, 0, 1], [2, 2]) };
  },
};
/** A model that answers each batch with these numbers. */
const answering = (...rows: number[][]) => {
  let at = 0;
  return { predictOnBatch: () => tf.tensor2d(rows[at++], [2, 2]) } as unknown as LayersModel;
};
const even = [0.5, 0.5, 0.5, 0.5];

test('equal within rounding: the largest difference is told, and no tensor is left', async () => {
  const alive = tf.memory().numTensors;
  const off = [0.5, 0.5, 0.500001, 0.5];
  expect(await compare(answering(even, even), answering(off, even), pictures)).toBeCloseTo(1e-6, 7);
  expect(tf.memory().numTensors).toBe(alive);
});

test.each([0, 1, 2, 3])('NaN at place %i of the first batch is refused, whatever comes after it', async (place) => {
  const bad = even.map((value, i) => (i === place ? Number.NaN : value));
  await expect(compare(answering(even, even), answering(bad, even), pictures)).rejects.toThrow(/differ by NaN/);
  await expect(compare(answering(bad, even), answering(bad, even), pictures)).rejects.toThrow(/differ by NaN/);
});

test('a difference beyond rounding is refused', async () => {
  const off = [0.5, 0.5, 0.5, 0.51];
  await expect(compare(answering(even, even), answering(even, off), pictures)).rejects.toThrow(/nothing was written/);
});

test('frozen layers are thawed, nested ones too; moving statistics stay what they are', () => {
  const inner = sequential({
    layers: [
      layers.conv2d({ inputShape: [8, 8, 3], filters: 2, kernelSize: 3, trainable: false }),
      layers.batchNormalization({ trainable: false }),
    ],
  });
  const dense = layers.dense({ units: 2 });
  const model = sequential({ layers: [inner, layers.globalAveragePooling2d({}), dense] });
  inner.trainable = false;
  expect(model.trainableWeights).toHaveLength(2);
  expect(thaw(model)).toBe(2);
  // Conv kernel and bias, γ, β, Dense kernel and bias; not the two moving statistics.
  expect(model.trainableWeights).toHaveLength(6);
  expect(model.nonTrainableWeights).toHaveLength(2);
  expect(thaw(model)).toBe(0);
});
