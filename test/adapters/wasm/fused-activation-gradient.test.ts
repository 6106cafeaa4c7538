/**
 * The fused kernel TuneActivationGrad on wasm against the formula written with tfjs's ops, on the cpu backend.
 *
 * Where every number is a small multiple of a power of two, no operation here rounds, in whatever order it is done: those
 * results must be equal. Where square roots come in, tolerances are counted in roundings of u = 2⁻²⁴, at the place.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import type { BlockActivation } from '../../../src/activations';
import { useBackend } from '../../helpers/backends';
import { random } from '../../helpers/random';
import { guardHeap, wasmBackend } from './canaries';
import { expectEqual, input, type Result, wholeNumbers } from './cases';
import { ACTIVATIONS, ALPHA, NAMES } from './fused-activations';
import { expectWithin, onCpu, rowsAndChannels, runFused, shaped, sizeOf, tensorOf, U } from './fused-run';

guardHeap();
beforeEach(() => useBackend('wasm'));

/** dz and Σ dz by tfjs's ops. */
function plainActivationGradient(name: BlockActivation['name'], dy: Result, y: Result): Promise<Result[]> {
  return onCpu(() => {
    const dz = ACTIVATIONS[name].activation().gradient(tensorOf(dy), tensorOf(y));
    const axes = dz.shape.map((_, axis) => axis).slice(0, -1);
    return [dz, tf.sum(dz, axes)];
  });
}

