/**
 * Tensors beyond 2³¹ bytes of the heap, whose addresses are negative as signed 32-bit numbers: every kernel of ours gives
 * there what it gives at the heap's beginning, to the bit. The room below is only reserved, never written, so that the
 * test takes little memory.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-layers';
import type { WasmBackend } from '../../../adapters/wasm/heap';
import { useBackend } from '../../helpers/backends';
import { random } from '../../helpers/random';

const GIGABYTE = 2 ** 30;

/** Puts everything that is allocated while `use` runs behind 2 GiB. */
function beyondTwoGigabytes(use: () => void): void {
  const { wasm } = tf.backend() as unknown as WasmBackend;
  const { _malloc: malloc, _free: free } = wasm;
  const blocks = [malloc(GIGABYTE), malloc(GIGABYTE), malloc(GIGABYTE / 8)].map((address) => address >>> 0);
  let next = blocks[2];
  expect(next).toBeGreaterThanOrEqual(2 ** 31);
  wasm._malloc = (bytes) => {
    const address = next;
    next += Math.ceil(bytes / 16) * 16;
    return address;
  };
  wasm._free = () => {};
  try {
    use();
    expect(next).toBeLessThan(blocks[2] + GIGABYTE / 8);
  } finally {
    wasm._malloc = malloc;
    wasm._free = free;
    for (const block of blocks) free(block);
  }
}

const rng = random(3);
const tensorOf = (shape: number[]) => tf.tensor(rng.array(shape.reduce((a, b) => a * b)), shape, 'float32');

interface Case {
  kernel: string;
  inputs: Record<string, number[]>;
  attrs: object;
}

const CONV = { strides: [1, 1], pad: 'same', dataFormat: 'NHWC', dilations: [1, 1] };
const X = [2, 9, 9, 6];
const FOLD = { epsilon: 0.001, scaleShape: [1, 1, 1, 5] };

const CASES: Case[] = [
  { kernel: 'FusedConv2D', inputs: { x: [2, 16, 16, 6], filter: [1, 1, 6, 5], bias: [5] }, attrs: CONV },
  { kernel: 'FusedDepthwiseConv2D', inputs: { x: X, filter: [3, 3, 6, 1], bias: [6] }, attrs: CONV },
  { kernel: 'Conv2DBackpropFilter', inputs: { x: X, dy: [2, 9, 9, 5] }, attrs: { ...CONV, filterShape: [3, 3, 6, 5] } },
  {
    kernel: 'Conv2DBackpropInput',
    inputs: { dy: [2, 9, 9, 5], filter: [1, 1, 6, 5] },
    attrs: { ...CONV, inputShape: X },
  },
  {
    kernel: 'Conv2DBackpropInput',
    inputs: { dy: [2, 9, 9, 5], filter: [3, 3, 6, 5] },
    attrs: { ...CONV, inputShape: X },
  },
  {
    kernel: 'DepthwiseConv2dNativeBackpropFilter',
    inputs: { x: X, dy: [2, 9, 9, 6] },
    attrs: { ...CONV, filterShape: [3, 3, 6, 1] },
  },
  {
    kernel: 'DepthwiseConv2dNativeBackpropFilter',
    inputs: { x: X, dy: [2, 9, 9, 12] },
    attrs: { ...CONV, filterShape: [3, 3, 6, 2] },
  },
  {
    kernel: 'DepthwiseConv2dNativeBackpropInput',
    inputs: { dy: [2, 9, 9, 6], filter: [3, 3, 6, 1] },
    attrs: { ...CONV, inputShape: X },
  },
  {
    kernel: 'DepthwiseConv2dNativeBackpropInput',
    inputs: { dy: [2, 9, 9, 12], filter: [3, 3, 6, 2] },
    attrs: { ...CONV, inputShape: X },
  },
  { kernel: 'Sum', inputs: { x: X }, attrs: { axis: [0, 1, 2], keepDims: false } },
  {
    kernel: 'MaxPoolGrad',
    inputs: { dy: [2, 4, 4, 6], input: X, output: [2, 4, 4, 6] },
    attrs: { filterSize: [3, 3], strides: [2, 2], pad: 'valid' },
  },
  { kernel: 'TuneActivationGrad', inputs: { dy: X, y: X }, attrs: { activation: 'relu6', reuse: false } },
  {
    kernel: 'TuneFold',
    inputs: { kernel: [3, 3, 2, 5], gamma: [5], beta: [5], mean: [5], variance: [5] },
    attrs: FOLD,
  },
  {
    kernel: 'TuneFoldGrad',
    inputs: {
      dKernel: [3, 3, 2, 5],
      dBias: [5],
      kernel: [3, 3, 2, 5],
      bias: [5],
      mean: [5],
      variance: [5],
      scale: [5],
    },
    attrs: FOLD,
  },
  { kernel: 'TuneFrozenBatchNormGrad', inputs: { dy: X, x: X, scale: [6], mean: [6] }, attrs: { reuse: false } },
];

/** [inputs here, outputs]; inputs are the given values, so that both places compute the same. */
function run({ kernel, attrs }: Case, inputs: tf.NamedTensorMap): Float32Array[] {
  const outputs = tf.engine().runKernel(kernel, inputs, attrs as tf.NamedAttrMap);
  const list = (Array.isArray(outputs) ? outputs : [outputs]) as tf.Tensor[];
  const values = list.map((tensor) => tensor.dataSync().slice() as Float32Array);
  tf.dispose(list);
  return values;
}

test('kernels are the same beyond 2 GiB', async () => {
  await useBackend('wasm');
  const backend = tf.backend() as unknown as WasmBackend;
  // Variances are squared numbers.
  const given = CASES.map(({ inputs }) =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, shape]) => [
        name,
        name === 'variance' ? tf.tidy(() => tf.square(tensorOf(shape))) : tensorOf(shape),
      ]),
    ),
  );
  const expected = CASES.map((c, i) => run(c, given[i]));
  beyondTwoGigabytes(() => {
    CASES.forEach((c, i) => {
      const copies = Object.fromEntries(
        Object.entries(given[i]).map(([name, t]) => [name, tf.tensor(t.dataSync().slice(), t.shape, 'float32')]),
      );
      for (const copy of Object.values(copies)) {
        expect(backend.dataIdMap.get(copy.dataId).memoryOffset).toBeGreaterThanOrEqual(2 ** 31);
      }
      expect([c.kernel, run(c, copies)]).toEqual([c.kernel, expected[i]]);
      tf.dispose(copies);
    });
  });
  tf.dispose(given);
});
