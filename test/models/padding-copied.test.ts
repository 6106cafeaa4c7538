/**
 * A padding before a block on a backend whose depthwise convolution cannot pad by numbers: the map is padded first.
 *
 * No tolerance. With a copy of the map padded first or without it, a sum has the same terms in the same order and zeros
 * besides, so the cpu kernels give the same numbers exactly.
 */
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { enableTuneMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import { largestDifference, predictions, randomise } from '../helpers/models';
import { ABSORBED, SHAPES } from './padding-models';
import { copiesIn, inputOf, numbersOf } from './padding-numbers';

describe("tfjs-node's stand-in, whose depthwise convolution knows 'same' and 'valid' alone", () => {
  beforeAll(async () => {
    await useBackend('cpu');
    tf.registerBackend('tensorflow', () => new MathBackendCPU(), 3);
    for (const kernel of tf.getKernelsForBackend('cpu')) {
      tf.registerKernel({
        ...kernel,
        backendName: 'tensorflow',
        kernelFunc: (args) => {
          const { pad } = (args.attrs ?? {}) as { pad?: unknown };
          if (/Depthwise/.test(kernel.kernelName) && pad !== 'same' && pad !== 'valid')
            throw new Error(`${kernel.kernelName}: pad ${JSON.stringify(pad)}`);
          return kernel.kernelFunc(args);
        },
      });
    }
  });

  afterAll(async () => {
    await tf.setBackend('cpu');
    tf.removeBackend('tensorflow');
    for (const { kernelName } of tf.getKernelsForBackend('tensorflow')) tf.unregisterKernel(kernelName, 'tensorflow');
  });

  test.each([...SHAPES, ...ABSORBED])('pads a copy, with the same numbers exactly: $name', async (row) => {
    const { build, options, copies } = row;
    await tf.setBackend('cpu');
    const net = build();
    randomise(net, 1);
    const x = inputOf(net);
    enableTuneMode(net, options);
    const onCpu = numbersOf(net, x);
    await tf.setBackend('tensorflow');
    // Nothing was installed anew: the backend is asked in each pass.
    const onStandIn = numbersOf(net, x);
    expect(onStandIn.leaked).toBe(0);
    onCpu.outputs.forEach((numbers, i) => {
      expect(largestDifference(onStandIn.outputs[i], numbers)).toBe(0);
    });
    onCpu.grads.forEach((numbers, i) => {
      expect(largestDifference(onStandIn.grads[i], numbers)).toBe(0);
    });
    expect(await copiesIn(() => predictions(net, x))).toBeGreaterThan(copies);
    await tf.setBackend('cpu');
    expect(await copiesIn(() => predictions(net, x))).toBe(copies);
  });
});
