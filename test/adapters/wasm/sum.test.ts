/**
 * Sum over leading axes on wasm. Whole numbers below 2¹¹ are added exactly by float32 as long as the total stays below
 * 2²⁴, so the tolerance is zero; the one rounding test says so.
 */
import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../../helpers/backends';

const values = (size: number) => Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 2047) - 1023);

beforeAll(() => useBackend('wasm'));

test.each<[shape: number[], axes: number | number[] | undefined, keepDims: boolean]>([
  [[5, 3], 0, false],
  [[2, 3, 4, 5], [0, 1, 2], false],
  [[2, 3, 4, 5], [2, 0, 1], false],
  [[2, 3, 4, 5], [0, -3, 2], false],
  [[2, 3, 4, 5], [0], false],
  [[2, 3, 4, 5], [0, 1], true],
  [[2, 3, 4, 5], [1, 2], false],
  [[2, 3, 4, 5], [3], false],
  [[2, 3, 4, 5], [0, 1, 2, 3], false],
  [[2, 3, 4, 5], undefined, false],
  [[0, 3], 0, false],
  [[7, 1], 0, false],
  [[1, 1, 9], [0, 1], false],
])('shape %j over axes %j, keepDims %s', async (shape, axes, keepDims) => {
  const data = values(shape.reduce((a, b) => a * b, 1));
  const on = async (backend: 'cpu' | 'wasm') => {
    await useBackend(backend);
    const x = tf.tensor(data, shape);
    const y = tf.sum(x, axes, keepDims);
    return { shape: y.shape, data: Array.from(await y.data()) };
  };
  expect(await on('wasm')).toEqual(await on('cpu'));
});

test.each<[tf.DataType]>([['int32'], ['bool']])('%s is summed as on cpu', async (dtype) => {
  const on = async (backend: 'cpu' | 'wasm') => {
    await useBackend(backend);
    const y = tf.sum(tf.tensor([1, 0, 1, 1, 1, 0], [3, 2], dtype), 0);
    return { dtype: y.dtype, data: Array.from(await y.data()) };
  };
  expect(await on('wasm')).toEqual(await on('cpu'));
});

test('adds up in double precision: 2²⁴ ones and a half are not lost', async () => {
  await useBackend('wasm');
  const big = tf.tensor([2 ** 24, ...Array(64).fill(0.5)], [65, 1]);
  // In float32, 2²⁴ + 0.5 is 2²⁴ again; the true sum 2²⁴ + 32 is representable.
  expect(tf.sum(big, 0).dataSync()[0]).toBe(2 ** 24 + 32);
});

test('does not leak, nor change its input', async () => {
  await useBackend('wasm');
  const x = tf.tensor(values(60), [3, 4, 5]);
  const before = tf.memory().numTensors;
  const y = tf.sum(x, [0, 1]);
  expect(tf.memory().numTensors).toBe(before + 1);
  y.dispose();
  expect(Array.from(x.dataSync())).toEqual(Array.from(values(60)));
});

test('NaN and infinities stay in their own channel', async () => {
  await useBackend('wasm');
  const y = tf.sum(tf.tensor([Number.NaN, 1, Number.POSITIVE_INFINITY, 1, 2, 3], [2, 3]), 0);
  expect(Array.from(y.dataSync())).toEqual([Number.NaN, 3, Number.POSITIVE_INFINITY]);
});
