/** The kernels spread over threads, against the same kernels on one thread, on the same numbers. */
import { cut, cutImages } from '../../../adapters/node/threads/cuts';
import { KernelPool } from '../../../adapters/node/threads/kernel-pool';
import { parallelKernels } from '../../../adapters/node/threads/parallel-kernels';
import { compileSimd, type SimdKernels } from '../../../adapters/wasm/simd';
import { random } from '../../helpers/random';

describe('cuts', () => {
  test.each([
    [10, 3, 1, [0, 3, 3, 3, 6, 4]],
    [2, 8, 1, [0, 1, 1, 1]],
    [13, 2, 4, [0, 8, 8, 5]],
    [1, 4, 4, [0, 1]],
    [0, 4, 1, []],
  ])('%i things in %i parts, by %i', (total, parts, unit, expected) => {
    expect(cut(total, parts, unit).flatMap(({ from, count }) => [from, count])).toEqual(expected);
  });

  test.each([
    [16, 7, 8],
    [3, 7, 8],
    [1, 5, 4],
    [1, 1, 4],
    [2, 3, 16],
  ])('%i images of %i rows for %i parts: each row once', (images, rows, parts) => {
    const seen: number[] = [];
    for (const band of cutImages(images, rows, parts)) {
      for (let n = 0; n < band.images; n++) {
        for (let r = 0; r < band.rows; r++) seen.push((band.image + n) * rows + band.row + r);
      }
    }
    expect(seen).toEqual(Array.from({ length: images * rows }, (_, i) => i));
  });
});

/** Memory that only grows: what a test writes and reads there. */
class Space {
  readonly memory = new WebAssembly.Memory({ initial: 2048, maximum: 2048, shared: true });
  readonly HEAPU8 = new Uint8Array(this.memory.buffer);
  /** Blocks that were allocated and not freed. */
  open = 0;
  private next = 1024;

  _malloc(bytes: number): number {
    const at = this.next;
    this.next += Math.ceil(bytes / 16) * 16 + 16;
    if (this.next > this.HEAPU8.length) throw new Error('the test needs more memory');
    this.open++;
    // As a real heap's: not cleared.
    this.HEAPU8.fill(0xff, at, at + bytes);
    return at;
  }
  _free(): void {
    this.open--;
  }
  clear(): void {
    this.next = 1024;
    this.open = 0;
  }
  put(values: Float32Array): number {
    const at = this._malloc(values.byteLength);
    new Float32Array(this.memory.buffer, at, values.length).set(values);
    return at;
  }
  floats(at: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, at, count).slice();
  }
  doubles(at: number, count: number): Float64Array {
    return new Float64Array(this.memory.buffer, at, count).slice();
  }
}

/** jest's own comparison takes a microsecond for each number. */
function sameBits(a: Float32Array | Float64Array, b: Float32Array | Float64Array): boolean {
  const [first, second] = [a, b].map(({ buffer }) => Buffer.from(buffer as ArrayBuffer));
  return first.equals(second);
}

interface Found {
  /** What does not depend on the cut. */
  exact: Float32Array[];
  /** Sums of `terms` products of numbers below 1, to which something was added that stood there. */
  sums: { values: Float32Array | Float64Array; terms: number }[];
}
type Run = (kernels: SimdKernels, space: Space, r: Numbers) => Found;

const DRAWN = random(7).array(1 << 20);

/** Random numbers from −1 to 1, the same in every run, and drawn only once: most of the test's time would go there. */
class Numbers {
  private at = 0;

  array(count: number): Float32Array {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++, this.at++) values[i] = DRAWN[this.at % DRAWN.length];
    return values;
  }
}

const zeros = (count: number) => new Float32Array(count);
const ones = (count: number) => new Float32Array(count).fill(1);
const totals = (space: Space, count: number) => {
  const at = space._malloc(count * 8);
  new Float64Array(space.memory.buffer, at, count).fill(1);
  return at;
};

/** [images, h, w, channels, kh, kw, sh, sw, top, left, outH, outW] */
type Conv = [number, number, number, number, number, number, number, number, number, number, number, number];
const CONVS: [string, Conv][] = [
  ['16 images', [16, 14, 14, 24, 3, 3, 1, 1, 1, 1, 14, 14]],
  ['one image', [1, 37, 40, 40, 3, 3, 1, 1, 1, 1, 37, 40]],
  ['three images, stride 2, odd channels', [3, 49, 50, 13, 5, 3, 2, 2, 1, 0, 25, 25]],
  ['strides that differ, much padding', [2, 40, 41, 30, 4, 5, 3, 1, 3, 2, 15, 41]],
  ['a window larger than a band', [1, 9, 100, 40, 7, 3, 1, 1, 3, 1, 9, 100]],
  ['too small to be cut', [2, 5, 5, 3, 3, 3, 1, 1, 1, 1, 5, 5]],
];

