/**
 * The fused kernel TuneFrozenBatchNormGrad on wasm against the formulas written with tfjs's ops, on the cpu backend.
 *
 * Every number is a small multiple of a power of two, so no operation here rounds, in whatever order it is done: results
 * must be equal.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { useBackend } from '../../helpers/backends';
import { guardHeap } from './canaries';
import { expectEqual, input, wholeNumbers } from './cases';
import { onCpu, rowsAndChannels, runFused, shaped, tensorOf } from './fused-run';

guardHeap();
beforeEach(() => useBackend('wasm'));

describe('TuneFrozenBatchNormGrad', () => {
  const quarters = (size: number, seed: number) => wholeNumbers(size, seed).map((v) => v / 4);

  test('equals the plain ops for any shape', async () => {
    await fc.assert(
      fc.asyncProperty(
        rowsAndChannels,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 1e6 }),
        async ([rows, channels], axes, seed) => {
          const shape = shaped(rows, channels, axes);
          const dy = input(shape, seed);
          const x = input(shape, seed + 1);
          const scale = { shape: [channels], values: quarters(channels, seed + 2) };
          const mean = { shape: [channels], values: quarters(channels, seed + 3) };
          const expected = await onCpu(() => {
            const t = { dy: tensorOf(dy), x: tensorOf(x), scale: tensorOf(scale), mean: tensorOf(mean) };
            const over = shape.map((_, axis) => axis).slice(0, -1);
            return [
              tf.mul(t.dy, t.scale),
              tf.sum(t.dy, over),
              tf.sum(tf.mul(t.dy, tf.sub(t.x, t.mean)), over),
            ] as tf.Tensor[];
          });
          const found = runFused('TuneFrozenBatchNormGrad', { dy, x, scale, mean }, { reuse: false });
          expect(found).toHaveLength(3);
          found.forEach((result, i) => {
            expectEqual(result, expected[i]);
          });
        },
      ),
      { numRuns: 100 },
    );
  });

  test('takes dy’s memory only with `reuse` and with nobody else there', () => {
    const values = wholeNumbers(35, 3);
    const scale = tf.tensor1d([2, -1, 0.5, 4, 1]);
    const mean = tf.zeros([5]);
    const x = tf.ones([7, 5]);
    const run = (dy: tf.Tensor, reuse: boolean) => {
      const inputs = { dy, x, scale, mean };
      return tf.engine().runKernel('TuneFrozenBatchNormGrad', inputs, { reuse }) as unknown as tf.Tensor[];
    };
    const expected = Array.from(values, (v, i) => v * [2, -1, 0.5, 4, 1][i % 5] + 0);
    for (const [reuse, shared] of [
      [true, false],
      [true, true],
      [false, false],
    ]) {
      const dy = tf.tensor(values, [7, 5]);
      const other = shared ? dy.clone() : null;
      const results = run(dy, reuse);
      expect(results[0].dataId === dy.dataId).toBe(reuse && !shared);
      if (!(reuse && !shared)) expect(Array.from(dy.dataSync())).toEqual(Array.from(values));
      if (other !== null) expect(Array.from(other.dataSync())).toEqual(Array.from(values));
      dy.dispose();
      expect(Array.from(results[0].dataSync(), (v) => v + 0)).toEqual(expected);
      tf.dispose([results, other ?? []]);
    }
    tf.dispose([scale, mean, x]);
  });

  test('NaN and infinity stay in their own channel', () => {
    const dy = { shape: [2, 5], values: Float32Array.of(Number.NaN, 1, 1, 1, Number.POSITIVE_INFINITY, 1, 1, 1, 1, 1) };
    const x = { shape: [2, 5], values: Float32Array.of(1, Number.NaN, 1, Number.NEGATIVE_INFINITY, 1, 1, 1, 1, 1, 1) };
    const ones = { shape: [5], values: new Float32Array(5).fill(1) };
    const zeros = { shape: [5], values: new Float32Array(5) };
    const [dx, sums, products] = runFused(
      'TuneFrozenBatchNormGrad',
      { dy, x, scale: ones, mean: zeros },
      { reuse: false },
    );
    const { NaN: N, POSITIVE_INFINITY: P, NEGATIVE_INFINITY: M } = Number;
    expect(Array.from(dx.values)).toEqual([N, 1, 1, 1, P, 1, 1, 1, 1, 1]);
    expect(Array.from(sums.values)).toEqual([N, 2, 2, 2, P]);
    expect(Array.from(products.values)).toEqual([N, N, 2, M, P]);
  });
});
