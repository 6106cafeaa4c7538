/**
 * The four forward convolutions, whose stock versions (backend 4.22.0) are all zeros in some cases, against the cpu
 * backend, equal number by number (see cases.ts for why no tolerance is needed).
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { useBackend } from '../../helpers/backends';
import { type ConvCase, convCases, expectEqual, input, outputShape, runOn } from './cases';

interface Options {
  dilations?: [number, number];
  dimRoundingMode?: 'floor' | 'ceil' | 'round';
  activation?: 'linear' | 'relu' | 'relu6';
}

const KERNELS: Record<string, { depthwise: boolean; fused: boolean }> = {
  Conv2D: { depthwise: false, fused: false },
  DepthwiseConv2dNative: { depthwise: true, fused: false },
  FusedConv2D: { depthwise: false, fused: true },
  FusedDepthwiseConv2D: { depthwise: true, fused: true },
};

async function compare(kernelName: string, c: ConvCase, options: Options = {}): Promise<Float32Array> {
  const { depthwise, fused } = KERNELS[kernelName];
  const { dilations = [1, 1], dimRoundingMode, activation = 'linear' } = options;
  fc.pre(outputShape(c, depthwise, dilations) !== null);
  const channels = depthwise ? c.x[3] * c.out : c.out;
  const inputs = {
    x: input(c.x, c.seed),
    filter: input([...c.taps, c.x[3], c.out], c.seed + 1),
    ...(fused ? { bias: input([channels], c.seed + 2) } : {}),
  };
  const attrs = { strides: c.strides, pad: c.pad, dataFormat: 'NHWC', dilations, dimRoundingMode, activation };
  const expected = await runOn('cpu', kernelName, inputs, attrs);
  const found = await runOn('wasm', kernelName, inputs, attrs);
  expectEqual(found, expected);
  return found.values;
}

const shape = (height: number, width: number): ConvCase['x'] => [2, height, width, 3];
const ZEROED: [name: string, ConvCase][] = [
  ['2x3 taps, stride 3x2, 12x12', { x: shape(12, 12), taps: [2, 3], strides: [3, 2], pad: 'same', out: 2, seed: 1 }],
  ['12 wide, 2 taps, stride 3', { x: shape(1, 12), taps: [1, 2], strides: [1, 3], pad: 'same', out: 2, seed: 2 }],
  ['7 wide, 2 taps, stride 4', { x: shape(1, 7), taps: [1, 2], strides: [1, 4], pad: 'same', out: 2, seed: 3 }],
  ['12 high, 3 taps, stride 4', { x: shape(12, 1), taps: [3, 1], strides: [4, 1], pad: 'same', out: 2, seed: 4 }],
  [
    'over on one axis, padded on the other',
    { x: shape(12, 5), taps: [2, 3], strides: [3, 1], pad: 'same', out: 2, seed: 5 },
  ],
  ['over on both axes', { x: shape(12, 9), taps: [2, 2], strides: [4, 3], pad: 'same', out: 2, seed: 6 }],
];

describe.each(Object.keys(KERNELS))('%s on wasm', (kernelName) => {
  test.each(ZEROED)('is not zero where the stock kernel is: %s', async (_name, c) => {
    const values = await compare(kernelName, c);
    expect(values.some((v) => v !== 0)).toBe(true);
  });

  test('equals cpu for any shape', async () => {
    const activations = fc.constantFrom('linear', 'relu', 'relu6') as fc.Arbitrary<Options['activation']>;
    await fc.assert(
      fc.asyncProperty(convCases, activations, async (c, activation) => {
        await compare(kernelName, c, { activation });
      }),
      { numRuns: 200 },
    );
  });

  test('equals cpu with dilation', async () => {
    const rates = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }));
    await fc.assert(
      fc.asyncProperty(convCases, rates, async (c, dilations) => {
        await compare(kernelName, { ...c, strides: [1, 1] }, { dilations });
      }),
      { numRuns: 100 },
    );
  });

  test('equals cpu however the number of windows is rounded', async () => {
    const modes = fc.constantFrom('floor', 'ceil', 'round') as fc.Arbitrary<Options['dimRoundingMode']>;
    const pads = fc.integer({ min: 0, max: 2 });
    await fc.assert(
      fc.asyncProperty(convCases, modes, pads, async (c, dimRoundingMode, pad) => {
        await compare(kernelName, { ...c, pad }, { dimRoundingMode });
      }),
      { numRuns: 100 },
    );
  });

  test('refuses NCHW by name instead of reading the wrong axis', async () => {
    await useBackend('wasm');
    const run = () =>
      tf.tidy(() => {
        const inputs = { x: tf.zeros([1, 3, 4, 4]), filter: tf.zeros([1, 1, 3, 1]) };
        const attrs = { strides: [1, 1], pad: 'same', dataFormat: 'NCHW', dilations: [1, 1], activation: 'linear' };
        tf.engine().runKernel(kernelName, inputs, attrs);
      });
    expect(run).toThrow(expect.objectContaining({ code: 'unsupported', message: expect.stringContaining("'NCHW'") }));
  });
});
