/**
 * Our own matrix product, as such and as the pointwise convolution that FusedConv2D, Conv2D and Conv2DBackpropInput become.
 * Every allocation has guards (canaries.ts).
 *
 * Numbers are small and whole, so that sums are exact in whatever order (see cases.ts): results must be equal. Activations
 * with an exponential have a tolerance, derived at the place.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { unwritten } from '../../../adapters/wasm/heap';
import { multiplyInto } from '../../../adapters/wasm/pointwise';
import { useBackend } from '../../helpers/backends';
import { guardHeap, wasmBackend } from './canaries';
import { expectEqual, input, type Result, runOn, wholeNumbers } from './cases';

guardHeap();
beforeEach(() => useBackend('wasm'));

const { NaN: N, POSITIVE_INFINITY: P, NEGATIVE_INFINITY: M } = Number;

interface ProductCase {
  rows: number;
  inner: number;
  columns: number;
  transposed: boolean;
  bias: boolean;
  low: number;
  high: number;
  seed: number;
}

/** In plain loops over doubles; NaN stays NaN, as Math.min and Math.max have it. */
function productOf(a: Float32Array, b: Float32Array, bias: Float32Array | null, c: ProductCase): Float32Array {
  return Float32Array.from({ length: c.rows * c.columns }, (_, i) => {
    const [row, column] = [Math.floor(i / c.columns), i % c.columns];
    let sum = bias?.[column] ?? 0;
    for (let k = 0; k < c.inner; k++)
      sum += a[row * c.inner + k] * b[c.transposed ? column * c.inner + k : k * c.columns + column];
    return Math.min(Math.max(sum, c.low), c.high);
  });
}

function multiply(a: Float32Array, b: Float32Array, bias: Float32Array | null, c: ProductCase): Float32Array {
  const backend = wasmBackend();
  const alive = tf.memory().numTensors;
  const [left, right] = [tf.tensor(a, [c.rows, c.inner]), tf.tensor(b)];
  const shift = bias === null ? null : tf.tensor(bias);
  const result = unwritten([c.rows, c.columns], backend);
  multiplyInto(backend, result, { ...c, a: left, b: right, bias: shift });
  const values = result.dataSync() as Float32Array;
  expect([left.dataSync(), right.dataSync()]).toEqual([a, b]);
  tf.dispose([left, right, shift ?? [], result]);
  expect(tf.memory().numTensors).toBe(alive);
  return values;
}

const plain = (values: Float32Array) => Array.from(values, (v) => v + 0);
const CLAMPS = [
  [M, P],
  [0, P],
  [0, 6],
] as const;

describe('the product', () => {
  const sizes = fc.record({
    rows: fc.integer({ min: 1, max: 41 }),
    inner: fc.integer({ min: 1, max: 20 }),
    columns: fc.integer({ min: 1, max: 33 }),
    transposed: fc.boolean(),
    bias: fc.boolean(),
    clamp: fc.constantFrom(...CLAMPS),
    seed: fc.integer({ min: 0, max: 1e6 }),
  });

  test('equals plain loops for any size', () => {
    fc.assert(
      fc.property(sizes, ({ clamp: [low, high], ...rest }) => {
        const c = { ...rest, low, high };
        const a = wholeNumbers(c.rows * c.inner, c.seed);
        const b = wholeNumbers(c.inner * c.columns, c.seed + 1);
        const bias = c.bias ? wholeNumbers(c.columns, c.seed + 2) : null;
        expect(plain(multiply(a, b, bias, c))).toEqual(plain(productOf(a, b, bias, c)));
      }),
      { numRuns: 300 },
    );
  });

  // From 4096 / inner rows on a block is cut short; with more than 1024 it is four rows.
  test.each([127, 128, 512, 1100, 4200])('%d terms a sum', (inner) => {
    for (const transposed of [false, true]) {
      const c = { rows: 37, inner, columns: 9, transposed, bias: true, low: M, high: P, seed: inner };
      const a = wholeNumbers(37 * inner, 1);
      const b = wholeNumbers(inner * 9, 2);
      const bias = wholeNumbers(9, 3);
      expect(plain(multiply(a, b, bias, c))).toEqual(plain(productOf(a, b, bias, c)));
    }
  });

  test('every remainder of rows and columns, by four and by eight', () => {
    for (let rows = 1; rows <= 9; rows++) {
      for (let columns = 1; columns <= 17; columns++) {
        for (const transposed of [false, true]) {
          const c = { rows, inner: 5, columns, transposed, bias: true, low: M, high: P, seed: rows * columns };
          const a = wholeNumbers(rows * 5, c.seed);
          const b = wholeNumbers(5 * columns, c.seed + 1);
          const bias = wholeNumbers(columns, c.seed + 2);
          expect(plain(multiply(a, b, bias, c))).toEqual(plain(productOf(a, b, bias, c)));
        }
      }
    }
  });

  test.each([N, P, M])('%d in a, b or the bias comes out where it belongs and nowhere else', (bad) => {
    for (const [low, high] of CLAMPS) {
      const c = { rows: 7, inner: 3, columns: 11, transposed: false, bias: true, low, high, seed: 3 };
      const parts = [wholeNumbers(21, 1), wholeNumbers(33, 2), wholeNumbers(11, 3)];
      for (let part = 0; part < 3; part++) {
        for (const place of [0, 0.5, 1]) {
          const [a, b, bias] = parts.map((values) => values.slice());
          const spoilt = [a, b, bias][part];
          spoilt[Math.floor(place * (spoilt.length - 1))] = bad;
          const found = multiply(a, b, bias, c);
          expect(plain(found)).toEqual(plain(productOf(a, b, bias, c)));
          expect(found.some((value) => Number.isFinite(value))).toBe(true);
        }
      }
    }
  });

  test('refuses other numbers than floats', () => {
    const backend = wasmBackend();
    const [a, b] = [tf.ones([4, 2], 'int32'), tf.ones([2, 3])];
    const result = unwritten([4, 3], backend);
    const p = { rows: 4, inner: 2, columns: 3, transposed: false, bias: null, low: M, high: P };
    expect(() => multiplyInto(backend, result, { ...p, a, b })).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('int32') }),
    );
    expect(() => multiplyInto(backend, result, { ...p, a: b, b: a })).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
    tf.dispose([a, b, result]);
  });
});

