/** What must not happen to memory: leaks of tensors, of backend buffers or of wasm heap, and large temporaries. */
import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../../helpers/backends';
import { wholeTensor } from './cases';

interface MemoryCase {
  x: number[];
  filter: number[];
  strides: [number, number];
  pad: 'same' | 'valid';
}

const CONV: MemoryCase[] = [
  { x: [2, 9, 9, 3], filter: [3, 3, 3, 4], strides: [1, 1], pad: 'same' },
  { x: [2, 9, 9, 3], filter: [3, 3, 3, 4], strides: [2, 2], pad: 'same' },
  { x: [2, 9, 9, 3], filter: [1, 1, 3, 4], strides: [1, 1], pad: 'same' },
  { x: [2, 9, 9, 1], filter: [1, 1, 1, 1], strides: [1, 1], pad: 'same' },
  { x: [1, 80, 80, 40], filter: [3, 3, 40, 8], strides: [1, 1], pad: 'same' },
  { x: [2, 12, 12, 3], filter: [2, 3, 3, 2], strides: [3, 2], pad: 'same' },
];
const DEPTHWISE: MemoryCase[] = [
  { x: [2, 9, 9, 3], filter: [3, 3, 3, 1], strides: [1, 1], pad: 'same' },
  { x: [2, 9, 9, 3], filter: [3, 3, 3, 1], strides: [2, 2], pad: 'same' },
  { x: [2, 9, 9, 3], filter: [3, 3, 3, 2], strides: [1, 1], pad: 'valid' },
  { x: [2, 12, 12, 3], filter: [2, 3, 3, 2], strides: [3, 2], pad: 'same' },
];

/** Each kernel on the inputs of a case. */
function runs(c: MemoryCase, depthwise: boolean): [name: string, run: () => tf.Tensor, inputs: tf.Tensor[]][] {
  const name = depthwise ? 'DepthwiseConv2dNative' : 'Conv2D';
  const fused = depthwise ? 'FusedDepthwiseConv2D' : 'FusedConv2D';
  const x = wholeTensor(c.x, 1);
  const filter = wholeTensor(c.filter, 2);
  const attrs = { strides: c.strides, pad: c.pad, dataFormat: 'NHWC', dilations: [1, 1] };
  const run = (kernel: string, inputs: tf.NamedTensorMap, more: object) =>
    tf.engine().runKernel(kernel, inputs, { ...attrs, ...more } as tf.NamedAttrMap) as tf.Tensor;
  const dy = run(name, { x, filter }, {});
  const all = [x, filter, dy];
  return [
    [name, () => run(name, { x, filter }, {}), all],
    [fused, () => run(fused, { x, filter }, { activation: 'linear' }), all],
    [`${name}BackpropInput`, () => run(`${name}BackpropInput`, { dy, filter }, { inputShape: c.x }), all],
    [`${name}BackpropFilter`, () => run(`${name}BackpropFilter`, { x, dy }, { filterShape: c.filter }), all],
  ];
}

const CASES = [...CONV.map((c) => [c, false] as const), ...DEPTHWISE.map((c) => [c, true] as const)];

beforeEach(() => useBackend('wasm'));
afterEach(() => tf.env().set('IS_TEST', false));

test.each(CASES)('%j: a kernel leaves its output and nothing else', (c, depthwise) => {
  // Makes the engine itself count the backend's buffers before and after every kernel, inner ones included.
  tf.env().set('IS_TEST', true);
  const backend = tf.backend() as unknown as { numDataIds(): number };
  const kernels = runs(c, depthwise);
  for (const [, run] of kernels) {
    const before = { ...tf.memory(), ids: backend.numDataIds() };
    const y = run();
    const after = { ...tf.memory(), ids: backend.numDataIds() };
    expect(after.numTensors).toBe(before.numTensors + 1);
    expect(after.numDataBuffers).toBe(before.numDataBuffers + 1);
    expect(after.ids).toBe(before.ids + 1);
    expect(after.numBytes).toBe(before.numBytes + y.size * 4);
    y.dispose();
    expect({ ...tf.memory(), ids: backend.numDataIds() }).toEqual(before);
  }
  for (const tensor of kernels[0][2]) tensor.dispose();
});

test('a kernel that refuses its attributes leaves nothing', () => {
  const before = tf.memory().numTensors;
  const dy = tf.zeros([1, 4, 4, 2]);
  const filter = tf.zeros([3, 3, 2, 2]);
  const attrs = { strides: [1, 1], pad: 'same', dataFormat: 'NHWC', inputShape: [1, 5, 5, 2] };
  expect(() => tf.engine().runKernel('Conv2DBackpropInput', { dy, filter }, attrs)).toThrow(
    expect.objectContaining({ code: 'unsupported' }),
  );
  tf.dispose([dy, filter]);
  expect(tf.memory().numTensors).toBe(before);
});

test('the wasm heap stops growing, packed matrices included', () => {
  const backend = tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } };
  // XNNPACK packs half a MiB of dy for every pointwise gradient: left behind, 300 of them would be 150 MiB.
  const pointwise: MemoryCase = { x: [4, 32, 32, 32], filter: [1, 1, 32, 32], strides: [1, 1], pad: 'same' };
  const [, filterGradient, inputs] = runs(pointwise, false)[3];
  const step = () => filterGradient().dispose();
  const all = () => tf.tidy(() => CASES.map(([c, depthwise]) => runs(c, depthwise).map(([, run]) => run().size)));
  // First rounds fill the allocator's gaps.
  for (let i = 0; i < 5; i++) all();
  for (let i = 0; i < 5; i++) step();
  const { length } = backend.wasm.HEAPU8;
  for (let i = 0; i < 10; i++) all();
  for (let i = 0; i < 300; i++) step();
  expect(backend.wasm.HEAPU8.length).toBe(length);
  tf.dispose(inputs);
});

test('no gradient kernel needs a feature map beside its inputs and output', async () => {
  for (const [c, depthwise] of [
    [{ x: [8, 64, 64, 32], filter: [3, 3, 32, 32], strides: [1, 1], pad: 'same' }, false],
    [{ x: [8, 64, 64, 32], filter: [1, 1, 32, 32], strides: [1, 1], pad: 'same' }, false],
    [{ x: [8, 64, 64, 32], filter: [3, 3, 32, 1], strides: [2, 2], pad: 'same' }, true],
  ] as [MemoryCase, boolean][]) {
    const kernels = runs(c, depthwise);
    for (const [, run] of kernels.slice(2)) {
      const before = tf.memory().numBytes;
      const { peakBytes } = await tf.profile(run as () => tf.Tensor);
      const output = tf.memory().numBytes - before;
      const featureMap = tf.util.sizeFromShape(c.x) * 4;
      // 3 MiB: a tile's budget twice (with its zeros, and convolved), an image at least; the map has 4 MiB.
      expect(peakBytes - before - output).toBeLessThan(0.75 * featureMap);
    }
    for (const tensor of kernels[0][2]) tensor.dispose();
  }
});