describe('TuneActivationGrad', () => {
  const attrsOf = (activation: BlockActivation['name'], reuse = false) => ({
    activation,
    alpha: activation === 'leakyrelu' ? ALPHA : undefined,
    reuse,
  });

  test.each(NAMES)('%s: equals the plain ops for any shape', async (name) => {
    await fc.assert(
      fc.asyncProperty(
        rowsAndChannels,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 1e6 }),
        async ([rows, channels], axes, seed) => {
          const shape = shaped(rows, channels, axes);
          const dy = input(shape, seed);
          const y = { shape, values: wholeNumbers(sizeOf(shape), seed + 1).map(ACTIVATIONS[name].y) };
          const expected = await plainActivationGradient(name, dy, y);
          const found = runFused('TuneActivationGrad', { dy, y }, attrsOf(name));
          expect(found).toHaveLength(2);
          found.forEach((result, i) => {
            expectEqual(result, expected[i]);
          });
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each(NAMES)('%s: numbers that round', async (name) => {
    const rng = random(5);
    const shape = [3000, 5];
    const dy = { shape, values: rng.array(sizeOf(shape)) };
    const inside = { sigmoid: [0, 1], tanh: [-1, 1], elu: [-1, 3], leakyrelu: [-1, 3], relu: [0, 3], relu6: [0, 6] };
    const [low, high] = inside[name];
    const y = { shape, values: rng.array(sizeOf(shape), () => rng.uniform(low, high)) };
    const [dz, db] = await plainActivationGradient(name, dy, y);
    const found = runFused('TuneActivationGrad', { dy, y }, attrsOf(name));
    // 1 − y² rounds y² and the difference, each off by u at most; (1 + y)(1 − y) both factors and the product, off by 3u of
    // at most 1; then each is multiplied by dy. The other slopes are the same operations in both.
    const slope = name === 'tanh' ? 8 * U : 0;
    expectWithin(found[0], dz, (i) => slope * Math.abs(dy.values[i]));
    // A column's sum: in floats over a chunk of 409 rows, then in doubles, and rounded once. The plain one is in doubles.
    const sizes = Array.from({ length: 5 }, (_, k) =>
      dz.values.reduce(
        (sum, value, i) => (i % 5 === k ? sum + Math.abs(value) + slope * Math.abs(dy.values[i]) : sum),
        0,
      ),
    );
    expectWithin(found[1], db, (k) => (409 + 2) * U * sizes[k] + 3000 * slope);
  });

  test('at the kinks, at NaN and at infinity: as the formula, every bit of it', async () => {
    const { NaN: N, POSITIVE_INFINITY: P, NEGATIVE_INFINITY: M } = Number;
    // What the activation can give: a column each, then 13 columns more, so that both the four at a time and the rest occur.
    const reachable: Record<BlockActivation['name'], number[]> = {
      relu: [0, -0, 1e-45, 6, P, N],
      relu6: [0, -0, 1e-45, 6, 5.9999995, N],
      leakyrelu: [0, -0, -1e-45, 6, P, M],
      elu: [0, -0, -1, 1e-45, P, N],
      sigmoid: [0, 1, 0.5, 1e-45, 1 - 2 ** -24, N],
      tanh: [-1, 1, 0, -0, 1 - 2 ** -24, N],
    };
    for (const name of NAMES) {
      for (const shift of [0, 1, 2, 3]) {
        const columns = [...Array(shift).fill(0.5), ...reachable[name], ...reachable[name], ...reachable[name]];
        for (const upstream of [1, -2, 0, N, P, M]) {
          const shape = [1, columns.length];
          const y = { shape, values: Float32Array.from(columns) };
          const dy = { shape, values: Float32Array.from(columns, () => upstream) };
          const expected = await plainActivationGradient(name, dy, y);
          const found = runFused('TuneActivationGrad', { dy, y }, attrsOf(name));
          expect([name, upstream, ...Array.from(found[0].values, (v) => v + 0)]).toEqual([
            name,
            upstream,
            ...Array.from(expected[0].values, (v) => v + 0),
          ]);
          expectEqual(found[1], expected[1]);
        }
      }
    }
  });

  test('a NaN in y is a NaN for leakyrelu too, where tfjs’s own gradient takes it for a negative number', () => {
    const y = { shape: [5], values: Float32Array.of(Number.NaN, 1, -1, Number.NaN, 2) };
    const dy = { shape: [5], values: Float32Array.of(1, 2, 3, 4, 5) };
    const [dz] = runFused('TuneActivationGrad', { dy, y }, attrsOf('leakyrelu'));
    expect(Array.from(dz.values)).toEqual([Number.NaN, 2, 0.75, Number.NaN, 5]);
  });

  test('NaN and infinity stay in their own channel of the sums', () => {
    const dy = { shape: [2, 6], values: Float32Array.of(Number.NaN, 1, 2, 3, 4, Number.POSITIVE_INFINITY, ...[1, 1, 1, 1, 1, 1]) }; // biome-ignore format: rows
    const y = { shape: [2, 6], values: new Float32Array(12).fill(1) };
    const [, db] = runFused('TuneActivationGrad', { dy, y }, attrsOf('relu'));
    expect(Array.from(db.values)).toEqual([Number.NaN, 2, 3, 4, 5, Number.POSITIVE_INFINITY]);
  });

  describe('whose memory dz takes', () => {
    const shape = [7, 5];
    const values = wholeNumbers(35, 3);
    const ys = wholeNumbers(35, 4).map((k) => Math.max(0, k));
    const expected = Array.from(values, (v, i) => (ys[i] > 0 ? v : 0));
    const offsetOf = (tensor: tf.Tensor) => wasmBackend().dataIdMap.get(tensor.dataId).memoryOffset;
    const run = (dy: tf.Tensor, y: tf.Tensor, reuse: boolean) =>
      tf.engine().runKernel('TuneActivationGrad', { dy, y }, attrsOf('relu', reuse) as never) as unknown as tf.Tensor[];
    const plain = (tensor: tf.Tensor) => Array.from(tensor.dataSync(), (v) => v + 0);

    test('dy’s, with `reuse` and nobody else there', () => {
      const [dy, y] = [tf.tensor(values, shape), tf.tensor(ys, shape)];
      const before = tf.memory();
      const [dz, db] = run(dy, y, true);
      expect(offsetOf(dz)).toBe(offsetOf(dy));
      expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers + 1);
      dy.dispose();
      expect(plain(dz)).toEqual(expected);
      expect(plain(y)).toEqual(Array.from(ys));
      tf.dispose([dz, db, y]);
      expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers - 2);
    });

    test.each<[string, (dy: tf.Tensor) => tf.Tensor]>([
      ['a clone', (dy) => dy.clone()],
      ['another shape of it', (dy) => tf.reshape(dy, [35])],
    ])('its own, where %s is alive, which does not change', (_name, other) => {
      const [dy, y] = [tf.tensor(values, shape), tf.tensor(ys, shape)];
      const witness = other(dy);
      const [dz, db] = run(dy, y, true);
      expect(offsetOf(dz)).not.toBe(offsetOf(dy));
      expect(plain(dz)).toEqual(expected);
      expect(plain(dy)).toEqual(Array.from(values));
      expect(plain(witness)).toEqual(Array.from(values));
      tf.dispose([dz, db, dy, y, witness]);
    });

    test('its own, without `reuse`', () => {
      const [dy, y] = [tf.tensor(values, shape), tf.tensor(ys, shape)];
      const [dz, db] = run(dy, y, false);
      expect(offsetOf(dz)).not.toBe(offsetOf(dy));
      expect(plain(dy)).toEqual(Array.from(values));
      tf.dispose([dz, db, dy, y]);
    });

    test('and dy may be y itself', () => {
      const both = tf.tensor(values, shape);
      const [dz, db] = run(both, both, true);
      expect(plain(dz)).toEqual(Array.from(values, (v) => Math.max(0, v)));
      tf.dispose([dz, db, both]);
    });
  });
});
