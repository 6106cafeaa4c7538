/**
 * Gradients of feature maps are freed as soon as they are used; but never where somebody else's op may have handed out one
 * tensor as the gradient of two inputs, and never at the price of keeping the tape alive.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { type Mode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';

const L = tfl.layers;

beforeAll(() => useBackend('cpu'));

function block(name: string, size = 6): tfl.LayersModel {
  return tfl.sequential({
    name,
    layers: [
      L.conv2d({ filters: 2, kernelSize: 3, padding: 'same', inputShape: [size, size, 2] }),
      L.batchNormalization(),
    ],
  });
}

const addOnce = tf.customGrad((a, b) => ({
  value: tf.add(a as tf.Tensor, b as tf.Tensor),
  gradFunc: (dy: tf.Tensor) => [dy, dy],
}));

describe.each<[name: string, residual: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor]>([
  ['a custom gradient', (a, b) => addOnce(a, b)],
  ['a custom gradient inside tf.op', tf.op({ residual_: (a: tf.Tensor, b: tf.Tensor) => addOnce(a, b) })],
  ['a custom gradient whose output is kept', (a, b) => tf.keep(addOnce(a, b))],
])('%s that returns one tensor twice', (_name, residual) => {
  test('gives the gradients of Eval', () => {
    const models = [block('left'), block('right')];
    const x = tf.randomNormal([2, 6, 6, 2]);
    const variables = models.flatMap((model) => model.trainableWeights.map((w) => w.read() as tf.Variable));
    const loss = () => {
      const [a, b] = models.map((model) => model.apply(x, { training: true }) as tf.Tensor);
      return tf.sum(tf.square(residual(a, b))) as tf.Scalar;
    };
    const gradients = (mode: Mode) => {
      for (const model of models) setMode(model, mode);
      return tf.variableGrads(loss, variables).grads;
    };
    const evaluated = gradients('eval');
    const tuned = gradients('tune');
    for (const [name, expected] of Object.entries(evaluated)) {
      const scale = Math.max(1, ...tf.abs(expected).dataSync());
      const error = Math.max(...tf.abs(tf.sub(expected, tuned[name])).dataSync());
      // 72 terms a sum at most, in float32.
      expect(error / scale).toBeLessThan(72 * 2 ** -24 * 4);
    }
  });
});

test('a BN that is no pair does not stop the freeing', async () => {
  const build = (withLonelyBn: boolean) => {
    const model = tfl.sequential();
    model.add(L.conv2d({ filters: 4, kernelSize: 3, padding: 'same', inputShape: [32, 32, 4] }));
    model.add(L.batchNormalization());
    for (let i = 0; i < 5; i++) {
      model.add(L.conv2d({ filters: 4, kernelSize: 3, padding: 'same' }));
      model.add(L.batchNormalization());
    }
    model.add(L.globalAveragePooling2d({}));
    if (withLonelyBn) model.add(L.batchNormalization());
    model.add(L.dense({ units: 2 }));
    setMode(model, 'tune');
    model.compile({ optimizer: tf.train.sgd(1e-3), loss: 'meanSquaredError' });
    return model;
  };
  const map = 2 * 32 * 32 * 4 * 4;
  const peak = async (model: tfl.LayersModel) => {
    const [x, y] = [tf.randomNormal([2, 32, 32, 4]), tf.randomNormal([2, 2])];
    const before = tf.memory().numBytes;
    const { peakBytes, kernels } = await tf.profile(async () => {
      await model.trainOnBatch(x, y);
      return {};
    });
    return { peak: peakBytes - before, last: kernels[kernels.length - 1].totalBytesSnapshot - before };
  };
  const [without, with_] = [await peak(build(false)), await peak(build(true))];
  // Less than half a feature map more, at the peak and at the end of the backward pass.
  expect(with_.peak - without.peak).toBeLessThan(map / 2);
  expect(with_.last - without.last).toBeLessThan(map / 2);
});

test('batches that the user keeps do not keep the tapes of their steps alive', async () => {
  v8.setFlagsFromString('--expose_gc');
  const gc = vm.runInNewContext('gc') as () => void;
  const growth = async (mode: Mode) => {
    const layers: tfl.layers.Layer[] = [
      L.conv2d({ filters: 2, kernelSize: 1, inputShape: [2, 2, 2] }),
      L.batchNormalization(),
    ];
    for (let i = 0; i < 15; i++) layers.push(L.conv2d({ filters: 2, kernelSize: 1 }), L.batchNormalization(), L.reLU());
    const model = tfl.sequential({ layers });
    setMode(model, mode);
    model.compile({ optimizer: tf.train.sgd(1e-3), loss: 'meanSquaredError' });
    const batches = Array.from({ length: 60 }, () => tf.randomNormal([2, 2, 2, 2]));
    const step = (x: tf.Tensor) => model.trainOnBatch(x, x);
    await step(batches[0]);
    gc();
    const before = process.memoryUsage().heapUsed;
    for (const x of batches) await step(x);
    gc();
    const grown = process.memoryUsage().heapUsed - before;
    tf.dispose(batches);
    return grown;
  };
  await growth('eval');
  // A tape of such a step is about 0.3 MB: 60 of them would be 18 MB.
  expect(await growth('tune')).toBeLessThan(4e6);
});
