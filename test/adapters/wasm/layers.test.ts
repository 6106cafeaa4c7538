/**
 * Every layer of tfjs-layers that a convolutional net is built of trains on wasm: loss and gradients as on the cpu backend.
 *
 * Tolerance: relative to the largest entry of a gradient. At most n ≈ 500 products are summed, rounding in float32 has
 * u = 6e−8 and its errors grow like √n·u ≈ 1.3e−6 through each of up to five kernels; exponentials (XNNPACK's sigmoid,
 * the activations' own series) add up to 1e−6. 3e−5 leaves a factor of four; a wrong tap or row gives 1e−2 or more.
 */
// UpSampling2D (nearest) is not here: the cpu backend's gradient is wrong for batches above 1, see other-kernels.test.ts. Its
// bilinear gradient is wrong for maps that are not square, so the map is square here (tfjs 4.22.0).
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { useBackend } from '../../helpers/backends';

const { layers } = tfl;
type Layer = tfl.layers.Layer;

const conv = { filters: 4, kernelSize: 3 };
const same = { ...conv, strides: 2, padding: 'same' as const };
const input2d = [7, 8, 3];
const first = () => layers.conv2d({ ...conv, inputShape: input2d });
const pool = { poolSize: 3, strides: 2, padding: 'same' as const };

const ACTIVATIONS = [
  'relu',
  'relu6',
  'elu',
  'selu',
  'sigmoid',
  'tanh',
  'softplus',
  'softsign',
  'swish',
  'mish',
] as const;

const NETS: [name: string, layers: () => Layer[]][] = [
  ['Conv1D', () => [layers.conv1d({ ...same, inputShape: [9, 3] })]],
  ['Conv2D', () => [layers.conv2d({ ...same, inputShape: input2d }), layers.conv2d(same)]],
  ['Conv2D, channelsFirst', () => [layers.conv2d({ ...conv, dataFormat: 'channelsFirst', inputShape: [3, 6, 7] })]],
  [
    'Conv2D, stride above the kernel',
    () => [
      layers.conv2d({ filters: 4, kernelSize: [2, 3], strides: [3, 2], padding: 'same', inputShape: [12, 12, 3] }),
    ],
  ],
  ['Conv3D', () => [layers.conv3d({ ...same, inputShape: [5, 6, 7, 2] }), layers.conv3d(same)]],
  ['Conv2DTranspose', () => [layers.conv2dTranspose({ ...same, inputShape: input2d }), layers.conv2dTranspose(same)]],
  [
    'DepthwiseConv2D',
    () => [layers.depthwiseConv2d({ kernelSize: 3, strides: 2, padding: 'same', inputShape: input2d })],
  ],
  ['DepthwiseConv2D, multiplier 2', () => [first(), layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2 })]],
  ['SeparableConv2D', () => [first(), layers.separableConv2d({ filters: 5, kernelSize: 3, depthMultiplier: 2 })]],
  ['Dense on pixels', () => [first(), layers.dense({ units: 3 })]],
  [
    'MaxPooling1D',
    () => [layers.conv1d({ ...conv, inputShape: [9, 3] }), layers.maxPooling1d({ poolSize: 3, strides: 2 })],
  ],
  ['MaxPooling2D', () => [first(), layers.maxPooling2d(pool)]],
  ['MaxPooling2D after LeakyReLU', () => [first(), layers.leakyReLU({ alpha: 0.1 }), layers.maxPooling2d(pool)]],
  ['MaxPooling3D', () => [layers.conv3d({ ...conv, inputShape: [5, 6, 7, 2] }), layers.maxPooling3d({ poolSize: 2 })]],
  ['AveragePooling2D', () => [first(), layers.averagePooling2d(pool)]],
  [
    'AveragePooling3D',
    () => [layers.conv3d({ ...conv, inputShape: [5, 6, 7, 2] }), layers.averagePooling3d({ poolSize: 2 })],
  ],
  ['GlobalAveragePooling2D', () => [first(), layers.globalAveragePooling2d({})]],
  ['GlobalMaxPooling2D', () => [first(), layers.globalMaxPooling2d({})]],
  ['LeakyReLU', () => [first(), layers.leakyReLU({ alpha: 0.1 })]],
  ['ReLU up to 6', () => [first(), layers.reLU({ maxValue: 6 })]],
  ['PReLU', () => [first(), layers.prelu()]],
  [
    'UpSampling2D, bilinear',
    () => [
      layers.conv2d({ filters: 4, kernelSize: [3, 4], inputShape: input2d }),
      layers.upSampling2d({ size: [2, 2], interpolation: 'bilinear' }),
    ],
  ],
  [
    'ZeroPadding2D',
    () => [
      first(),
      layers.zeroPadding2d({
        padding: [
          [0, 1],
          [2, 1],
        ],
      }),
    ],
  ],
  [
    'Cropping2D',
    () => [
      first(),
      layers.cropping2D({
        cropping: [
          [1, 1],
          [0, 2],
        ],
      }),
    ],
  ],
  ['Permute', () => [first(), layers.permute({ dims: [2, 1, 3] })]],
  ['LayerNormalization', () => [first(), layers.layerNormalization()]],
  ...ACTIVATIONS.map((activation): [string, () => Layer[]] => [
    activation,
    () => [first(), layers.activation({ activation })],
  ]),
];

/** Loss and gradients of all trained weights, on the backend that is set. */
function gradients(model: tfl.Sequential, shape: number[]): Float32Array[] {
  return tf.tidy(() => {
    const values = Float32Array.from({ length: tf.util.sizeFromShape(shape) }, (_, i) => 2 * Math.sin(i * 1.7));
    const weights = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
    const loss = () => tf.mean(tf.square(model.apply(tf.tensor(values, shape)) as tf.Tensor)) as tf.Scalar;
    const { value, grads } = tf.variableGrads(loss, weights);
    return [value, ...weights.map((weight) => grads[weight.name])].map((t) => t.dataSync() as Float32Array);
  });
}

test.each(NETS)('%s trains as on cpu', async (_name, build) => {
  await useBackend('cpu');
  const model = tfl.sequential({ layers: build() });
  const shape = [2, ...(model.inputs[0].shape.slice(1) as number[])];
  model.setWeights(
    model.getWeights().map((weight) => {
      const size = tf.util.sizeFromShape(weight.shape);
      return tf.tensor(
        Float32Array.from({ length: size }, (_, i) => 0.4 * Math.sin(i * 2.3 + 1)),
        weight.shape,
      );
    }),
  );
  const expected = gradients(model, shape);
  await useBackend('wasm');
  const found = gradients(model, shape);
  for (const [k, gradient] of expected.entries()) {
    const largest = gradient.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    const error = gradient.reduce((a, v, i) => Math.max(a, Math.abs(v - found[k][i])), 0);
    expect(error).toBeLessThanOrEqual(3e-5 * largest + 1e-9);
  }
  model.dispose();
});
