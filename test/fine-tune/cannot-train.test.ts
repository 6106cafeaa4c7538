/** A backend that cannot train says so before any work is done. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { registerWasmTrainingKernels } from '../../adapters/wasm/register';
import { type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { bn, conv, disposeLayers, disposeToy, gap, line, memoryIO, refusal, tinyNet, toy } from './toy';

const GIVEN: FineTuneOptions = { epochs: 2, batchSize: 4, learningRate: 0.05, patience: 9, seed: 1 };
const SMALL = { train: 8, val: 4, size: 8 };
describe('a backend that cannot train', () => {
  afterAll(() => {
    registerWasmTrainingKernels();
  });

  /** Computes 2x by a kernel that has no gradient. */
  class NoGradient extends tfl.layers.Layer {
    static className = 'NoGradient';
    override computeOutputShape(shape: tfl.Shape | tfl.Shape[]) {
      return shape;
    }
    override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
      return tf.engine().runKernel('DoubleWithoutGradient', { x: Array.isArray(inputs) ? inputs[0] : inputs });
    }
  }

  async function refusedBeforeTraining(source: tfl.LayersModel, options: FineTuneOptions = {}) {
    const data = toy(SMALL);
    const before = weightValues(source);
    const tensors = tf.memory().numTensors;
    let calls = 0;
    const io = memoryIO();
    const error = await refusal(
      fineTune(source, data, { ...GIVEN, ...options, keepHead: true, checkpoint: io, onProgress: () => calls++ }),
    );
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain(`'${tf.getBackend()}'`);
    expect([calls, io.saved.length]).toEqual([0, 0]);
    expect(weightValues(source)).toEqual(before);
    const left = tf.memory().numTensors - tensors;
    disposeLayers(source);
    disposeToy(data);
    return { message: error.message, left };
  }

  test('an operation without gradient', async () => {
    await useBackend('cpu');
    tf.registerKernel({
      kernelName: 'DoubleWithoutGradient',
      backendName: 'cpu',
      kernelFunc: ({ inputs }) => tf.add(inputs.x as tf.Tensor, inputs.x as tf.Tensor),
    });
    const source = line(
      [8, 8, 3],
      [
        conv('c1', 4),
        bn('n1'),
        new NoGradient({ name: 'double' }),
        gap(),
        tfl.layers.dense({ units: 2, activation: 'softmax', name: 'old' }),
      ],
    );
    expect((await refusedBeforeTraining(source)).message).toContain('DoubleWithoutGradient');
    tf.unregisterKernel('DoubleWithoutGradient', 'cpu');
  });

  test.each([
    ['Conv2DBackpropFilter', tinyNet],
    [
      'DepthwiseConv2dNativeBackpropFilter',
      () =>
        line(
          [8, 8, 3],
          [
            tfl.layers.depthwiseConv2d({ kernelSize: 3, name: 'c' }),
            bn('n'),
            gap(),
            tfl.layers.dense({ units: 2, activation: 'softmax' }),
          ],
        ),
    ],
  ] as [string, () => tfl.LayersModel][])('the wasm backend without %s, as tfjs brings it', async (kernel, build) => {
    await useBackend('wasm');
    tf.unregisterKernel(kernel, 'wasm');
    try {
      expect((await refusedBeforeTraining(build())).message).toContain(kernel);
    } finally {
      registerWasmTrainingKernels();
    }
  });

  test('no tensor is left of the attempt', async () => {
    await useBackend('wasm');
    tf.unregisterKernel('Conv2DBackpropFilter', 'wasm');
    try {
      expect((await refusedBeforeTraining(tinyNet())).left).toBe(0);
    } finally {
      registerWasmTrainingKernels();
    }
  });

  test('what need not be trained needs no gradient', async () => {
    await useBackend('wasm');
    tf.unregisterKernel('Conv2DBackpropFilter', 'wasm');
    try {
      const [source, data] = [tinyNet(), toy(SMALL)];
      const { ending, model } = await fineTune(source, data, { ...GIVEN, unfreeze: 0 });
      expect(ending).toBe('finished');
      disposeLayers(source, model);
      disposeToy(data);
    } finally {
      registerWasmTrainingKernels();
    }
  });
});
