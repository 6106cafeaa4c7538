/**
 * This package's own fused kernels on wasm against the formulas written with tfjs's ops, on the cpu backend.
 *
 * Where every number is a small multiple of a power of two, no operation here rounds, in whatever order it is done: those
 * results must be equal. Where square roots come in, tolerances are counted in roundings of u = 2⁻²⁴, at the place.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import fc from 'fast-check';
import { registerWasmTrainingKernels } from '../../../adapters/wasm/register';
import { setMode } from '../../../src';
import { type BlockActivation, blockActivation } from '../../../src/activations';
import { channelScale, fold } from '../../../src/fold';
import type { FusedKernel } from '../../../src/own-op';
import { useBackend } from '../../helpers/backends';
import { inputsFor, largestDifference, randomise } from '../../helpers/models';
import { random } from '../../helpers/random';
import { gradientRounding, gradients } from '../../models/gradients';
import { bn, chain, conv, input, L } from '../../models/table';
import { brokenGuards, guardHeap, wasmBackend } from './canaries';
import { expectEqual, type Result, wholeNumbers } from './cases';

const U = 2 ** -24;

guardHeap();
beforeEach(() => useBackend('wasm'));

const sizeOf = (shape: number[]) => shape.reduce((a, b) => a * b, 1);
const tensorOf = ({ values, shape }: Result) => tf.tensor(values, shape, 'float32');
const resultOf = (tensor: tf.Tensor): Result => ({ shape: tensor.shape, values: tensor.dataSync() as Float32Array });

/** Runs a fused kernel on wasm, checks that it leaves its outputs and nothing else, and frees all. */
function runFused(name: FusedKernel, inputs: Record<string, Result | null>, attrs: object): Result[] {
  const given: tf.NamedTensorMap = {};
  for (const [key, value] of Object.entries(inputs)) if (value !== null) given[key] = tensorOf(value);
  const ids = () => (tf.backend() as unknown as { numDataIds(): number }).numDataIds();
  const before = { ...tf.memory(), ids: ids() };
  const outputs = tf.engine().runKernel(name, given, attrs as tf.NamedAttrMap) as tf.Tensor[];
  const after = tf.memory();
  expect(after.numTensors).toBe(before.numTensors + outputs.length);
  expect(ids()).toBe(before.ids + outputs.length);
  const results = outputs.map(resultOf);
  for (const [key, value] of Object.entries(inputs)) if (value !== null) expectEqual(resultOf(given[key]), value);
  tf.dispose([outputs, given]);
  return results;
}

async function onCpu(run: () => tf.Tensor[]): Promise<Result[]> {
  await useBackend('cpu');
  const results: Result[] = [];
  tf.tidy(() => void results.push(...run().map(resultOf)));
  await useBackend('wasm');
  return results;
}

/** Each off by at most its own bound. */
function expectWithin(found: Result, expected: Result, bound: (index: number) => number): void {
  expect(found.shape).toEqual(expected.shape);
  found.values.forEach((value, i) => {
    const error = Math.abs(value - expected.values[i]);
    if (!(error <= bound(i))) throw new Error(`[${i}]: ${value}, expected ${expected.values[i]} ± ${bound(i)}`);
  });
}

/** Few rows, rows around a chunk's end (8 KiB of a column's bytes), and none. */
const rowsAndChannels = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 33 })),
  fc.tuple(fc.integer({ min: 55, max: 70 }), fc.integer({ min: 28, max: 33 })),
  fc.tuple(fc.integer({ min: 2040, max: 2060 }), fc.integer({ min: 1, max: 2 })),
  fc.tuple(fc.integer({ min: 250, max: 260 }), fc.integer({ min: 7, max: 9 })),
);

/** [rows, channels], with the rows as up to three axes. */
const shaped = (rows: number, channels: number, axes: number): number[] =>
  axes === 3 && rows % 2 === 0 ? [2, rows / 2, 1, channels] : axes === 2 ? [1, rows, channels] : [rows, channels];

