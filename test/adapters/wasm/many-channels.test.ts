/**
 * Gradients of convolutions with many channels, the depthwise ones that go by channel groups among them. Every allocation
 * has guards (canaries.ts).
 *
 * Numbers are small and whole, so that sums are exact in whatever order (see cases.ts): results must be equal.
 */
import fc from 'fast-check';
import { useBackend } from '../../helpers/backends';
import { guardHeap } from './canaries';
import { type ConvCase, expectEqual, input, outputShape, type Pad, type Result, runOn } from './cases';

guardHeap();
beforeEach(() => useBackend('wasm'));

const { NaN: N, POSITIVE_INFINITY: P } = Number;

/**
 * As many channels as the kernels' widest steps take at once, and some more: cases.ts stays below, where each channel goes
 * by itself.
 */
describe('gradients of many channels', () => {
  const size = (max: number) => fc.integer({ min: 1, max });
  const pads = fc.constantFrom<Pad>('same', 'valid', 1, [
    [0, 0],
    [0, 1],
    [2, 1],
    [0, 0],
  ]);
  const cases = (channels: number, out: number): fc.Arbitrary<ConvCase> =>
    fc.record({
      x: fc.tuple(size(2), size(8), size(9), size(channels)),
      taps: fc.tuple(size(4), size(7)),
      strides: fc.tuple(size(3), size(3)),
      pad: pads,
      out: size(out),
      seed: fc.integer({ min: 0, max: 1e6 }),
    }) as fc.Arbitrary<ConvCase>;

  async function compare(c: ConvCase, depthwise: boolean): Promise<void> {
    const dyShape = outputShape(c, depthwise);
    fc.pre(dyShape !== null);
    const filterShape = [...c.taps, c.x[3], c.out];
    const attrs = { strides: c.strides, pad: c.pad, dataFormat: 'NHWC', dilations: [1, 1] };
    const [x, dy, filter] = [input(c.x, c.seed), input(dyShape!, c.seed + 1), input(filterShape, c.seed + 2)];
    const name = depthwise ? 'DepthwiseConv2dNative' : 'Conv2D';
    for (const [kernel, inputs, more] of [
      [`${name}BackpropFilter`, { x, dy }, { filterShape }],
      [`${name}BackpropInput`, { dy, filter }, { inputShape: c.x }],
    ] as [string, Record<string, Result>, object][]) {
      const expected = await runOn('cpu', kernel, inputs, { ...attrs, ...more });
      expectEqual(await runOn('wasm', kernel, inputs, { ...attrs, ...more }), expected);
    }
  }

  test('ordinary convolutions', async () => {
    await fc.assert(
      fc.asyncProperty(cases(18, 35), (c) => compare(c, false)),
      { numRuns: 60 },
    );
  });

  test('depthwise ones', async () => {
    await fc.assert(
      fc.asyncProperty(cases(41, 1), (c) => compare(c, true)),
      { numRuns: 100 },
    );
  });

  test('depthwise ones with a multiplier', async () => {
    await fc.assert(
      fc.asyncProperty(cases(13, 4), (c) => compare({ ...c, out: c.out + 1 }, true)),
      { numRuns: 100 },
    );
  });

  test('rows so long that a band is one row, and filters so wide that a chunk is few rows', async () => {
    const base = { strides: [1, 1], pad: 'same', seed: 1 } as const;
    await compare({ ...base, x: [1, 4, 150, 33], taps: [3, 3], out: 1 } as ConvCase, true);
    await compare({ ...base, x: [1, 1, 130, 40], taps: [1, 3], out: 41 } as ConvCase, false);
    await compare({ ...base, x: [1, 30, 31, 20], taps: [1, 1], out: 21 } as ConvCase, false);
  });

  test('NaN and infinity come out as on cpu, and nowhere else', async () => {
    const kinds = (values: Float32Array) =>
      Array.from(values, (v) => (Number.isFinite(v) ? 'finite' : String(v))).join();
    const shape = {
      x: [1, 6, 7, 11] as ConvCase['x'],
      taps: [3, 4] as [number, number],
      pad: 'same' as const,
      seed: 1,
    };
    for (const strides of [1, 2].map((s): [number, number] => [s, s])) {
      for (const depthwise of [false, true]) {
        const c: ConvCase = { ...shape, strides, out: depthwise ? 1 : 9 };
        const filterShape = [...c.taps, 11, c.out];
        const inputs = {
          x: input(c.x, 1),
          dy: input(outputShape(c, depthwise)!, 2),
          filter: input(filterShape, 3),
        };
        const attrs = { strides, pad: 'same', dataFormat: 'NHWC', dilations: [1, 1], filterShape, inputShape: c.x };
        const name = depthwise ? 'DepthwiseConv2dNative' : 'Conv2D';
        for (const [kernel, keys] of [
          [`${name}BackpropFilter`, ['x', 'dy']],
          [`${name}BackpropInput`, ['dy', 'filter']],
        ] as [string, (keyof typeof inputs)[]][]) {
          for (const key of keys) {
            for (const bad of [N, P]) {
              for (const place of [0, 0.5, 1]) {
                const given: Record<string, Result> = Object.fromEntries(keys.map((each) => [each, inputs[each]]));
                const values = inputs[key].values.slice();
                values[Math.floor(place * (values.length - 1))] = bad;
                given[key] = { ...inputs[key], values };
                const expected = await runOn('cpu', kernel, given, attrs);
                const found = await runOn('wasm', kernel, given, attrs);
                expect(`${kernel} ${key} ${kinds(found.values)}`).toBe(`${kernel} ${key} ${kinds(expected.values)}`);
              }
            }
          }
        }
      }
    }
  });
});
