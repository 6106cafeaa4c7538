/**
 * NaN and ∞ come out where the cpu backend has them: nowhere hidden, and nowhere invented by a product of ∞ with a zero
 * that is only padding or layout.
 */
import { type ConvCase, input, outputShape, type Result, runOn } from './cases';

const CASES: [name: string, ConvCase][] = [
  ['3x3 same', { x: [2, 5, 6, 2], taps: [3, 3], strides: [1, 1], pad: 'same', out: 2, seed: 1 }],
  ['3x3 same, stride 2', { x: [2, 6, 7, 2], taps: [3, 3], strides: [2, 2], pad: 'same', out: 2, seed: 2 }],
  ['1x1', { x: [2, 4, 4, 3], taps: [1, 1], strides: [1, 1], pad: 'same', out: 2, seed: 3 }],
  ['rows left over', { x: [1, 8, 8, 2], taps: [2, 2], strides: [3, 3], pad: 'valid', out: 2, seed: 4 }],
];
const VALUES = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

/** The input with one bad number: in the first corner, where padding is near, in the middle, or at the end. */
function spoilt({ shape, values }: Result, bad: number, place: number): Result {
  const copy = values.slice();
  copy[Math.floor(place * (copy.length - 1))] = bad;
  return { shape, values: copy };
}

function gradients(c: ConvCase, depthwise: boolean): [name: string, inputs: Record<string, Result>, attrs: object][] {
  const name = depthwise ? 'DepthwiseConv2dNative' : 'Conv2D';
  const filterShape = [...c.taps, c.x[3], c.out];
  const attrs = { strides: c.strides, pad: c.pad, dataFormat: 'NHWC', dilations: [1, 1] };
  const dy = input(outputShape(c, depthwise)!, c.seed);
  return [
    [`${name}BackpropFilter`, { x: input(c.x, c.seed + 1), dy }, { ...attrs, filterShape }],
    [`${name}BackpropInput`, { dy, filter: input(filterShape, c.seed + 2) }, { ...attrs, inputShape: c.x }],
  ];
}

const kinds = (values: Float32Array) =>
  Array.from(values, (v) => (Number.isFinite(v) ? 'finite' : Number.isNaN(v) ? 'NaN' : v > 0 ? '+∞' : '−∞'));

describe.each([false, true])('depthwise: %s', (depthwise) => {
  test.each(CASES)('%s: one bad number in any input', async (_name, c) => {
    for (const [kernel, inputs, attrs] of gradients(c, depthwise)) {
      for (const key of Object.keys(inputs)) {
        for (const bad of VALUES) {
          for (const place of [0, 0.5, 1]) {
            const given = { ...inputs, [key]: spoilt(inputs[key], bad, place) };
            const expected = await runOn('cpu', kernel, given, attrs);
            const found = await runOn('wasm', kernel, given, attrs);
            const where = `${kernel}, ${key}[${place}] = ${bad}`;
            expect([where, ...kinds(found.values)]).toEqual([where, ...kinds(expected.values)]);
          }
        }
      }
    }
  });
});

test('a gradient that is NaN throughout stays NaN throughout', async () => {
  const [, c] = CASES[0];
  for (const [kernel, inputs, attrs] of gradients(c, false)) {
    const given = { ...inputs, dy: { ...inputs.dy, values: inputs.dy.values.map(() => Number.NaN) } };
    const { values } = await runOn('wasm', kernel, given, attrs);
    expect(values.every((v) => Number.isNaN(v))).toBe(true);
  }
});
