/** The algebra of restoring, on arrays: folds, channels of kernels, rules for s; and the noise. */
import {
  channelNorms,
  effectiveScale,
  layoutOf,
  median,
  recalibrate,
  unfold,
} from '../../../adapters/graph-model/restore/algebra';
import { paint } from '../../../adapters/graph-model/restore/noise';
import { channelScales, RULES, SCALE_RULES } from '../../../adapters/graph-model/restore/rules';
import { kindOf } from '../../../src/kinds';
import { random } from '../../helpers/random';

describe('channels of a kernel', () => {
  const KERNELS: [string, number[], number[]][] = [
    // Class, shape, and the channel of each weight in the order of the array.
    ['Conv1D', [1, 2, 3], [0, 1, 2, 0, 1, 2]],
    ['Conv2D', [1, 1, 2, 2], [0, 1, 0, 1]],
    ['Conv2D', [1, 2, 1, 1], [0, 0]],
    ['Conv2DTranspose', [1, 1, 2, 3], [0, 0, 0, 1, 1, 1]],
    ['Conv2DTranspose', [1, 2, 1, 2], [0, 0, 0, 0]],
    ['DepthwiseConv2D', [1, 2, 2, 1], [0, 1, 0, 1]],
    ['DepthwiseConv2D', [1, 2, 1, 2], [0, 1, 0, 1]],
    ['DepthwiseConv2D', [1, 1, 2, 2], [0, 1, 2, 3]],
    ['SeparableConv2D', [1, 1, 2, 3], [0, 1, 2, 0, 1, 2]],
  ];
  test.each(KERNELS)('%s %j', (className, shape, channels) => {
    const kind = kindOf({ getClassName: () => className } as never);
    const layout = layoutOf(shape, (kind as NonNullable<typeof kind>).scaleShape(shape));
    const of = channels.map((_, i) => Math.floor(i / layout.inner) % layout.channels);
    expect(of).toEqual(channels);
    const norms = channelNorms(
      Float32Array.from(channels, (_, i) => i + 1),
      layout,
    );
    norms.forEach((norm, c) => {
      const squares = channels.map((channel, i) => (channel === c ? (i + 1) ** 2 : 0));
      expect(norm).toBeCloseTo(Math.sqrt(squares.reduce((a, b) => a + b)), 12);
    });
  });
});

describe('unfold', () => {
  const rng = random(7);
  const channels = 64;
  const layout = { channels, inner: 1 };
  const kernel = rng.array(9 * channels);
  const bias = rng.array(channels, () => rng.uniform(-3, 3));
  // From nothing to much, as dead and lively channels have it.
  const statistics = {
    mean: Float64Array.from(rng.array(channels, () => rng.uniform(-5, 5))),
    variance: Float64Array.from(rng.array(channels, (c) => (c === 0 ? 0 : 10 ** rng.uniform(-8, 3)))),
  };
  const s = Float64Array.from({ length: channels }, () => 10 ** rng.uniform(-3, 2));

  test.each([1e-3, 1e-5])('folds back to the same kernel and bias, ε %d', (epsilon) => {
    const found = unfold({ kernel, layout, bias, statistics }, s, epsilon);
    const { gamma, beta, mean, variance } = found.batchNorm;
    const scale = effectiveScale({ gamma, variance }, epsilon);
    // s·w: w is rounded to float32 once, 2⁻²⁴ of it.
    kernel.forEach((value, i) => {
      expect(Math.abs(found.kernel[i] * scale[i % channels] - value)).toBeLessThanOrEqual(2 ** -24 * Math.abs(value));
    });
    // β − s·μ: β is rounded once.
    bias.forEach((value, c) => {
      expect(Math.abs(beta[c] - scale[c] * mean[c] - value)).toBeLessThanOrEqual(2 ** -24 * Math.abs(beta[c]) + 1e-15);
    });
    // The statistics are those of conv(x; w), and γ is the deviation of y, but for ε and two roundings.
    gamma.forEach((value, c) => {
      expect(mean[c] * s[c]).toBeCloseTo(statistics.mean[c], 5);
      expect(value ** 2).toBeCloseTo(statistics.variance[c] + s[c] ** 2 * epsilon, 2);
    });
  });

  test('the check above is red without ε, μ or s', () => {
    const { batchNorm } = unfold({ kernel, layout, bias, statistics }, s, 1e-3);
    const scale = effectiveScale(batchNorm, 0);
    const right = effectiveScale(batchNorm, 1e-3);
    const off = bias.map((value, c) => Math.abs(batchNorm.beta[c] - scale[c] * batchNorm.mean[c] - value));
    expect(Math.max(...off)).toBeGreaterThan(1e-2);
    expect(Math.max(...bias.map((value, c) => Math.abs(batchNorm.beta[c] - value)))).toBeGreaterThan(1e-2);
    expect(Math.max(...right.map((value) => Math.abs(value - 1)))).toBeGreaterThan(1e-2);
  });

  test('recalibrate keeps s of any sign, zero too, and s·x + t', () => {
    const [scales, offsets] = [
      [2, -0.5, 0],
      [1, -2, 3],
    ];
    const of = { mean: Float64Array.of(4, -1, 2), variance: Float64Array.of(0.25, 9, 0) };
    const bn = recalibrate(scales, offsets, of, 1e-3);
    const found = effectiveScale(bn, 1e-3);
    scales.forEach((value, c) => {
      expect(found[c]).toBeCloseTo(value, 6);
      expect(bn.beta[c] - found[c] * bn.mean[c]).toBeCloseTo(offsets[c], 6);
    });
  });
});

