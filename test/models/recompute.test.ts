/**
 * `recompute`: maps that are cheap to compute are not kept for the backward pass but computed once more in it.
 *
 * Tune with `recompute` and without it run the same kernels on the same numbers, those of a recomputed map twice, so
 * outputs and gradients are the same bit by bit, on every backend. Eval's differ by rounding: `rounding(model)` for outputs,
 * `gradientRounding` for gradients, both derived from float32 and the sizes of the sums.
 */
import * as tf from '@tensorflow/tfjs-core';
import { enableTuneMode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  applied,
  inputsFor,
  movingStatistics,
  predictions,
  randomise,
  targetsFor,
  weightValues,
} from '../helpers/models';
import { countsOf, gradients } from './gradients';
import { BATCH, bottleneck, bottleneckModel, KEPT, model, RECOMPUTE, RECOMPUTED } from './recompute-models';
import { expectAsEval, forwardCounts, numbersOf } from './recompute-numbers';
import { chain, input, L } from './table';

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each([...RECOMPUTED, ...KEPT])('$name', ({ build, options, again }) => {
    test('outputs and gradients: bit by bit those without recomputing, and Eval’s', () => {
      const net = build();
      randomise(net, 1);
      const x = inputsFor(net, 2, BATCH);
      setMode(net, 'eval');
      const ofEval = numbersOf(net, x);
      enableTuneMode(net, options);
      const kept = numbersOf(net, x);
      const report = enableTuneMode(net, { ...options, ...RECOMPUTE });
      expect(report.pairs.length).toBeGreaterThan(0);
      const recomputed = numbersOf(net, x);
      expect(recomputed).toEqual(kept);
      expectAsEval(recomputed, ofEval, net);
    });

    test('a step computes each recomputed map exactly once more, and no other', async () => {
      const net = build();
      randomise(net, 1);
      const x = inputsFor(net, 2, BATCH);
      for (const wanted of ['all', 'weights', 'x'] as const) {
        enableTuneMode(net, options);
        const kept = await forwardCounts(() => gradients(net, x, wanted));
        enableTuneMode(net, { ...options, ...RECOMPUTE });
        const recomputed = await forwardCounts(() => gradients(net, x, wanted));
        expect(recomputed.map((count, i) => count - kept[i])).toEqual(again);
      }
    });

    test('without a gradient nothing is computed twice', async () => {
      const net = build();
      const x = inputsFor(net, 2, BATCH);
      enableTuneMode(net, options);
      const kept = await forwardCounts(() => predictions(net, x));
      enableTuneMode(net, { ...options, ...RECOMPUTE });
      expect(await forwardCounts(() => predictions(net, x))).toEqual(kept);
      expect(await forwardCounts(() => applied(net, x, true))).toEqual(kept);
    });
  });

  test('training: the same weights bit by bit, with moments, and moving statistics are never written', async () => {
    const results = [];
    for (const recompute of [false, true]) {
      const net = bottleneckModel();
      randomise(net, 4);
      const statistics = movingStatistics(net);
      net.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
      enableTuneMode(net, { recompute });
      const [x, y] = [inputsFor(net, 3), targetsFor(net, 5)];
      const alive = [];
      for (let i = 0; i < 4; i++) {
        await net.trainOnBatch(x, y);
        alive.push(tf.memory().numTensors);
      }
      expect(new Set(alive.slice(1)).size).toBe(1);
      expect(movingStatistics(net)).toEqual(statistics);
      results.push(Object.values(weightValues(net)));
    }
    expect(results[1]).toEqual(results[0]);
  });

  const PARTS = ['expand', 'dw', 'project'] as const;
  const SUBSETS = Array.from({ length: 8 }, (_, bits) => PARTS.filter((_part, i) => bits & (1 << i)));

  test.each(SUBSETS.map((frozen) => [frozen.join(' and ') || 'nothing', frozen] as const))(
    'frozen: %s',
    async (_name, frozen) => {
      const build = () => {
        const x = input();
        const y = bottleneck(bottleneck(x, 'a', 2), 'b');
        const net = model(x, chain(y, L.flatten({ name: 'flat' }), L.dense({ units: 2, name: 'head' })));
        randomise(net, 7);
        for (const layer of net.layers) {
          if (frozen.some((part) => layer.name.includes(part))) layer.trainable = false;
        }
        return net;
      };
      const net = build();
      const x = inputsFor(net, 8, BATCH);
      setMode(net, 'eval');
      const ofEval = numbersOf(net, x);
      const gradientKernels = ['Conv2DBackpropFilter', 'DepthwiseConv2dNativeBackpropFilter'];
      const counts = [];
      const kept = [];
      for (const recompute of [false, true]) {
        enableTuneMode(net, { recompute });
        kept.push(numbersOf(net, x));
        counts.push(Object.values(await countsOf(gradientKernels, () => gradients(net, x, 'weights'))));
      }
      expect(kept[1]).toEqual(kept[0]);
      expectAsEval(kept[1], ofEval, net);
      expect(counts[1]).toEqual(counts[0]);
      const trained = (part: string) => (frozen.some((each) => each === part) ? 0 : 2);
      expect(counts[1]).toEqual([trained('expand') + trained('project'), trained('dw')]);
    },
  );

  test('frozen from the input up to a depthwise block, whose map its project still needs', () => {
    const x = input();
    const net = model(x, bottleneck(x, 'a'));
    randomise(net, 9);
    for (const layer of net.layers) layer.trainable = layer.name.includes('project');
    const [tensors, found] = [inputsFor(net, 3), [] as number[][][]];
    for (const recompute of [false, true]) {
      enableTuneMode(net, { recompute });
      const alive = tf.memory().numTensors;
      found.push(gradients(net, tensors, 'weights'));
      expect(tf.memory().numTensors).toBe(alive);
    }
    expect(found[1]).toEqual(found[0]);
    expect(Math.max(...found[1].flat().map(Math.abs))).toBeGreaterThan(1e-2);
  });
});