describe('pointwise convolutions, below and above the number of pixels from which they are our product', () => {
  /** 255 and 256 pixels and one more, and 266 as two pictures. */
  const SHAPES = [
    [1, 15, 17],
    [1, 16, 16],
    [1, 1, 257],
    [2, 7, 19],
  ];
  const ATTRS = { strides: [1, 1], pad: 'same', dataFormat: 'NHWC', dilations: [1, 1] };
  /** [in, out] */
  const WIDTHS = [
    [1, 1],
    [1, 8],
    [3, 7],
    [5, 9],
    [8, 33],
    [33, 2],
  ];

  interface Extras {
    bias?: Result;
    preluActivationWeights?: Result;
  }

  async function compare(
    name: string,
    pixels: number[],
    [channels, filters]: number[],
    extras: Extras,
    attrs: object,
    bound = 0,
  ): Promise<void> {
    const inputs = {
      x: input([...pixels, channels], 1),
      filter: input([1, 1, channels, filters], 2),
      ...extras,
    } as Record<string, Result>;
    const expected = await runOn('cpu', name, inputs, { ...ATTRS, ...attrs });
    const found = await runOn('wasm', name, inputs, { ...ATTRS, ...attrs });
    if (bound === 0) return expectEqual(found, expected);
    expect(found.shape).toEqual(expected.shape);
    const worst = found.values.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.values[i])), 0);
    expect(worst).toBeLessThanOrEqual(bound);
  }

  describe.each(SHAPES.map((pixels) => [pixels] as const))('pixels %j', (pixels) => {
    test.each(['linear', 'relu', 'relu6'])('%s, with a bias and without', async (activation) => {
      for (const width of WIDTHS) {
        await compare('FusedConv2D', pixels, width, {}, { activation });
        await compare('FusedConv2D', pixels, width, { bias: input([width[1]], 3) }, { activation });
      }
    });

    test('padded by nothing in numbers, without padding, and unfused', async () => {
      const nothing = [0, 0, 0, 0].map(() => [0, 0]);
      for (const width of WIDTHS) {
        await compare(
          'FusedConv2D',
          pixels,
          width,
          { bias: input([width[1]], 3) },
          { pad: 'valid', activation: 'linear' },
        );
        await compare('FusedConv2D', pixels, width, {}, { pad: nothing, activation: 'relu' });
        await compare('Conv2D', pixels, width, {}, { pad: 0 });
        await compare('Conv2D', pixels, width, {}, {});
      }
    });

    test.each([
      ['elu', {}],
      ['sigmoid', {}],
      ['leakyrelu', { leakyreluAlpha: 0.25 }],
    ])('%s', async (activation, more) => {
      // Of whole numbers, exact in both, an exponential is taken: XNNPACK's and the backend's own are good to some units in
      // the last place of numbers up to 1, so 16 u is ample for both. A leaky slope of 1/4 does not round.
      const bound = activation === 'leakyrelu' ? 0 : 16 * 2 ** -24;
      for (const width of WIDTHS) {
        await compare('FusedConv2D', pixels, width, { bias: input([width[1]], 3) }, { activation, ...more }, bound);
      }
    });

    test('prelu, with a slope for each channel', async () => {
      for (const width of WIDTHS) {
        const preluActivationWeights = input([1, 1, width[1]], 5);
        const extras = { bias: input([width[1]], 3), preluActivationWeights };
        await compare('FusedConv2D', pixels, width, extras, { activation: 'prelu' });
      }
    });

    test('a bias of a single number is added to all channels, which the backend alone refuses', async () => {
      const bias = { shape: [1], values: Float32Array.of(2) };
      await compare('FusedConv2D', pixels, [3, 7], { bias }, { activation: 'relu' });
      await compare('FusedConv2D', pixels, [3, 1], { bias }, { activation: 'relu' });
    });
  });

  test('what is no product of x as it lies is not taken for one', async () => {
    const pixels = [1, 17, 18];
    const uneven = [
      [0, 0],
      [1, 0],
      [0, 2],
      [0, 0],
    ];
    for (const attrs of [{ strides: [2, 2] }, { strides: [1, 2] }, { pad: 2 }, { pad: uneven }]) {
      for (const activation of ['linear', 'relu6']) {
        await compare('FusedConv2D', pixels, [3, 9], { bias: input([9], 3) }, { ...attrs, activation });
      }
    }
    const wide = { x: input([...pixels, 2], 1), filter: input([1, 2, 2, 3], 2) };
    expectEqual(await runOn('wasm', 'Conv2D', wide, ATTRS), await runOn('cpu', 'Conv2D', wide, ATTRS));
  });

  const kinds = (values: Float32Array) => plain(values).map((v) => (Number.isFinite(v) ? 'finite' : String(v)));

  test.each(['linear', 'relu', 'relu6'])('%s: NaN and infinity come out as on cpu', async (activation) => {
    for (const bad of [N, P, M]) {
      for (const key of ['x', 'filter', 'bias'] as const) {
        const inputs = { x: input([1, 16, 17, 3], 1), filter: input([1, 1, 3, 9], 2), bias: input([9], 3) };
        const values = inputs[key].values.slice();
        values[Math.floor(values.length / 2)] = bad;
        const given = { ...inputs, [key]: { ...inputs[key], values } };
        const attrs = { ...ATTRS, activation };
        const expected = await runOn('cpu', 'FusedConv2D', given, attrs);
        const found = await runOn('wasm', 'FusedConv2D', given, attrs);
        expect([key, bad, ...kinds(found.values)]).toEqual([key, bad, ...kinds(expected.values)]);
        if (Number.isNaN(bad)) expect(found.values.some(Number.isNaN)).toBe(true);
      }
    }
  });

  test('the input gradient is the product with the transposed filter, for any size', async () => {
    const cases = fc.tuple(
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 33 }),
      fc.integer({ min: 1, max: 33 }),
      fc.integer({ min: 0, max: 1e6 }),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ([width, channels, filters, seed]) => {
        const inputShape = [2, 3, width, channels];
        const inputs = { dy: input([2, 3, width, filters], seed), filter: input([1, 1, channels, filters], seed + 1) };
        const attrs = { strides: [1, 1], pad: 'same', dataFormat: 'NHWC', inputShape };
        const expected = await runOn('cpu', 'Conv2DBackpropInput', inputs, attrs);
        expectEqual(await runOn('wasm', 'Conv2DBackpropInput', inputs, attrs), expected);
      }),
      { numRuns: 60 },
    );
  });

  test('what it leaves is its output alone, and it does not grow the heap', () => {
    const [x, filter, bias] = [tf.ones([4, 32, 32, 24]), tf.ones([1, 1, 24, 40]), tf.ones([40])];
    const run = () =>
      tf.engine().runKernel('FusedConv2D', { x, filter, bias }, { ...ATTRS, activation: 'relu' } as never) as tf.Tensor;
    run().dispose();
    const before = tf.memory();
    const { length } = wasmBackend().wasm.HEAPU8;
    for (let i = 0; i < 200; i++) run().dispose();
    expect(wasmBackend().wasm.HEAPU8.length).toBe(length);
    expect(tf.memory()).toEqual(before);
    tf.dispose([x, filter, bias]);
  });
});