const ALPHA = 0.25;
const entry = (layer: tfl.layers.Layer) => blockActivation(layer as never) as BlockActivation;
const ACTIVATIONS: Record<
  BlockActivation['name'],
  { activation: () => BlockActivation; y: (whole: number) => number }
> = {
  relu: { activation: () => entry(L.reLU()), y: (k) => Math.max(0, k) },
  // From 0 to 6, both included.
  relu6: { activation: () => entry(L.reLU({ maxValue: 6 })), y: (k) => Math.min(6, Math.max(0, 2 + 2 * k)) },
  leakyrelu: { activation: () => entry(L.leakyReLU({ alpha: ALPHA })), y: (k) => (k > 0 ? k : k * ALPHA) },
  elu: { activation: () => entry(L.elu()), y: (k) => (k > 0 ? k : k / 4) },
  sigmoid: { activation: () => entry(L.activation({ activation: 'sigmoid' })), y: (k) => (k + 4) / 8 },
  tanh: { activation: () => entry(L.activation({ activation: 'tanh' })), y: (k) => k / 4 },
};
const NAMES = Object.keys(ACTIVATIONS) as BlockActivation['name'][];

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
          const dy = { shape, values: wholeNumbers(sizeOf(shape), seed) };
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

describe('TuneFold and TuneFoldGrad', () => {
  const LAYOUTS: Record<string, (a: number, b: number, taps: number) => { kernel: number[]; scaleShape: number[] }> = {
    'last axis': (a, b, t) => ({ kernel: [t, 2, a, b], scaleShape: [1, 1, 1, b] }),
    'last axis of a matrix': (a, b) => ({ kernel: [a, b], scaleShape: [1, b] }),
    'last axis in 3D': (a, b, t) => ({ kernel: [t, 1, 2, a, b], scaleShape: [1, 1, 1, 1, b] }),
    'axis 2, transposed': (a, b, t) => ({ kernel: [t, 2, a, b], scaleShape: [1, 1, a, 1] }),
    'axis 3, transposed in 3D': (a, b, t) => ({ kernel: [t, 1, 2, a, b], scaleShape: [1, 1, 1, a, 1] }),
    'axes 2 and 3, depthwise': (a, b, t) => ({ kernel: [t, 2, a, b], scaleShape: [1, 1, a, b] }),
    'axis 2 of a depthwise kernel without a multiplier': (a, _b, t) => ({
      kernel: [t, 2, a, 1],
      scaleShape: [1, 1, a, 1],
    }),
    'axis 3 of a depthwise kernel of one channel': (_a, b, t) => ({ kernel: [t, 2, 1, b], scaleShape: [1, 1, 1, b] }),
    'one channel': (a, _b, t) => ({ kernel: [t, 2, a, 1], scaleShape: [1, 1, 1, 1] }),
  };

  const cases = fc.record({
    a: fc.integer({ min: 1, max: 18 }),
    b: fc.integer({ min: 1, max: 33 }),
    taps: fc.integer({ min: 1, max: 3 }),
    bias: fc.boolean(),
    gamma: fc.boolean(),
    beta: fc.boolean(),
    epsilon: fc.constantFrom(1e-3, 1e-5, 0.5),
    seed: fc.integer({ min: 0, max: 1e6 }),
  });

  function draw(layout: string, c: { a: number; b: number; taps: number; seed: number }) {
    const { kernel: shape, scaleShape } = LAYOUTS[layout](c.a, c.b, c.taps);
    const channels = sizeOf(scaleShape);
    const rng = random(c.seed);
    const vector = (make?: (k: number) => number): Result => ({ shape: [channels], values: rng.array(channels, make) });
    return {
      scaleShape,
      channels,
      kernel: { shape, values: rng.array(sizeOf(shape)) },
      bias: vector(),
      // Either sign, and 0 in between.
      gamma: vector((k) => (k % 5 === 3 ? 0 : rng.pick([-1, 1]) * rng.uniform(0.3, 2))),
      beta: vector(() => rng.uniform(-3, 3)),
      mean: vector(() => rng.pick([-1, 1]) * rng.uniform(0.3, 2)),
      // From far below ε to far above.
      variance: vector((k) => (k % 4 === 1 ? 1e-7 : 10 ** rng.uniform(-2, 1))),
      dKernel: { shape, values: rng.array(sizeOf(shape)) },
      dBias: vector(),
    };
  }

  /** The channel that an entry of the kernel belongs to. */
  function channelOf(shape: number[], scaleShape: number[]): (index: number) => number {
    const strides = (s: number[]) => s.map((_, i) => sizeOf(s.slice(i + 1)));
    const [own, to] = [strides(shape), strides(scaleShape)];
    return (index) =>
      shape.reduce((at, size, axis) => {
        const position = Math.floor(index / own[axis]) % size;
        return at + (scaleShape[axis] === 1 ? 0 : position * to[axis]);
      }, 0);
  }

  test.each(Object.keys(LAYOUTS))('%s: equal the plain fold and its gradients', async (layout) => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const d = draw(layout, c);
        const { scaleShape, kernel, mean, variance } = d;
        const [bias, gamma, beta] = [c.bias ? d.bias : null, c.gamma ? d.gamma : null, c.beta ? d.beta : null];
        const attrs = { epsilon: c.epsilon, scaleShape };
        const weights = () => ({
          gamma: gamma && tensorOf(gamma),
          beta: beta && tensorOf(beta),
          mean: tensorOf(mean),
          variance: tensorOf(variance),
          epsilon: c.epsilon,
        });

        const [w, b, s] = await onCpu(() => {
          const folded = fold(tensorOf(kernel), bias && tensorOf(bias), weights(), scaleShape);
          return [folded.kernel, folded.bias, channelScale(weights())];
        });
        const found = runFused('TuneFold', { kernel, bias, gamma, beta, mean, variance }, attrs);
        expect(found).toHaveLength(3);
        // s on either side: ε and σ² + ε round (half as much in the root), then root, division and product: 4u there; plain
        // has rsqrt as one: 3u. w′ is one product more on each side.
        expectWithin(found[0], w, (i) => 9 * U * Math.abs(w.values[i]));
        expectWithin(found[2], s, (k) => 7 * U * Math.abs(s.values[k]));
        // b′ = s (b − μ) + β: three roundings more on each side, of terms as large as these.
        expectWithin(found[1], b, (k) => {
          const shift = Math.abs(s.values[k]) * (Math.abs(bias?.values[k] ?? 0) + Math.abs(mean.values[k]));
          return 13 * U * (shift + Math.abs(beta?.values[k] ?? 0));
        });

        const [dw, db, dGamma] = await onCpu(() => {
          const grads = tf.grads((kernel, bias, gamma) => {
            const folded = fold(kernel, bias, { ...weights(), gamma }, scaleShape);
            const loss = tf.sum(tf.mul(folded.kernel, tensorOf(d.dKernel)));
            return tf.add(loss, tf.sum(tf.mul(folded.bias, tensorOf(d.dBias))));
          });
          const zeros = { shape: [d.channels], values: new Float32Array(d.channels) };
          // dγ does not depend on γ; db and dγ are given whether there is a bias and a γ or not.
          return grads(
            [kernel, bias ?? zeros, gamma ?? { ...zeros, values: Float32Array.from(zeros.values, () => 1) }].map(
              tensorOf,
            ),
          );
        });
        const given = { dKernel: d.dKernel, dBias: d.dBias, kernel, bias, mean, variance, scale: s };
        const back = runFused('TuneFoldGrad', given, attrs);
        expect(back).toHaveLength(3);
        // Products of the very same two numbers, once s is the same.
        if (gamma !== null) {
          expectEqual(back[0], dw);
          expectEqual(back[1], db);
        }
        // Plain: products, their sum, the difference, the product with it and the sum of both round, then rsqrt and the last
        // product, 8u; here the difference, the deviation and the result, 3u.
        const channel = channelOf(kernel.shape, scaleShape);
        const sizes = new Float64Array(d.channels);
        kernel.values.forEach((value, i) => {
          sizes[channel(i)] += Math.abs(value * d.dKernel.values[i]);
        });
        expectWithin(back[2], dGamma, (k) => {
          const centred = Math.abs(bias?.values[k] ?? 0) + Math.abs(mean.values[k]);
          const size = sizes[k] + Math.abs(d.dBias.values[k]) * centred;
          return (11 * U * size) / Math.sqrt(variance.values[k] + c.epsilon);
        });
      }),
      { numRuns: 40 },
    );
  });

  test('where nothing rounds: exactly the formula', () => {
    // σ² + ε = 4, 1/4, 1: deviations 2, 1/2, 1.
    const vector = (...values: number[]): Result => ({ shape: [3], values: Float32Array.from(values) });
    const kernel = { shape: [2, 3], values: Float32Array.of(1, 2, 3, -4, 5, -6) };
    const inputs = {
      kernel,
      bias: vector(1, 0, -1),
      gamma: vector(1, -2, 0),
      beta: vector(0.5, 0.25, 3),
      mean: vector(3, 1, 2),
      variance: vector(3.5, -0.25, 0.5),
    };
    const attrs = { epsilon: 0.5, scaleShape: [1, 3] };
    const [w, b, s] = runFused('TuneFold', inputs, attrs);
    expect(Array.from(s.values)).toEqual([0.5, -4, 0]);
    expect(Array.from(w.values, (v) => v + 0)).toEqual([0.5, -8, 0, -2, -20, 0]);
    expect(Array.from(b.values)).toEqual([-0.5, 4.25, 3]);
    const { gamma: _gamma, beta: _beta, ...rest } = inputs;
    const dKernel = { shape: [2, 3], values: Float32Array.of(1, 1, 2, 2, 0, 1) };
    const [dw, db, dGamma] = runFused('TuneFoldGrad', { ...rest, dKernel, dBias: vector(2, 3, 4), scale: s }, attrs);
    expect(Array.from(dw.values, (v) => v + 0)).toEqual([0.5, -4, 0, 1, 0, 0]);
    expect(Array.from(db.values, (v) => v + 0)).toEqual([1, -12, 0]);
    // (1 − 8 + 2·(1 − 3)) / 2, (2 + 3·(0 − 1)) / ½, (6 − 6 + 4·(−1 − 2)) / 1.
    expect(Array.from(dGamma.values)).toEqual([-5.5, -2, -12]);
  });
});

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
          const dy = { shape, values: wholeNumbers(sizeOf(shape), seed) };
          const x = { shape, values: wholeNumbers(sizeOf(shape), seed + 1) };
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

