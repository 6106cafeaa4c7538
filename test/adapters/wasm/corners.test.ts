/** Corners that once went wrong: each against the cpu backend, or refused in words. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-layers';
import { FusedAdam, FusedMomentum } from '../../../src/fine-tune/fused-optimizers';
import { useBackend } from '../../helpers/backends';
import { random } from '../../helpers/random';

/** Whole numbers of a few bits: products and sums are exact, so results are equal or wrong. */
function whole(shape: number[], seed: number): tf.Tensor {
  const rng = random(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    rng.array(size).map((v) => Math.round(v * 4)),
    shape,
  );
}

async function onBoth(compute: () => tf.Tensor): Promise<[cpu: unknown, wasm: unknown]> {
  const results: unknown[] = [];
  for (const backend of ['cpu', 'wasm'] as const) {
    await useBackend(backend);
    const y = tf.tidy(compute);
    results.push({ shape: y.shape, values: Array.from(y.dataSync(), (v) => v + 0) });
    y.dispose();
  }
  return [results[0], results[1]];
}

type Padding = [number, number][];
const kernel = (name: string, inputs: object, attrs: object) =>
  tf.engine().runKernel(name, inputs as tf.NamedTensorMap, attrs as tf.NamedAttrMap) as tf.Tensor;

test.each([
  [
    'rows',
    [
      [0, 0],
      [-1, 5],
      [1, 2],
      [0, 0],
    ],
    [2, 4],
  ],
  [
    'columns',
    [
      [0, 0],
      [1, 2],
      [-2, 6],
      [0, 0],
    ],
    [3, 2],
  ],
  [
    'both, stride 1',
    [
      [0, 0],
      [-2, 3],
      [-1, 1],
      [0, 0],
    ],
    [1, 1],
  ],
] as [string, Padding, [number, number]][])('padding that crops: %s', async (_name, pad, strides) => {
  const attrs = { strides, pad, dataFormat: 'NHWC', dilations: [1, 1] };
  const shape = tf.backend_util.computeConv2DInfo(
    [1, 9, 9, 5],
    [3, 3, 5, 1],
    strides,
    1,
    pad as never,
    undefined,
    true,
  ).outShape;
  const [dxCpu, dxWasm] = await onBoth(() =>
    kernel(
      'DepthwiseConv2dNativeBackpropInput',
      { dy: whole(shape, 1), filter: whole([3, 3, 5, 1], 2) },
      { ...attrs, inputShape: [1, 9, 9, 5] },
    ),
  );
  expect(dxWasm).toEqual(dxCpu);
  const [dwCpu, dwWasm] = await onBoth(() =>
    kernel(
      'DepthwiseConv2dNativeBackpropFilter',
      { x: whole([1, 9, 9, 5], 3), dy: whole(shape, 1) },
      { ...attrs, filterShape: [3, 3, 5, 1] },
    ),
  );
  expect(dwWasm).toEqual(dwCpu);
});

// tfjs's own kernels leave out the windows that rounding up adds: the gradient is that of an x grown to hold them.
test.each(['ceil', 'round', 'floor'] as const)('gradients of pooling with dimRoundingMode %s', async (mode) => {
  const growth: Padding =
    mode === 'floor'
      ? []
      : [
          [0, 0],
          [0, 1],
          [0, 1],
          [0, 0],
        ];
  for (const [pool, filler] of [
    [tf.maxPool, -1000],
    [tf.avgPool, 0],
  ] as const) {
    const x = () => whole([1, 5, 5, 6], 4);
    await useBackend('cpu');
    const expected = tf.tidy(() => {
      const grown = (t: tf.Tensor) => (growth.length === 0 ? t : tf.pad(t, growth, filler));
      return tf.grad((t) => tf.sum(pool(grown(t) as tf.Tensor4D, 2, 2, 'valid')))(x());
    });
    const values = Array.from(expected.dataSync());
    expected.dispose();
    await useBackend('wasm');
    const found = tf.tidy(() => tf.grad((t) => tf.sum(pool(t as tf.Tensor4D, 2, 2, 0, mode)))(x()));
    expect(Array.from(found.dataSync())).toEqual(values);
    found.dispose();
  }
});

