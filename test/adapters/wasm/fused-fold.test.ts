/**
 * The fused kernels TuneFold and TuneFoldGrad on wasm against the formulas written with tfjs's ops, on the cpu backend.
 *
 * Tolerances are counted in roundings of u = 2⁻²⁴, at the place. Where no operation rounds, results must be equal.
 */
import * as tf from '@tensorflow/tfjs-core';
// For the gradients of tfjs's ops, which it registers.
import '@tensorflow/tfjs-layers';
import fc from 'fast-check';
import { channelScale, fold } from '../../../src/fold';
import { useBackend } from '../../helpers/backends';
import { random } from '../../helpers/random';
import { guardHeap } from './canaries';
import { expectEqual, type Result } from './cases';
import { expectWithin, onCpu, runFused, sizeOf, tensorOf, U } from './fused-run';

guardHeap();
beforeEach(() => useBackend('wasm'));

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