const depthwise = (c: Conv): [string, Run][] => {
  const [images, h, w, channels, kh, kw, sh, sw, top, left, outH, outW] = c;
  const inputs = images * h * w * channels;
  const outputs = images * outH * outW * channels;
  const taps = kh * kw * channels;
  const window = [kh, kw, sh, sw, top, left] as const;
  const dims = [images, h, w, channels, outH, outW] as const;
  return [
    [
      'depthwiseConv2d',
      (kernels, space, r) => {
        const [x, filter, bias, y] = [r.array(inputs), r.array(taps), r.array(channels), zeros(outputs)].map((a) =>
          space.put(a),
        );
        kernels.depthwiseConv2d(x, filter, bias, y, ...dims, ...window, -0.5, 0.9);
        return { exact: [space.floats(y, outputs)], sums: [] };
      },
    ],
    [
      'depthwiseBackpropInput',
      (kernels, space, r) => {
        const [dy, filter, dx] = [r.array(outputs), r.array(taps), ones(inputs)].map((a) => space.put(a));
        kernels.depthwiseBackpropInput(dy, filter, dx, ...dims, ...window);
        return { exact: [space.floats(dx, inputs)], sums: [] };
      },
    ],
    [
      'depthwiseBackpropFilter',
      (kernels, space, r) => {
        const [x, dy, dw] = [r.array(inputs), r.array(outputs), ones(taps)].map((a) => space.put(a));
        kernels.depthwiseBackpropFilter(x, dy, dw, ...dims, ...window);
        return { exact: [], sums: [{ values: space.floats(dw, taps), terms: images * outH * outW }] };
      },
    ],
    [
      'conv2dBackpropFilter',
      (kernels, space, r) => {
        const filters = 10;
        const count = taps * filters;
        const dyCount = images * outH * outW * filters;
        const [x, dy, dw] = [r.array(inputs), r.array(dyCount), ones(count)].map((a) => space.put(a));
        kernels.conv2dBackpropFilter(x, dy, dw, images, h, w, channels, outH, outW, filters, ...window);
        return { exact: [], sums: [{ values: space.floats(dw, count), terms: images * outH * outW }] };
      },
    ],
  ];
};

const rowKernels = (rows: number, channels: number): [string, Run][] => {
  const count = rows * channels;
  return [
    ...[true, false].map((summed): [string, Run] => [
      `activationGradient, ${summed ? 'summed' : 'not summed'}`,
      (kernels, space, r) => {
        const [dy, y] = [r.array(count), r.array(count)].map((a) => space.put(a));
        const sums = summed ? totals(space, channels) : 0;
        kernels.activationGradient(dy, y, dy, sums, rows, channels, 0, Number.NaN, 0.2, 0, 1, 0);
        const dz = space.floats(dy, count);
        return { exact: [dz], sums: summed ? [{ values: space.doubles(sums, channels), terms: rows }] : [] };
      },
    ]),
    [
      'columnSums',
      (kernels, space, r) => {
        const x = space.put(r.array(count));
        const sums = totals(space, channels);
        kernels.columnSums(x, sums, rows, channels);
        return { exact: [], sums: [{ values: space.doubles(sums, channels), terms: rows }] };
      },
    ],
    ...[true, false].map((written): [string, Run] => [
      `scaledGradient, ${written ? 'with' : 'without'} dx`,
      (kernels, space, r) => {
        const [dy, x, scale, mean] = [count, count, channels, channels].map((n) => space.put(r.array(n)));
        // Apart from each other, and in the other order in memory.
        const products = totals(space, channels);
        const sums = totals(space, channels);
        const dx = written ? space.put(zeros(count)) : 0;
        kernels.scaledGradient(dy, x, scale, mean, dx, sums, products, rows, channels);
        const added = [sums, products].map((at) => ({ values: space.doubles(at, channels), terms: 2 * rows }));
        return { exact: written ? [space.floats(dx, count)] : [], sums: added };
      },
    ]),
  ];
};

const multiply = (rows: number, k: number, n: number, biased: boolean): [string, Run] => [
  `multiply ${rows} × ${k} × ${n}${biased ? ' and bias' : ''}`,
  (kernels, space, r) => {
    const [a, b, c] = [r.array(rows * k), r.array(k * n), zeros(rows * n)].map((values) => space.put(values));
    const panels = space._malloc(kernels.packedFloats(k, n) * 4);
    kernels.packPanels(b, n * 4, 4, k, n, panels);
    const bias = biased ? space.put(r.array(n)) : 0;
    kernels.multiply(a, panels, bias, c, rows, k, n, -1, 2);
    return { exact: [space.floats(c, rows * n)], sums: [] };
  },
];

