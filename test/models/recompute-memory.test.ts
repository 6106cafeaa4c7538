/** What a step holds at its peak with `recompute` and without it, for each further block: bounds from the sizes of the maps. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode } from 'tfjs-tune-mode';
import { peakHeapBytes } from '../../bench/measure';
import { useBackend } from '../helpers/backends';
import { livePeak } from '../helpers/blocks';
import { inputsFor, randomise, targetsFor } from '../helpers/models';
import { gradients } from './gradients';
import { block, depthwise, model, pointwise } from './recompute-models';
import { chain, input, L, merge } from './table';

describe('memory', () => {
  const LARGE = 24;
  const CHANNELS = 2;
  const WIDE = 8;
  const MAP = 4 * LARGE * LARGE * CHANNELS;
  /** Bytes of a bottleneck's weights, folded weights, gradients and vectors, well rounded up. */
  const WEIGHTS = 4 * 8 * (2 * CHANNELS * WIDE + 9 * WIDE + 8 * WIDE);

  function stack(length: number, residual: boolean): tfl.LayersModel {
    const x = input('in', [LARGE, LARGE, CHANNELS]);
    let y = x;
    for (let i = 0; i < length; i++) {
      const wide = block(block(y, pointwise(`expand${i}`, WIDE)), depthwise(`dw${i}`));
      const narrow = block(wide, pointwise(`project${i}`, CHANNELS), null);
      y = residual ? merge(L.add({ name: `add${i}` }), y, narrow) : narrow;
    }
    const net = model(x, chain(y, L.globalAveragePooling2d({ dataFormat: 'channelsLast', name: 'pool' })));
    randomise(net, 1);
    return net;
  }

  const WAYS: Record<'cpu' | 'wasm', (net: tfl.LayersModel) => Promise<number>> = {
    // Every datum counts once, however many tensors share it.
    cpu: async (net) => {
      const x = inputsFor(net, 2, 1);
      return livePeak(() => void gradients(net, x, 'weights'));
    },
    // What is allocated on the heap itself, scratch memory of kernels included.
    wasm: async (net) => {
      const [[x], [y]] = [inputsFor(net, 2, 1), targetsFor(net, 3, 1)];
      net.compile({ optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError' });
      await net.trainOnBatch(x, y);
      return (await peakHeapBytes(net, x, y)) as number;
    },
  };

  test.each([
    ['cpu', false],
    ['cpu', true],
    ['wasm', false],
    ['wasm', true],
  ] as const)('%s: what a further bottleneck costs, residual: %s', async (backend, residual) => {
    await useBackend(backend);
    const peak = async (length: number, recompute: boolean) => {
      const net = stack(length, residual);
      enableTuneMode(net, { recompute });
      return WAYS[backend](net);
    };
    const kept = [await peak(2, false), await peak(6, false)];
    const recomputed = [await peak(2, true), await peak(6, true)];
    const perBlock = ([few, many]: number[]) => (many - few) / 4;
    // Both wide maps, and the block's input.
    expect(perBlock(kept)).toBeGreaterThanOrEqual(((2 * WIDE) / CHANNELS + 1) * MAP);
    // The block's input alone. A sum's gradient keeps the project's output too, and tfjs both gradients that are added up
    // where the branches part, until the whole backward pass has ended.
    expect(perBlock(recomputed)).toBeLessThanOrEqual((residual ? 4 : 1) * MAP + WEIGHTS);
    expect(recomputed[1]).toBeLessThan(kept[1]);
  });
});
