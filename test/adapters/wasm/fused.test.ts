/**
 * This package's own fused kernels on wasm as they are registered: who has them, and models with them and without any.
 *
 * Gradients with them and without differ by `gradientRounding`.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { registerWasmTrainingKernels } from '../../../adapters/wasm/register';
import { setMode } from '../../../src';
import type { FusedKernel } from '../../../src/own-op';
import { useBackend } from '../../helpers/backends';
import { inputsFor, largestDifference, randomise } from '../../helpers/models';
import { gradientRounding, gradients } from '../../models/gradients';
import { bn, chain, conv, input, L } from '../../models/table';
import { brokenGuards, guardHeap, wasmBackend } from './canaries';
import { NAMES } from './fused-activations';

guardHeap();
beforeEach(() => useBackend('wasm'));

describe('the registered kernels', () => {
  const NAMES_OF_KERNELS: FusedKernel[] = ['TuneActivationGrad', 'TuneFold', 'TuneFoldGrad', 'TuneFrozenBatchNormGrad'];
  const registered = () => NAMES_OF_KERNELS.map((name) => tf.getKernel(name, 'wasm')?.kernelFunc);

  test('stay the same however often they are registered, and are wasm’s alone', () => {
    const before = registered();
    expect(before.every((kernel) => kernel !== undefined)).toBe(true);
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    registerWasmTrainingKernels();
    registerWasmTrainingKernels();
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
    expect(registered()).toEqual(before);
    for (const name of NAMES_OF_KERNELS) expect(tf.getKernel(name, 'cpu') ?? null).toBeNull();
  });

  /** Runs with some of the fused kernels gone. */
  function without<T>(names: FusedKernel[], run: () => T): T {
    const configs = names.map((name) => tf.getKernel(name, 'wasm')!);
    for (const name of names) tf.unregisterKernel(name, 'wasm');
    try {
      return run();
    } finally {
      for (const config of configs) tf.registerKernel(config);
    }
  }

  const activations: [string, tfl.layers.Layer | null][] = [
    ['no activation', null],
    ...NAMES.map((name): [string, tfl.layers.Layer] => [
      name,
      name === 'relu6'
        ? L.reLU({ maxValue: 6 })
        : name === 'leakyrelu'
          ? L.leakyReLU()
          : L.activation({ activation: name }),
    ]),
  ];

  test.each(activations)(
    '%s: with them and without any the same gradients, in tune and in eval',
    (name, activation) => {
      const x = input(`in_${name.replace(' ', '_')}`, [5, 6, 3]);
      const last = activation === null ? [] : [activation];
      const first = [L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 3 }), bn(`n1_${x.name}`, { scale: false })];
      const second = [conv(`c_${x.name}`, { filters: 5, useBias: false }), bn(`n2_${x.name}`, { center: false })];
      const net = tfl.model({ inputs: x, outputs: chain(x, ...first, ...last, ...second, ...last) });
      randomise(net, 1);
      const given = inputsFor(net, 2, 2);
      for (const mode of ['tune', 'eval'] as const) {
        setMode(net, mode);
        const alive = tf.memory().numTensors;
        const fused = gradients(net, given);
        for (const missing of [NAMES_OF_KERNELS, ...NAMES_OF_KERNELS.map((kernel) => [kernel])]) {
          const plain = without(missing, () => gradients(net, given));
          expect(largestDifference(plain, fused)).toBeLessThan(gradientRounding(net, 2 * 5 * 6));
        }
        expect(tf.memory().numTensors).toBe(alive);
        expect(gradients(net, given)).toEqual(fused);
      }
    },
  );

  test.each(['tune', 'eval'] as const)('%s: an inner gradient over a pass outside of it has a gradient', (mode) => {
    // Dense: tfjs has no gradient of a convolution's kernel gradient.
    const x = input('in', [6]);
    const layers = [L.dense({ units: 4, name: 'c' }), bn('n'), L.activation({ activation: 'tanh', name: 't' })];
    const net = tfl.model({ inputs: x, outputs: chain(x, ...layers) });
    randomise(net, 1);
    const [given] = inputsFor(net, 2, 2);
    const gamma = net.getLayer('n').trainableWeights[0].read() as tf.Variable;
    setMode(net, mode);
    const penalty = () => {
      tf.engine().startScope();
      try {
        const grad = tf.grad((input) => {
          const loss = tf.sum(tf.square(net.apply(input, { training: true }) as tf.Tensor));
          const [inner] = tf.grads(() => loss)([gamma]);
          return tf.sum(tf.square(inner));
        });
        return [Array.from(grad(given).dataSync())];
      } finally {
        tf.engine().endScope();
      }
    };
    const plain = without(NAMES_OF_KERNELS, penalty);
    // Two backward passes.
    expect(largestDifference(penalty(), plain)).toBeLessThan(2 * gradientRounding(net, 2));
  });

  test('a forward and a backward pass use those of the mode, and no others', async () => {
    const x = input();
    const net = tfl.model({ inputs: x, outputs: chain(x, conv('c'), bn('n'), L.reLU({ name: 'r' })) });
    const given = inputsFor(net, 2, 2);
    const used = async (run: () => unknown) => {
      const { kernels } = await tf.profile(() => {
        run();
        return tf.scalar(0);
      });
      return [...new Set(kernels.map(({ name }) => name).filter((name) => name.startsWith('Tune')))].sort();
    };
    setMode(net, 'tune');
    expect(await used(() => gradients(net, given))).toEqual(['TuneActivationGrad', 'TuneFold', 'TuneFoldGrad']);
    setMode(net, 'eval');
    expect(await used(() => gradients(net, given))).toEqual(['TuneFrozenBatchNormGrad']);
  });
});

test('the guards of these tests find a write beside an output', () => {
  const tensor = tf.tensor1d([1, 2, 3]);
  const { memoryOffset } = wasmBackend().dataIdMap.get(tensor.dataId);
  const { HEAPU8 } = wasmBackend().wasm;
  const [before, after] = [memoryOffset - 1, memoryOffset + 12];
  for (const at of [before, after]) HEAPU8[at] ^= 1;
  expect(brokenGuards()).toEqual([
    'written before an allocation of 12 bytes',
    'written after an allocation of 12 bytes',
  ]);
  expect(brokenGuards()).toEqual([]);
  tensor.dispose();
});