const pools: [string, Run][] = ['values', 'gradient', 'average'].map((what): [string, Run] => [
  `pooling: ${what}`,
  (kernels, space, r) => {
    const [images, d, h, w, channels, outD, outH, outW] = [5, 2, 21, 20, 19, 1, 10, 10];
    const [inputs, outputs] = [images * d * h * w * channels, images * outD * outH * outW * channels];
    const window = [2, 3, 3, 1, 2, 2, 0, 0, 1] as const;
    const [x, out, dx] = [r.array(inputs), r.array(outputs), zeros(inputs)].map((a) => space.put(a));
    const dims = [images, d, h, w, channels, outD, outH, outW] as const;
    if (what === 'values') kernels.maxPool(x, out, 0, 0, ...dims, ...window);
    else if (what === 'gradient') kernels.maxPool(x, 0, out, dx, ...dims, ...window);
    else kernels.averagePoolGradient(out, dx, ...dims, ...window);
    return { exact: [space.floats(out, outputs), space.floats(dx, inputs)], sums: [] };
  },
]);

const optimizers = (count: number): [string, Run][] => [
  [
    `adam on ${count}`,
    (kernels, space, r) => {
      const [value, m, gradient] = [1, 2, 3].map(() => space.put(r.array(count)));
      const v = space.put(r.array(count).map(Math.abs));
      const to = [1, 2, 3].map(() => space.put(zeros(count))) as [number, number, number];
      const corrections = space.put(Float32Array.of(0.1, 0.001));
      kernels.adam(
        ...([value, m, v, gradient, ...to, count, corrections, corrections + 4] as const),
        ...([0.9, 0.1, 0.999, 0.001, 1e-7, -0.01] as const),
      );
      return { exact: to.map((at) => space.floats(at, count)), sums: [] };
    },
  ],
  ...[true, false].map((nesterov): [string, Run] => [
    `momentum on ${count}${nesterov ? ', Nesterov' : ''}`,
    (kernels, space, r) => {
      const [value, accumulation, gradient] = [1, 2, 3].map(() => space.put(r.array(count)));
      const to = [1, 2].map(() => space.put(zeros(count))) as [number, number];
      kernels.momentum(value, accumulation, gradient, ...to, count, 0.9, -0.01, nesterov);
      return { exact: to.map((at) => space.floats(at, count)), sums: [] };
    },
  ]),
];

const CASES: [string, Run][] = [
  ...CONVS.flatMap(([name, conv]) => depthwise(conv).map(([k, run]): [string, Run] => [`${k}: ${name}`, run])),
  ...depthwise([3, 20, 20, 33, 1, 1, 1, 1, 0, 0, 20, 20]).slice(3),
  ...depthwise([1, 300, 1, 200, 1, 1, 1, 1, 0, 0, 300, 1]).slice(3),
  ...rowKernels(9001, 18),
  ...rowKernels(3, 70_000),
  ...rowKernels(10, 7),
  multiply(1001, 37, 29, true),
  multiply(6, 500, 300, false),
  multiply(3, 500, 300, true),
  multiply(10, 5, 5, true),
  ...pools,
  ...optimizers(123_457),
  ...optimizers(50),
];

describe.each([2, 3, 5])('%i threads', (threads) => {
  const space = new Space();
  const module = compileSimd(true);
  const { exports } = new WebAssembly.Instance(module, { env: { memory: space.memory } });
  const single = exports as unknown as SimdKernels;
  let pool: KernelPool;
  let parallel: SimdKernels;

  beforeAll(async () => {
    pool = await KernelPool.start(threads, module, space.memory);
    parallel = parallelKernels(single, pool, space);
  });
  afterAll(() => pool.close());

  test.each(CASES)('%s', (_, run) => {
    const once = (kernels: SimdKernels) => {
      space.clear();
      const before = space.open;
      const found = run(kernels, space, new Numbers());
      return { found, open: space.open - before };
    };
    const expected = once(single);
    const first = once(parallel);
    expect(first.open).toBe(expected.open);
    first.found.exact.forEach((values, i) => {
      expect(sameBits(values, expected.found.exact[i])).toBe(true);
    });
    first.found.sums.forEach(({ values, terms }, i) => {
      // n roundings of partial sums, which grow like √n themselves, with independent signs: √n · √n · 2⁻²⁴, and some.
      const tolerance = 4 * (terms + 1) * 2 ** -24;
      const wanted = expected.found.sums[i].values;
      let largest = 0;
      for (let k = 0; k < values.length; k++) largest = Math.max(largest, Math.abs(values[k] - wanted[k]));
      expect(largest).toBeLessThanOrEqual(tolerance);
      // A part that is left out would show: a row alone changes a sum by more.
      expect(tolerance).toBeLessThan(0.05);
    });
    const again = once(parallel).found;
    [...again.exact, ...again.sums.map(({ values }) => values)].forEach((values, i) => {
      const before = [...first.found.exact, ...first.found.sums.map(({ values }) => values)][i];
      expect(sameBits(values, before)).toBe(true);
    });
  });
});
