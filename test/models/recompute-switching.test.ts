/**
 * `recompute` in a model that is switched to and fro, saved, or cut at the maps that are computed once more; and what is
 * refused as its value.
 *
 * Tolerances: Eval and Tune differ by rounding, `rounding(model)` for outputs and `gradientRounding` for gradients.
 */
import type * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, getMode, inspect, type Mode, setMode, type TuneOptions } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  applied,
  changes,
  inputsFor,
  largestDifference,
  movingStatistics,
  predictions,
  randomise,
  rounding,
  savedArtifacts,
  snapshot,
  weightedLayers,
  weightValues,
} from '../helpers/models';
import { gradientRounding, gradients } from './gradients';
import { BATCH, bottleneckModel, model, POSITIONS, RECOMPUTE, type Symbolic } from './recompute-models';
import { expectAsEval, forwardCounts, numbersOf } from './recompute-numbers';
import { bn, chain, conv, L, merge } from './table';

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe('the same model in other ways', () => {
    const OPTIONS: [Mode, TuneOptions][] = [
      ['tune', RECOMPUTE],
      ['tune', {}],
      ['tune', { ...RECOMPUTE, fuseActivation: false }],
      ['eval', RECOMPUTE],
      ['tune', RECOMPUTE],
      ['train', RECOMPUTE],
      ['tune', { ...RECOMPUTE, include: ({ conv }) => !conv.includes('dw') }],
      ['tune', RECOMPUTE],
    ];

    test('switched to and fro, right each time, and undone bit by bit', async () => {
      const net = bottleneckModel();
      randomise(net, 1);
      const x = inputsFor(net, 2, BATCH);
      const before = snapshot(net);
      const untouched = [predictions(net, x), weightValues(net)];
      setMode(net, 'eval');
      const ofEval = [predictions(net, x), gradients(net, x)];
      for (const [mode, options] of OPTIONS) {
        expect(setMode(net, mode, options).mode).toBe(mode);
        expect(getMode(net)).toBe(mode);
        expect(largestDifference(predictions(net, x), ofEval[0])).toBeLessThan(rounding(net));
        if (mode === 'train') {
          expect(changes(before, snapshot(net))).toEqual([]);
          continue;
        }
        expect(largestDifference(gradients(net, x), ofEval[1])).toBeLessThan(gradientRounding(net, POSITIONS));
      }
      setMode(net, 'train');
      expect(changes(before, snapshot(net))).toEqual([]);
      expect([predictions(net, x), weightValues(net)]).toEqual(untouched);
    });

    test('the report is the one without recomputing', () => {
      const net = bottleneckModel();
      const plain = { ...inspect(net) };
      expect({ ...inspect(net, RECOMPUTE) }).toEqual(plain);
      expect({ ...enableTuneMode(net, RECOMPUTE) }).toEqual({ ...plain, mode: 'tune' });
    });

    test('what is saved is what was saved before', async () => {
      const net = bottleneckModel();
      randomise(net, 1);
      const saved = async () => {
        const { weightData, ...rest } = await savedArtifacts(net);
        return [JSON.stringify(rest), Buffer.from(weightData as ArrayBuffer).toString('base64')];
      };
      const before = await saved();
      enableTuneMode(net, RECOMPUTE);
      expect(await saved()).toEqual(before);
    });

    const CUTS: Record<string, (at: (name: string) => Symbolic, x: Symbolic, end: Symbolic) => tfl.LayersModel> = {
      'at the depthwise block’s output': (at, x) => model(x, at('b_dw_act')),
      'at the depthwise BN’s output': (at, x) => model(x, at('b_dw_bn')),
      'at the depthwise conv’s own output': (at, x) => model(x, at('b_dw')),
      'at the expansion': (at, x) => model(x, at('a_expand_act')),
      'at the padding': (at, x) => model(x, at('b_pad')),
      'at the project’s BN': (at, x) => model(x, at('a_project_bn')),
      'at the depthwise block and the end': (at, x, end) => model(x, [at('b_dw_act'), end]),
      'at the end and the depthwise block': (at, x, end) => model(x, [end, at('b_dw_act')]),
      'at everything': (at, x, end) =>
        model(x, [at('a_expand_act'), at('a_dw_act'), at('a_project_bn'), at('a_add'), at('b_pad'), at('b_dw'), end]),
      'with a layer on the depthwise block, beside the end': (at, x, end) =>
        model(x, [chain(at('b_dw_act'), conv('new'), bn('new_bn')), end]),
      'with a sum over the depthwise block and its conv': (at, x) =>
        model(x, merge(L.add({ name: 'new' }), at('a_dw'), at('a_dw_act'))),
    };

    test.each(Object.entries(CUTS))('cut %s, before enabling and after it', (_name, cut) => {
      const net = bottleneckModel();
      const at = (name: string) => net.getLayer(name).output as Symbolic;
      const cutNow = () => cut(at, net.inputs[0], net.outputs[0]);
      const early = cutNow();
      randomise(net, 3);
      randomise(early, 3);
      setMode(net, 'eval');
      setMode(early, 'eval');
      const x = inputsFor(net, 5, BATCH);
      const ofEval = numbersOf(early, x);
      enableTuneMode(net, RECOMPUTE);
      expectAsEval(numbersOf(early, x), ofEval, early);
      const late = cutNow();
      // A layer that the cut brings along is new in each: its numbers are those of the first one.
      const [own, theirs] = [weightedLayers(late), weightedLayers(early)];
      own.forEach((layer, i) => {
        if (layer.name.startsWith('new')) layer.setWeights(theirs[i].getWeights());
      });
      if (own.every((layer) => !layer.name.startsWith('new'))) expectAsEval(numbersOf(late, x), ofEval, late);
      enableTuneMode(late, RECOMPUTE);
      expectAsEval(numbersOf(late, x), ofEval, late);
      // And the model itself did not suffer.
      const whole = predictions(net, x);
      setMode(net, 'eval');
      expect(largestDifference(whole, predictions(net, x))).toBeLessThan(rounding(net));
    });

    test('a cut that is switched to train trains there with its batch’s statistics, in the whole model too', () => {
      const found = [];
      for (const recompute of [false, true]) {
        const net = bottleneckModel();
        randomise(net, 3);
        const x = inputsFor(net, 5);
        enableTuneMode(net, { recompute });
        const tuned = applied(net, x, true);
        const cut = model(net.inputs[0], net.getLayer('b_dw_act').output as Symbolic);
        setMode(cut, 'train');
        const statistics = movingStatistics(net);
        const trained = applied(net, x, true);
        const written = movingStatistics(net);
        expect(largestDifference(trained, tuned)).toBeGreaterThan(1e-2);
        const untouched = Object.keys(statistics).filter((name) => /project/.test(name) && name.includes('b_'));
        expect(untouched).not.toHaveLength(0);
        for (const name of untouched) expect(written[name]).toEqual(statistics[name]);
        const changed = Object.keys(statistics).filter((name) => String(written[name]) !== String(statistics[name]));
        found.push({ trained, predicted: predictions(net, x), all: gradients(net, x), changed: changed.length });
        enableTuneMode(net, { recompute });
        expect(largestDifference(applied(net, x, true), applied(net, x, false))).toBeLessThan(rounding(net));
      }
      expect(found[1].changed).toBe(found[0].changed);
      expect(found[1].changed).toBeGreaterThan(0);
      // Batch statistics divide by their own deviation: ten times the rounding of a pass that does not.
      const net = bottleneckModel();
      expect(largestDifference(found[1].trained, found[0].trained)).toBeLessThan(10 * rounding(net));
      expect(largestDifference(found[1].predicted, found[0].predicted)).toBeLessThan(10 * rounding(net));
    });
  });
});

