/** UnsortedSegmentSum against the cpu backend, number by number (see cases.ts for why no tolerance is needed). */
import * as tf from '@tensorflow/tfjs-core';
// Registers the gradients.
import '@tensorflow/tfjs-layers';
import fc from 'fast-check';
import { useBackend } from '../../helpers/backends';
import { wholeNumbers } from './cases';

async function sumOn(
  backend: 'cpu' | 'wasm',
  x: number[],
  ids: number[],
  segments: number,
  dtype: 'float32' | 'int32',
) {
  await useBackend(backend);
  return tf.tidy(() => {
    const values = wholeNumbers(tf.util.sizeFromShape(x), 7);
    const y = tf.unsortedSegmentSum(tf.tensor(values, x, dtype), tf.tensor1d(ids, 'int32'), segments);
    return { shape: y.shape, values: Array.from(y.dataSync(), (v) => v + 0) };
  });
}

async function compare(x: number[], ids: number[], segments: number, dtype: 'float32' | 'int32' = 'float32') {
  const expected = await sumOn('cpu', x, ids, segments, dtype);
  expect(await sumOn('wasm', x, ids, segments, dtype)).toEqual(expected);
}

test.each<[name: string, x: number[], ids: number[], segments: number]>([
  ['a list', [5], [0, 2, 0, 1, 2], 3],
  ['rows', [4, 3], [1, 1, 0, 3], 5],
  ['rank 5', [3, 2, 1, 2, 2], [2, 0, 2], 3],
  ['a segment without rows', [2, 3], [3, 3], 4],
  ['negative ids', [4, 2], [-1, 0, -7, 1], 2],
  ['ids too large', [4, 2], [2, 0, 99, 2147483647], 2],
  ['no id that counts', [2, 2], [-1, 5], 3],
  ['rows of no numbers', [3, 0], [0, 1, 0], 2],
  ['no rows', [0, 2], [], 3],
  ['one segment', [6, 1], [0, 0, 0, 0, 0, 0], 1],
])('equals cpu: %s', async (_name, x, ids, segments) => {
  await compare(x, ids, segments);
  await compare(x, ids, segments, 'int32');
});

test('equals cpu for any shape and any ids', async () => {
  const shapes = fc.array(fc.nat(4), { minLength: 1, maxLength: 5 });
  const cases = fc.tuple(shapes, fc.integer({ min: 1, max: 6 })).chain(([x, segments]) =>
    fc.record({
      x: fc.constant(x),
      segments: fc.constant(segments),
      ids: fc.array(fc.oneof(fc.integer({ min: -2, max: segments + 1 }), fc.integer()), {
        minLength: x[0],
        maxLength: x[0],
      }),
      dtype: fc.constantFrom<'float32' | 'int32'>('float32', 'int32'),
    }),
  );
  await fc.assert(
    fc.asyncProperty(cases, ({ x, ids, segments, dtype }) => compare(x, ids, segments, dtype)),
    { numRuns: 300 },
  );
});

test('writes nowhere but into its output, whatever the ids are', async () => {
  await useBackend('wasm');
  const wild = fc.array(fc.oneof(fc.integer(), fc.integer({ min: -9, max: 9 })), { minLength: 8, maxLength: 8 });
  const x = tf.fill([8, 3], 123.5);
  fc.assert(
    fc.property(wild, (ids) => {
      // The output takes one of the holes between them.
      const guards = Array.from({ length: 40 }, () => tf.fill([4, 3], 7));
      for (let i = 0; i < 40; i += 2) guards[i].dispose();
      const segmentIds = tf.tensor1d(ids, 'int32');
      const y = tf.unsortedSegmentSum(x, segmentIds, 4);
      const kept = guards.filter((guard) => !guard.isDisposed);
      for (const guard of kept) expect(Array.from(guard.dataSync())).toEqual(Array(12).fill(7));
      expect(Array.from(segmentIds.dataSync())).toEqual(ids);
      tf.dispose([segmentIds, y, kept]);
    }),
    { numRuns: 50 },
  );
  expect(Array.from(x.dataSync())).toEqual(Array(24).fill(123.5));
  x.dispose();
});

test('NaN stays in its own segment', async () => {
  await useBackend('wasm');
  const y = tf.unsortedSegmentSum(tf.tensor1d([Number.NaN, 1, 2, Number.POSITIVE_INFINITY]), [0, 1, 1, 2], 3);
  expect(Array.from(y.dataSync())).toEqual([Number.NaN, 3, Number.POSITIVE_INFINITY]);
  y.dispose();
});

test('whole numbers stay whole numbers', async () => {
  await useBackend('wasm');
  const y = tf.unsortedSegmentSum(tf.tensor1d([2 ** 25, 1, 1], 'int32'), [0, 0, 1], 2);
  expect(y.dtype).toBe('int32');
  // In float32, 2²⁵ + 1 is 2²⁵.
  expect(Array.from(y.dataSync())).toEqual([2 ** 25 + 1, 1]);
  y.dispose();
});

test('no segments give an empty tensor', async () => {
  await useBackend('wasm');
  const y = tf.unsortedSegmentSum(tf.ones([2, 3]), tf.tensor1d([0, 1], 'int32'), 0);
  expect([y.shape, y.dataSync().length]).toEqual([[0, 3], 0]);
});

test.each<[name: string, x: number[], ids: number[]]>([
  ['a number of ids that is not the number of rows', [3, 2], [2]],
  ['ids that are no list', [2, 2], [2, 2]],
  ['x without rows to sum', [], [1]],
])('refuses %s, and leaves no tensor', async (_name, x, ids) => {
  await useBackend('wasm');
  const before = tf.memory().numTensors;
  const inputs = { x: tf.ones(x), segmentIds: tf.zeros(ids, 'int32') };
  expect(() => tf.engine().runKernel('UnsortedSegmentSum', inputs, { numSegments: 2 })).toThrow(
    expect.objectContaining({ code: 'unsupported' }),
  );
  tf.dispose(inputs);
  expect(tf.memory().numTensors).toBe(before);
});

test('the gradient of gather leaks nothing and equals cpu, along every axis', async () => {
  const on = async (backend: 'cpu' | 'wasm', axis: number) => {
    await useBackend(backend);
    const before = tf.memory().numTensors;
    const values = tf.tidy(() => {
      const x = tf.tensor(wholeNumbers(60, 1), [3, 4, 5]);
      const indices = tf.tensor([0, 2, 2, 1, 0, 2], [2, 3], 'int32');
      const dy = tf.tensor(wholeNumbers(tf.gather(x, indices, axis).size, 2), tf.gather(x, indices, axis).shape);
      return Array.from(
        tf
          .grad((x) => tf.gather(x, indices, axis))(x, dy)
          .dataSync(),
      );
    });
    expect(tf.memory().numTensors).toBe(before);
    return values;
  };
  for (const axis of [0, 1, 2]) expect(await on('wasm', axis)).toEqual(await on('cpu', axis));
});

test('one call leaves its output and nothing else', async () => {
  await useBackend('wasm');
  const x = tf.ones([4, 3]);
  const segmentIds = tf.tensor1d([0, 1, 1, -1], 'int32');
  const { numTensors, numDataBuffers, numBytes } = tf.memory();
  const y = tf.unsortedSegmentSum(x, segmentIds, 2);
  expect(tf.memory()).toMatchObject({
    numTensors: numTensors + 1,
    numDataBuffers: numDataBuffers + 1,
    numBytes: numBytes + 6 * 4,
  });
  tf.dispose([x, segmentIds, y]);
});