describe('the registered kernels', () => {
  const NAMES_OF_KERNELS: FusedKernel[] = ['TuneActivationGrad', 'TuneFold', 'TuneFoldGrad', 'TuneFrozenBatchNormGrad'];
  const registered = () => NAMES_OF_KERNELS.map((name) => tf.getKernel(name, 'wasm')?.kernelFunc);

  test('stay the same however often they are registered, and are wasm’s alone', () => {
    const before = registered();
    expect(before.every((kernel) => kernel !== undefined)).toBe(true);
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    registerWasmTrainingKernels();
    registerWasmTrainingKernels();
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
    expect(registered()).toEqual(before);
    for (const name of NAMES_OF_KERNELS) expect(tf.getKernel(name, 'cpu') ?? null).toBeNull();
  });

  /** Runs with some of the fused kernels gone. */
  function without<T>(names: FusedKernel[], run: () => T): T {
    const configs = names.map((name) => tf.getKernel(name, 'wasm')!);
    for (const name of names) tf.unregisterKernel(name, 'wasm');
    try {
      return run();
    } finally {
      for (const config of configs) tf.registerKernel(config);
    }
  }

  const activations: [string, tfl.layers.Layer | null][] = [
    ['no activation', null],
    ...NAMES.map((name): [string, tfl.layers.Layer] => [
      name,
      name === 'relu6'
        ? L.reLU({ maxValue: 6 })
        : name === 'leakyrelu'
          ? L.leakyReLU()
          : L.activation({ activation: name }),
    ]),
  ];

  test.each(activations)(
    '%s: with them and without any the same gradients, in tune and in eval',
    (name, activation) => {
      const x = input(`in_${name.replace(' ', '_')}`, [5, 6, 3]);
      const last = activation === null ? [] : [activation];
      const first = [L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 3 }), bn(`n1_${x.name}`, { scale: false })];
      const second = [conv(`c_${x.name}`, { filters: 5, useBias: false }), bn(`n2_${x.name}`, { center: false })];
      const net = tfl.model({ inputs: x, outputs: chain(x, ...first, ...last, ...second, ...last) });
      randomise(net, 1);
      const given = inputsFor(net, 2, 2);
      for (const mode of ['tune', 'eval'] as const) {
        setMode(net, mode);
        const alive = tf.memory().numTensors;
        const fused = gradients(net, given);
        for (const missing of [NAMES_OF_KERNELS, ...NAMES_OF_KERNELS.map((kernel) => [kernel])]) {
          const plain = without(missing, () => gradients(net, given));
          expect(largestDifference(plain, fused)).toBeLessThan(gradientRounding(net, 2 * 5 * 6));
        }
        expect(tf.memory().numTensors).toBe(alive);
        expect(gradients(net, given)).toEqual(fused);
      }
    },
  );

  test.each(['tune', 'eval'] as const)('%s: an inner gradient over a pass outside of it has a gradient', (mode) => {
    // Dense: tfjs has no gradient of a convolution's kernel gradient.
    const x = input('in', [6]);
    const layers = [L.dense({ units: 4, name: 'c' }), bn('n'), L.activation({ activation: 'tanh', name: 't' })];
    const net = tfl.model({ inputs: x, outputs: chain(x, ...layers) });
    randomise(net, 1);
    const [given] = inputsFor(net, 2, 2);
    const gamma = net.getLayer('n').trainableWeights[0].read() as tf.Variable;
    setMode(net, mode);
    const penalty = () => {
      tf.engine().startScope();
      try {
        const grad = tf.grad((input) => {
          const loss = tf.sum(tf.square(net.apply(input, { training: true }) as tf.Tensor));
          const [inner] = tf.grads(() => loss)([gamma]);
          return tf.sum(tf.square(inner));
        });
        return [Array.from(grad(given).dataSync())];
      } finally {
        tf.engine().endScope();
      }
    };
    const plain = without(NAMES_OF_KERNELS, penalty);
    // Two backward passes.
    expect(largestDifference(penalty(), plain)).toBeLessThan(2 * gradientRounding(net, 2));
  });

  test('a pass and a step use them, and do not without a tape', async () => {
    const x = input();
    const net = tfl.model({ inputs: x, outputs: chain(x, conv('c'), bn('n'), L.reLU({ name: 'r' })) });
    const given = inputsFor(net, 2, 2);
    const used = async (run: () => unknown) => {
      const { kernels } = await tf.profile(() => {
        run();
        return tf.scalar(0);
      });
      return [...new Set(kernels.map(({ name }) => name).filter((name) => name.startsWith('Tune')))].sort();
    };
    setMode(net, 'tune');
    expect(await used(() => gradients(net, given))).toEqual(['TuneActivationGrad', 'TuneFold', 'TuneFoldGrad']);
    setMode(net, 'eval');
    expect(await used(() => gradients(net, given))).toEqual(['TuneFrozenBatchNormGrad']);
  });
});

test('the guards of these tests find a write beside an output', () => {
  const tensor = tf.tensor1d([1, 2, 3]);
  const { memoryOffset } = wasmBackend().dataIdMap.get(tensor.dataId);
  const { HEAPU8 } = wasmBackend().wasm;
  const [before, after] = [memoryOffset - 1, memoryOffset + 12];
  for (const at of [before, after]) HEAPU8[at] ^= 1;
  expect(brokenGuards()).toEqual([
    'written before an allocation of 12 bytes',
    'written after an allocation of 12 bytes',
  ]);
  expect(brokenGuards()).toEqual([]);
  tensor.dispose();
});