test('a pooling gradient for another batch is refused', async () => {
  await useBackend('wasm');
  const attrs = { filterSize: [2, 2], strides: [2, 2], pad: 'valid' };
  const [dy, input] = [tf.ones([2, 2, 2, 3]), tf.ones([1, 4, 4, 3])];
  const before = tf.memory().numTensors;
  for (const name of ['MaxPoolGrad', 'AvgPoolGrad']) {
    expect(() => kernel(name, { dy, input, output: dy }, attrs)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('[2,2,2,3]') }),
    );
  }
  expect(tf.memory().numTensors).toBe(before);
  tf.dispose([dy, input]);
});

test('a fused product with a bias of one number adds it to all', async () => {
  const [cpu, wasm] = await onBoth(() =>
    tf.fused.matMul({
      a: whole([2, 3], 1) as tf.Tensor2D,
      b: whole([3, 5], 2) as tf.Tensor2D,
      bias: tf.tensor1d([100]),
    }),
  );
  expect(wasm).toEqual(cpu);
});

test.each([[[]], [[1]], [[5]], [[1, 1, 1, 5]]] as number[][][])(
  'a fused convolution with a bias of shape %j',
  async (shape) => {
    for (const kind of ['conv2d', 'depthwiseConv2d'] as const) {
      const filter = kind === 'conv2d' ? [3, 3, 5, 5] : [3, 3, 5, 1];
      const [cpu, wasm] = await onBoth(() =>
        tf.fused[kind]({
          x: whole([1, 6, 6, 5], 1) as tf.Tensor4D,
          filter: whole(filter, 2) as tf.Tensor4D,
          strides: 1,
          pad: 'same',
          bias: whole(shape, 3),
          activation: 'relu',
        }),
      );
      expect(wasm).toEqual(cpu);
    }
  },
);

test('a convolution of no channels is its bias, or 0', async () => {
  const [cpu, wasm] = await onBoth(() =>
    tf.conv2d(tf.zeros([1, 16, 16, 0]) as tf.Tensor4D, tf.zeros([1, 1, 0, 4]) as tf.Tensor4D, 1, 'same'),
  );
  expect(wasm).toEqual(cpu);
});

test('a stride so large that a band of rows has 2³² bytes', async () => {
  const attrs = {
    strides: [1023, 1],
    pad: 'same',
    dataFormat: 'NHWC',
    dilations: [1, 1],
    filterShape: [1, 1, 1024, 1],
  };
  const inputs = () => ({ x: tf.ones([1, 1, 1024, 1024]), dy: tf.ones([1, 1, 1024, 1024]) });
  await useBackend('wasm');
  const dw = tf.tidy(() => kernel('DepthwiseConv2dNativeBackpropFilter', inputs(), attrs));
  expect(new Set(dw.dataSync())).toEqual(new Set([1024]));
  dw.dispose();
});

test.each([1, 3, 4, 6])('depthwise convolutions of %i channels', async (channels) => {
  const [cpu, wasm] = await onBoth(() =>
    tf.depthwiseConv2d(
      whole([2, 7, 6, channels], 1) as tf.Tensor4D,
      whole([3, 3, channels, 1], 2) as tf.Tensor4D,
      2,
      'same',
    ),
  );
  expect(wasm).toEqual(cpu);
});

test.each([
  ['Adam', () => new FusedAdam(0.1, 0.9, 0.999)],
  ['momentum', () => new FusedMomentum(0.1, 0.9)],
] as const)('%s given other variables than before writes nowhere else, and says so', async (_name, make) => {
  await useBackend('wasm');
  const [a, b] = [tf.variable(tf.ones([4])), tf.variable(tf.ones([600]))];
  const others = Array.from({ length: 30 }, (_, i) => tf.fill([16], i));
  const optimizer = make();
  const minimize = (v: tf.Variable) => optimizer.minimize(() => tf.sum(tf.square(v)) as tf.Scalar, false, [v]);
  minimize(a);
  expect(() => minimize(b)).toThrow(/shape/);
  expect(others.map((t, i) => t.dataSync().every((v) => v === i))).toEqual(others.map(() => true));
  optimizer.dispose();
  tf.dispose([a, b, ...others]);
});
