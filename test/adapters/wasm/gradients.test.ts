/** The four gradient kernels against the cpu backend, equal number by number (see cases.ts for why no tolerance is needed). */
import fc from 'fast-check';
import { type ConvCase, convCases, expectEqual, input, outputShape, type Result, runOn } from './cases';

interface Gradient {
  depthwise: boolean;
  inputs(c: ConvCase, dy: number[]): Record<string, Result>;
  attrs(c: ConvCase): object;
}

const filterShape = (c: ConvCase) => [...c.taps, c.x[3], c.out];
const base = (c: ConvCase) => ({ strides: c.strides, pad: c.pad });

const GRADIENTS: Record<string, Gradient> = {
  Conv2DBackpropFilter: {
    depthwise: false,
    inputs: (c, dy) => ({ x: input(c.x, c.seed), dy: input(dy, c.seed + 1) }),
    attrs: (c) => ({ ...base(c), dataFormat: 'NHWC', filterShape: filterShape(c) }),
  },
  Conv2DBackpropInput: {
    depthwise: false,
    inputs: (c, dy) => ({ dy: input(dy, c.seed), filter: input(filterShape(c), c.seed + 1) }),
    attrs: (c) => ({ ...base(c), dataFormat: 'NHWC', inputShape: c.x }),
  },
  DepthwiseConv2dNativeBackpropFilter: {
    depthwise: true,
    inputs: (c, dy) => ({ x: input(c.x, c.seed), dy: input(dy, c.seed + 1) }),
    attrs: (c) => ({ ...base(c), dilations: [1, 1], filterShape: filterShape(c) }),
  },
  DepthwiseConv2dNativeBackpropInput: {
    depthwise: true,
    inputs: (c, dy) => ({ dy: input(dy, c.seed), filter: input(filterShape(c), c.seed + 1) }),
    attrs: (c) => ({ ...base(c), dilations: [1, 1], inputShape: c.x }),
  },
};

async function compare(kernelName: string, c: ConvCase): Promise<void> {
  const gradient = GRADIENTS[kernelName];
  const dy = outputShape(c, gradient.depthwise);
  fc.pre(dy !== null);
  const inputs = gradient.inputs(c, dy!);
  const expected = await runOn('cpu', kernelName, inputs, gradient.attrs(c));
  expectEqual(await runOn('wasm', kernelName, inputs, gradient.attrs(c)), expected);
}

const EXAMPLES: [name: string, ConvCase][] = [
  ['same 3x3', { x: [2, 7, 7, 4], taps: [3, 3], strides: [1, 1], pad: 'same', out: 4, seed: 1 }],
  ['asymmetric same padding', { x: [2, 8, 6, 3], taps: [3, 3], strides: [2, 2], pad: 'same', out: 5, seed: 2 }],
  ['even filter', { x: [1, 7, 9, 3], taps: [4, 2], strides: [1, 1], pad: 'same', out: 2, seed: 3 }],
  ['stride above the filter', { x: [2, 12, 7, 3], taps: [2, 2], strides: [3, 4], pad: 'same', out: 3, seed: 4 }],
  ['pointwise', { x: [3, 5, 5, 6], taps: [1, 1], strides: [1, 1], pad: 'same', out: 7, seed: 5 }],
  ['pointwise, strided', { x: [2, 5, 6, 5], taps: [1, 1], strides: [2, 2], pad: 'valid', out: 3, seed: 6 }],
  ['filter above the input', { x: [1, 2, 3, 2], taps: [5, 5], strides: [1, 1], pad: 'same', out: 2, seed: 7 }],
  ['7 taps', { x: [1, 9, 11, 3], taps: [7, 7], strides: [2, 2], pad: 'same', out: 2, seed: 8 }],
  ['rows left over', { x: [2, 10, 11, 2], taps: [3, 3], strides: [4, 3], pad: 'valid', out: 3, seed: 9 }],
  [
    'explicit padding',
    {
      x: [2, 6, 6, 3],
      taps: [3, 4],
      strides: [2, 1],
      pad: [
        [0, 0],
        [0, 2],
        [3, 1],
        [0, 0],
      ],
      out: 2,
      seed: 10,
    },
  ],
  [
    'padding wider than the filter',
    {
      x: [2, 4, 5, 2],
      taps: [2, 3],
      strides: [2, 1],
      pad: [
        [0, 0],
        [4, 3],
        [5, 4],
        [0, 0],
      ],
      out: 3,
      seed: 11,
    },
  ],
  ['padding as one number', { x: [2, 6, 6, 3], taps: [3, 3], strides: [1, 1], pad: 1, out: 3, seed: 12 }],
  ['one pixel', { x: [1, 1, 1, 1], taps: [1, 1], strides: [1, 1], pad: 'same', out: 1, seed: 13 }],
];

describe.each(Object.keys(GRADIENTS))('%s on wasm', (kernelName) => {
  test.each(EXAMPLES)('equals cpu: %s', async (_name, c) => {
    await compare(kernelName, c);
  });

  test('equals cpu for any shape', async () => {
    await fc.assert(
      fc.asyncProperty(convCases, (c) => compare(kernelName, c)),
      { numRuns: 300 },
    );
  });
});
