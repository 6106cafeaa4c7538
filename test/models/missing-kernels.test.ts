/** A training step on a backend that lacks a gradient kernel is refused before it begins; everything else goes on. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode } from '../../src';
import { useBackend } from '../helpers/backends';
import { countsOf } from './gradients';

/** tfjs's wasm backend as it comes, or cpu without one of its kernels. */
async function without(backend: string, kernel: string, run: () => Promise<void>): Promise<void> {
  await useBackend(backend as 'cpu' | 'wasm');
  const config = tf.getKernel(kernel, backend)!;
  tf.unregisterKernel(kernel, backend);
  try {
    await run();
  } finally {
    tf.registerKernel(config);
  }
}

function net(conv: tfl.layers.Layer): tfl.Sequential {
  return tfl.sequential({
    layers: [
      conv,
      tfl.layers.batchNormalization(),
      tfl.layers.reLU(),
      tfl.layers.globalAveragePooling2d({ dataFormat: 'channelsLast' }),
    ],
  });
}

const conv2d = () => tfl.layers.conv2d({ inputShape: [6, 6, 2], filters: 3, kernelSize: 3, name: 'stem' });
const depthwise = () => tfl.layers.depthwiseConv2d({ inputShape: [6, 6, 3], kernelSize: 3, name: 'stem' });

const CONVOLUTIONS = ['FusedConv2D', 'FusedDepthwiseConv2D', 'Conv2D', 'DepthwiseConv2dNative'];

describe.each([
  ['cpu', tf.Conv2DBackpropFilter, conv2d, /tfjs-tune-mode\/wasm/],
  ['wasm', tf.Conv2DBackpropFilter, conv2d, /registerWasmTrainingKernels\(\) from 'tfjs-tune-mode\/wasm'/],
  ['wasm', tf.DepthwiseConv2dNativeBackpropInput, depthwise, /registerWasmTrainingKernels\(\)/],
] as const)('%s without %s', (backend, kernel, layer, wayOut) => {
  test('fit fails before anything is computed, naming layer, kernel and the way out', async () => {
    await without(backend, kernel, async () => {
      const model = net(layer());
      enableTuneMode(model);
      model.compile({ optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError' });
      const x = tf.randomNormal([2, ...(model.inputs[0].shape.slice(1) as number[])]);
      const y = tf.randomNormal([2, 3]);
      const before = model.getWeights().map((weight) => Array.from(weight.dataSync()));
      let failure: unknown;
      const counts = await countsOf(CONVOLUTIONS, async () => {
        failure = await model.fit(x, y, { epochs: 1, verbose: 0 }).catch((error: Error) => error);
      });
      expect(counts).toEqual(Object.fromEntries(CONVOLUTIONS.map((name) => [name, 0])));
      expect(failure).toMatchObject({ name: 'TuneModeError', code: 'unsupported' });
      const { message } = failure as Error;
      expect(message).toContain(`'${kernel}'`);
      expect(message).toContain("'stem'");
      expect(message).toContain(`'${backend}'`);
      expect(message).toMatch(wayOut);
      expect(model.getWeights().map((weight) => Array.from(weight.dataSync()))).toEqual(before);
      tf.dispose([x, y]);
      model.dispose();
    });
  });

  test('predictions and gradients that do not need it are not refused', async () => {
    await without(backend, kernel, async () => {
      const model = net(layer());
      enableTuneMode(model);
      const shape = [1, ...(model.inputs[0].shape.slice(1) as number[])];
      tf.tidy(() => {
        expect((model.predict(tf.ones(shape)) as tf.Tensor).shape).toEqual([1, 3]);
        if (kernel !== tf.Conv2DBackpropFilter) return;
        const dx = tf.grad((x) => tf.sum(model.apply(x) as tf.Tensor))(tf.ones(shape));
        expect(dx.shape).toEqual(shape);
      });
      model.dispose();
    });
  });
});