describe('rules', () => {
  const conv = {
    kind: 'Conv2D',
    kernelShape: [3, 3, 8, 24],
    norms: Float64Array.of(1, 2, 4),
    deviations: Float64Array.of(3, 5, 7),
  };

  test('give s as their names say', () => {
    const usual = 1.4 * Math.sqrt(16 / 32);
    expect(RULES.none(conv)).toEqual(Float64Array.of(1, 1, 1));
    expect(RULES.unitVariance(conv)).toEqual(conv.deviations);
    expect(RULES.unit(conv)).toEqual(conv.norms);
    expect(RULES.usualNorm(conv)).toEqual(conv.norms.map((norm) => norm / usual));
    expect(RULES.doubleNorm(conv)).toEqual(conv.norms.map((norm) => norm / usual / 2));
    // A transposed kernel is [height, width, out, in].
    const transposed = { ...conv, kind: 'Conv2DTranspose', kernelShape: [3, 3, 24, 8] };
    expect(RULES.usualNorm(transposed)).toEqual(RULES.usualNorm(conv));
    const depthwise = { ...conv, kind: 'DepthwiseConv2D', kernelShape: [3, 3, 7, 1] };
    expect(RULES.usualNorm(depthwise)).toEqual(conv.norms.map((norm) => norm / 14));
  });

  test.each([
    ['a norm of 0', [0, 2, 4], [3, 5, 7], [true, false, false]],
    ['a tiny norm', [1e-30, 2, 4], [3, 5, 7], [true, false, false]],
    ['a deviation of 0', [1, 2, 4], [3, 0, 7], [false, true, false]],
    ['both, in other channels', [0, 2, 4], [3, 0, 7], [true, true, false]],
    ['nothing but zeros', [0, 0, 0], [0, 0, 0], [true, true, true]],
  ])('a dead channel gets the median of the others: %s', (_name, norms, deviations, dead) => {
    for (const rule of SCALE_RULES) {
      const facts = { ...conv, norms: Float64Array.from(norms), deviations: Float64Array.from(deviations) };
      const found = channelScales(rule, facts);
      const own = RULES[rule](facts);
      const others = median(own.filter((_, c) => !dead[c]));
      expect(found.dead).toBe(dead.filter(Boolean).length);
      found.s.forEach((value, c) => {
        expect(value).toBe(dead[c] ? (Number.isNaN(others) ? 1 : others) : own[c]);
        expect(value).toBeGreaterThan(0);
      });
    }
  });
});

test('noise is as a photograph: within its range, smooth, its colours alike', () => {
  const size = [32, 32, 3];
  const picture = new Float32Array(32 * 32 * 3);
  let [light, spread, neighbours, colours] = [0, 0, 0, 0];
  for (let i = 0; i < 16; i++) {
    paint(picture, size, `test:${i}`, [0, 255]);
    expect(Math.min(...picture)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...picture)).toBeLessThanOrEqual(255);
    const mean = picture.reduce((a, b) => a + b) / picture.length;
    const dot = (shift: number) =>
      picture.reduce((sum, value, at) => sum + (value - mean) * ((picture[at + shift] ?? mean) - mean), 0);
    light += mean / 16;
    spread += Math.sqrt(dot(0) / picture.length) / 16;
    neighbours += dot(3) / dot(0) / 16;
    colours += dot(1) / dot(0) / 16;
  }
  expect(light).toBeGreaterThan(90);
  expect(light).toBeLessThan(165);
  expect(spread).toBeGreaterThan(30);
  expect(spread).toBeLessThan(90);
  expect(neighbours).toBeGreaterThan(0.6);
  expect(colours).toBeGreaterThan(0.8);
});
