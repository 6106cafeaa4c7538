/**
 * A block takes in the ZeroPadding2D right before its conv, and what must keep it from doing so.
 *
 * Tolerances: Eval and Tune differ by the fold, `rounding(model)` for outputs and `gradientRounding` for gradients (derived
 * there).
 */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, inspect, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import { changes, inputsFor, predictions, randomise, savedArtifacts, snapshot } from '../helpers/models';
import { countsOf, gradients } from './gradients';
import {
  ABSORBED,
  ASYMMETRIC,
  BATCH,
  block,
  depthwise,
  LEFT_ALONE,
  model,
  padding,
  SHAPES,
  type Symbolic,
  UNEVEN,
  valid,
} from './padding-models';
import { copiesIn, expectClose, inputOf, numbersOf } from './padding-numbers';
import { chain, conv, input, L } from './table';

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([...SHAPES, ...ABSORBED, ...LEFT_ALONE])('$name', async ({ build, options, copies, onlyTuneTrains }) => {
    const net = build();
    randomise(net, 1);
    const x = inputOf(net);
    // A Sequential is wired by its first pass.
    const untouched = predictions(net, x);
    const before = snapshot(net);
    setMode(net, 'eval', options);
    const ofEval = numbersOf(net, x, onlyTuneTrains ? [] : undefined);
    const report = enableTuneMode(net, options);
    expect(report.pairs.length).toBeGreaterThan(0);
    expectClose(numbersOf(net, x), ofEval, net);
    // Else Tune would have fallen back to Eval, and equality would say nothing.
    const { FusedBatchNorm: own } = await countsOf(['FusedBatchNorm'], () => gradients(net, x));
    expect(own).toBe(report.skipped.length);
    // Of a dilated conv's gradients some are padded by themselves.
    if (!onlyTuneTrains) expect(await copiesIn(() => gradients(net, x))).toBe(copies);
    expect(await copiesIn(() => predictions(net, x))).toBe(copies);
    setMode(net, 'train');
    expect(changes(before, snapshot(net))).toEqual([]);
    expect(predictions(net, x)).toEqual(untouched);
  });

  test('a step of training makes no padded copy, where one in Eval does', async () => {
    const x = input();
    const y = block(chain(x, padding('pad', ASYMMETRIC)), depthwise('d', { strides: 2 }));
    const net = model(x, chain(y, L.flatten({ name: 'flat' }), L.dense({ units: 2, name: 'head' })));
    randomise(net, 1);
    net.compile({ optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError' });
    const [tensors, target] = [inputsFor(net, 2), tf.ones([3, 2])];
    const copies = async (mode: 'eval' | 'tune') => {
      setMode(net, mode);
      return copiesIn(() => net.trainOnBatch(tensors, target));
    };
    expect(await copies('eval')).toBe(1);
    expect(await copies('tune')).toBe(0);
    net.optimizer.dispose();
  });
});

describe('who asks for the padded tensor', () => {
  beforeAll(() => useBackend('cpu'));

  const build = () => {
    const x = input();
    const padded = chain(block(x, conv('c0')), padding('pad', UNEVEN));
    return model(x, block(block(padded, depthwise('d', { strides: 2 })), conv('c1')));
  };
  const CUTS: Record<string, (at: (name: string) => Symbolic, net: tfl.LayersModel) => tfl.LayersModel> = {
    alone: (at, net) => model(net.inputs, at('pad')),
    'beside the end': (at, net) => model(net.inputs, [at('pad'), net.outputs[0]]),
    'beside conv, BN and activation': (at, net) => model(net.inputs, [at('d_act'), at('pad'), at('d'), at('d_bn')]),
    'through a layer of its own': (at, net) =>
      model(net.inputs, chain(at('pad'), L.globalAveragePooling2d({ dataFormat: 'channelsLast' }))),
    'through another conv': (at, net) => model(net.inputs, chain(at('pad'), net.getLayer('d'))),
  };

  test.each(Object.entries(CUTS))('gets it: %s, cut before enabling or after it', (_name, cut) => {
    const net = build();
    randomise(net, 1);
    const at = (name: string) => net.getLayer(name).getOutputAt(0) as Symbolic;
    const early = cut(at, net);
    const x = inputsFor(net, 2, BATCH);
    setMode(net, 'eval');
    const ofEval = numbersOf(early, x);
    enableTuneMode(net);
    expectClose(numbersOf(early, x), ofEval, early);
    const late = cut(at, net);
    expectClose(numbersOf(late, x), ofEval, late);
    enableTuneMode(late);
    expectClose(numbersOf(late, x), ofEval, late);
    expect(predictions(net, x)[0].every(Number.isFinite)).toBe(true);
  });

  test('it is zeros around the map, in every mode', () => {
    const net = build();
    randomise(net, 1);
    const cut = model(net.inputs, net.getLayer('pad').output as Symbolic);
    const [x] = inputsFor(net, 2, 1);
    for (const mode of ['train', 'eval', 'tune'] as const) {
      setMode(net, mode);
      tf.tidy(() => {
        const y = cut.predict(x) as tf.Tensor4D;
        expect(y.shape).toEqual([1, 7, 9, 3]);
        const inner = tf.slice(y, [0, 1, 2, 0], [1, 6, 6, 3]);
        expect(tf.sum(tf.abs(y)).dataSync()[0]).toBe(tf.sum(tf.abs(inner)).dataSync()[0]);
        expect(tf.max(inner).dataSync()[0]).toBeGreaterThan(0);
      });
    }
  });

  test('the report does not mention it, and what is saved is what was saved before', async () => {
    const net = build();
    randomise(net, 1);
    const saved = async () => {
      const { weightData, ...rest } = await savedArtifacts(net);
      return [JSON.stringify(rest), Buffer.from(weightData as ArrayBuffer).toString('base64')];
    };
    const before = await saved();
    expect(JSON.stringify(enableTuneMode(net))).not.toContain('pad');
    expect(await saved()).toEqual(before);
    expect(inspect(net).pairs).toHaveLength(3);
  });

  test('an input of the wrong shape is refused as the conv refuses it', () => {
    const x = input('in', [6, 6, 3]);
    const net = model(x, block(chain(x, padding('pad', 1)), valid('c')));
    const alive = tf.memory().numTensors;
    const wrong = tf.zeros([1, 6, 6, 4]);
    for (const mode of ['eval', 'tune'] as const) {
      setMode(net, mode);
      expect(() => net.apply(wrong)).toThrow(/incompatible with layer c: expected axis 3 .* to have value 3/);
    }
    wrong.dispose();
    expect(tf.memory().numTensors).toBe(alive);
  });
});