describe('the option', () => {
  beforeAll(() => useBackend('cpu'));

  test.each<[unknown, string]>([
    [1, '1'],
    ['yes', '"yes"'],
    [null, 'null'],
    [{}, '{}'],
  ])('%j is refused by name, and nothing is switched', (recompute, found) => {
    const net = bottleneckModel();
    const before = snapshot(net);
    const options = { recompute } as TuneOptions;
    for (const [where, run] of Object.entries({
      enableTuneMode: () => enableTuneMode(net, options),
      setMode: () => setMode(net, 'tune', options),
      inspect: () => inspect(net, options),
    })) {
      expect(run).toThrow(
        expect.objectContaining({
          code: 'invalid-option',
          message: `${where}: 'recompute' must be true or false, found ${found}.`,
        }),
      );
    }
    expect(changes(before, snapshot(net))).toEqual([]);
  });

  test('undefined is the default: nothing is recomputed', async () => {
    const net = bottleneckModel();
    const x = inputsFor(net, 2, BATCH);
    enableTuneMode(net, { recompute: undefined });
    const counts = await forwardCounts(() => gradients(net, x));
    enableTuneMode(net, { recompute: false });
    expect(await forwardCounts(() => gradients(net, x))).toEqual(counts);
    // Forward alone: two expansions and two projections, two depthwise ones.
    expect(counts).toEqual([4, 2]);
  });

  test('a name that is not quite right is refused, with the valid ones', () => {
    expect(() => enableTuneMode(bottleneckModel(), { recomputed: true } as TuneOptions)).toThrow(
      expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining("'recompute'") }),
    );
  });
});
