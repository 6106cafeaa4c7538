/**
 * `recompute`: maps that are cheap to compute are not kept for the backward pass but computed once more in it.
 *
 * Tune with `recompute` and without it run the same kernels on the same numbers, those of a recomputed map twice, so
 * outputs and gradients are the same bit by bit, on every backend. Eval's differ by rounding: `rounding(model)` for outputs,
 * `gradientRounding` for gradients, both derived from float32 and the sizes of the sums.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, getMode, inspect, type Mode, setMode, type TuneOptions } from 'tfjs-tune-mode';
import { peakHeapBytes } from '../../bench/measure';
import { useBackend } from '../helpers/backends';
import { livePeak } from '../helpers/blocks';
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
  targetsFor,
  weightedLayers,
  weightValues,
} from '../helpers/models';
import { countsOf, gradientRounding, gradients } from './gradients';
import { act, bn, chain, conv, input, L, merge, relu } from './table';

type Layer = tfl.layers.Layer;
type Symbolic = tfl.SymbolicTensor;

const RECOMPUTE: TuneOptions = { recompute: true };
const SIDE = 6;
const BATCH = 2;
/** The largest map of the models here. */
const POSITIONS = BATCH * SIDE * SIDE;

/** As Keras's MobileNets pad before a strided conv. */
const ASYMMETRIC: [[number, number], [number, number]] = [
  [0, 1],
  [0, 1],
];

const depthwise = (name: string, args: object = {}): Layer =>
  L.depthwiseConv2d({ kernelSize: 3, padding: 'same', name, ...args });
const pointwise = (name: string, filters: number): Layer => conv(name, { filters, kernelSize: 1 });
const padding = (name: string): Layer => L.zeroPadding2d({ padding: ASYMMETRIC, name });
const model = (inputs: Symbolic | Symbolic[], outputs: Symbolic | Symbolic[], name?: string) =>
  tfl.model({ inputs, outputs, name });
const asLayer = (inner: tfl.LayersModel): Layer => inner as unknown as Layer;
const td = (layer: Layer): Layer => L.timeDistributed({ layer, name: `td_${layer.name}` });

/** conv → BN → activation, named after the conv. */
const block = (x: Symbolic, layer: Layer, activation: Layer | null = relu(`${layer.name}_act`, 6)): Symbolic =>
  chain(x, layer, bn(`${layer.name}_bn`), ...(activation === null ? [] : [activation]));

/** MobileNet v2's: four times as wide inside as outside. */
function bottleneck(x: Symbolic, name: string, stride = 1): Symbolic {
  const wide = block(x, pointwise(`${name}_expand`, 12));
  const middle =
    stride === 1
      ? block(wide, depthwise(`${name}_dw`))
      : block(
          chain(wide, padding(`${name}_pad`)),
          depthwise(`${name}_dw`, { padding: 'valid', strides: stride, useBias: false }),
        );
  const narrow = block(middle, pointwise(`${name}_project`, 3), null);
  return stride === 1 ? merge(L.add({ name: `${name}_add` }), x, narrow) : narrow;
}

function bottleneckModel(): tfl.LayersModel {
  const x = input();
  return model(x, bottleneck(bottleneck(x, 'a'), 'b', 2));
}

interface Row {
  name: string;
  build: () => tfl.LayersModel;
  options?: TuneOptions;
  /** How many maps are computed once more in a step: of ordinary convolutions and of depthwise ones. */
  again: [conv: number, depthwise: number];
  /** Whether Eval has no gradient: tfjs lacks one. */
  onlyTuneTrains?: boolean;
}

const RECOMPUTED: Row[] = [
  {
    name: 'inverted bottlenecks, residual, and strided behind a padding',
    build: bottleneckModel,
    again: [2, 2],
  },
  {
    name: 'MobileNet v1: depthwise and pointwise in turn, one strided behind a padding',
    build: () => {
      const x = input();
      const first = block(block(block(x, conv('c0', { strides: 1 })), depthwise('d1')), pointwise('p1', 6));
      const padded = chain(first, padding('pad'));
      const second = block(padded, depthwise('d2', { padding: 'valid', strides: 2 }));
      return model(x, block(block(block(second, pointwise('p2', 8)), depthwise('d3')), pointwise('p3', 4)));
    },
    again: [0, 3],
  },
  {
    name: 'depthwise on depthwise on depthwise, with every activation',
    build: () => {
      const x = input();
      const y = [
        act('a1', 'tanh'),
        act('a2', 'sigmoid'),
        act('a3', 'elu'),
        L.leakyReLU({ alpha: 0.25, name: 'a4' }),
        null,
      ].reduce((t, activation, i) => block(t, depthwise(`d${i}`), activation), x);
      return model(x, block(y, conv('last')));
    },
    again: [0, 5],
  },
  {
    name: 'depthwise with a multiplier, before every kind that can take its output',
    build: () => {
      const x = input();
      const wide = (name: string) => block(x, depthwise(name, { depthMultiplier: 2 }));
      return model(x, [
        block(wide('d1'), L.separableConv2d({ filters: 2, kernelSize: 3, name: 'separable' })),
        block(wide('d2'), L.conv2dTranspose({ filters: 2, kernelSize: 2, strides: 2, name: 'transposed' })),
        block(wide('d3'), L.dense({ units: 2, name: 'dense' })),
        block(wide('d4'), depthwise('d5', { strides: 2 })),
        chain(wide('d6'), td(L.dense({ units: 2, name: 'each' })), bn('each_bn')),
      ]);
    },
    again: [0, 5],
  },
  {
    name: 'without γ, without β, without a bias',
    build: () => {
      const x = input();
      const a = chain(x, depthwise('d1', { useBias: false }), bn('n1', { scale: false }), relu('r1'));
      const b = chain(a, pointwise('p1', 3), bn('n2', { center: false }), relu('r2'));
      const c = chain(b, depthwise('d2', { useBias: false }), bn('n3', { scale: false, center: false }), relu('r3'));
      return model(x, chain(c, pointwise('p2', 2), bn('n4')));
    },
    again: [0, 2],
  },
  {
    name: 'the same depthwise block twice',
    build: () => {
      const x = input();
      const shared = [depthwise('d'), bn('n'), relu('r')];
      return model(x, block(chain(block(chain(x, ...shared), pointwise('p1', 3)), ...shared), pointwise('p2', 3)));
    },
    again: [0, 2],
  },
  {
    name: 'one activation layer behind a depthwise block, behind an ordinary one and on the input',
    build: () => {
      const x = input();
      const shared = relu('r');
      const y = chain(x, shared, conv('c1'), bn('n1'), depthwise('d'), bn('n2'), shared, conv('c2'), bn('n3'), shared);
      return model(x, chain(y, conv('c3'), bn('n4')));
    },
    again: [0, 1],
  },
  {
    name: 'inside nested models, one of them used twice',
    build: () => {
      const i = input('inner_in');
      const inner = asLayer(model(i, block(block(i, depthwise('d')), pointwise('p', 3)), 'inner'));
      const j = input('middle_in');
      const middle = asLayer(model(j, chain(bottleneck(j, 'm'), inner), 'middle'));
      const x = input();
      return model(x, chain(x, inner, middle));
    },
    // Bottleneck: one of each. The inner model: at two places.
    again: [1, 3],
  },
  {
    name: 'a Sequential',
    build: () =>
      tfl.sequential({
        layers: [
          depthwise('d', { inputShape: [SIDE, SIDE, 3] }),
          bn('n1'),
          relu('r1'),
          L.zeroPadding2d({ padding: 1, name: 'pad' }),
          conv('c', { padding: 'valid' }),
          bn('n2'),
          relu('r2'),
        ],
      }),
    again: [0, 1],
  },
];

const KEPT: Row[] = [
  {
    name: 'an output that is also one of the model',
    build: () => {
      const x = input();
      const middle = block(x, depthwise('d'));
      return model(x, [block(middle, pointwise('p', 3)), middle]);
    },
    again: [0, 0],
  },
  {
    name: 'an output with two consumers, both of them blocks',
    build: () => {
      const x = input();
      const middle = block(x, depthwise('d'));
      return model(x, merge(L.add({ name: 'sum' }), block(middle, pointwise('p', 3)), block(middle, conv('c'))));
    },
    again: [0, 0],
  },
  {
    name: 'an output that a block takes and a sum besides',
    build: () => {
      const x = input();
      const middle = block(x, depthwise('d'));
      return model(x, merge(L.multiply({ name: 'product' }), block(middle, pointwise('p', 3)), middle));
    },
    again: [0, 0],
  },
  {
    name: 'an output that no block takes',
    build: () => {
      const x = input();
      const y = chain(block(x, depthwise('d1')), conv('alone'), L.maxPooling2d({ poolSize: 2, name: 'pool' }));
      return model(
        x,
        chain(block(y, depthwise('d2')), L.flatten({ name: 'flat' }), L.dense({ units: 2, name: 'head' })),
      );
    },
    again: [0, 0],
  },
  {
    name: 'an output whose padded copy is an output of the model',
    build: () => {
      const x = input();
      const padded = chain(block(x, depthwise('d')), padding('pad'));
      return model(x, [block(padded, conv('c', { padding: 'valid' })), padded]);
    },
    again: [0, 0],
  },
  {
    name: 'an output whose padded copy two blocks take',
    build: () => {
      const x = input();
      const padded = chain(block(x, depthwise('d')), padding('pad'));
      const both = ['c1', 'c2'].map((name) => block(padded, conv(name, { padding: 'valid' })));
      return model(x, merge(L.add({ name: 'sum' }), ...both));
    },
    again: [0, 0],
  },
  {
    name: 'an output whose padding the next block cannot take in',
    build: () => {
      const x = input();
      return model(x, block(chain(block(x, depthwise('d')), padding('pad')), conv('c', { padding: 'same' })));
    },
    again: [0, 0],
  },
  {
    name: 'an output that leaves a nested model, or enters one',
    build: () => {
      const i = input('inner_in');
      const inner = model(i, block(block(i, pointwise('p', 3)), depthwise('d')), 'inner');
      const x = input();
      return model(x, block(chain(block(x, depthwise('d0')), asLayer(inner)), pointwise('p2', 3)));
    },
    again: [0, 0],
  },
  {
    name: 'a pointwise conv that is less than four times as wide, one with a stride, one with more taps',
    build: () => {
      const x = input();
      return model(x, [
        block(block(x, pointwise('p1', 11)), conv('c1')),
        block(block(x, conv('p2', { filters: 12, kernelSize: 1, strides: 2 })), conv('c2')),
        block(block(x, conv('p3', { filters: 12, kernelSize: [1, 3] })), conv('c3')),
      ]);
    },
    again: [0, 0],
  },
  {
    name: 'TimeDistributed blocks',
    build: () => {
      const x = input('clip', [2, SIDE, SIDE, 3]);
      const timed = [depthwise('d'), bn('n'), relu('r'), pointwise('p', 12), bn('n2'), relu('r2'), conv('c'), bn('n3')];
      return model(x, chain(x, ...timed.map(td)));
    },
    again: [0, 0],
  },
  {
    name: 'blocks that are left out',
    build: bottleneckModel,
    options: { include: ({ kind, conv }) => kind === 'Conv2D' && !conv.endsWith('expand') },
    again: [0, 0],
  },
  {
    name: 'blocks whose activations are left to themselves',
    build: bottleneckModel,
    options: { fuseActivation: false },
    again: [0, 0],
  },
];

const FORWARD = ['FusedConv2D', 'FusedDepthwiseConv2D'] as const;
const forwardCounts = async (run: () => unknown) => Object.values(await countsOf(FORWARD, run));

/** Every number that a model gives in a mode, and how many tensors that leaves alive. */
function numbersOf(net: tfl.LayersModel, x: tf.Tensor[]) {
  const alive = tf.memory().numTensors;
  const found = {
    predicted: predictions(net, x),
    applied: applied(net, x, false),
    trained: applied(net, x, true),
    all: gradients(net, x),
    weights: gradients(net, x, 'weights'),
    x: gradients(net, x, 'x'),
  };
  return { ...found, leaked: tf.memory().numTensors - alive };
}

function expectAsEval(found: ReturnType<typeof numbersOf>, ofEval: ReturnType<typeof numbersOf>, net: tfl.LayersModel) {
  expect(found.leaked).toBe(0);
  for (const name of ['predicted', 'applied', 'trained'] as const)
    expect(largestDifference(found[name], ofEval[name])).toBeLessThan(rounding(net));
  for (const name of ['all', 'weights', 'x'] as const)
    expect(largestDifference(found[name], ofEval[name])).toBeLessThan(gradientRounding(net, POSITIONS));
  expect(Math.max(...ofEval.all.flat().map(Math.abs))).toBeGreaterThan(1e-2);
}

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
        for (const name of Object.keys(statistics)) {
          if (/project/.test(name) && name.includes('b_')) expect(written[name]).toEqual(statistics[name]);
        }
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

  describe('gradients of gradients', () => {
    // No depthwise convolution: tfjs has no gradient of its gradient.
    const build = () => {
      const x = input();
      const y = block(block(x, pointwise('expand', 12), act('a', 'tanh')), conv('c'), act('b', 'tanh'));
      return model(x, y);
    };
    const scoped = <T>(run: () => T): T => {
      tf.engine().startScope();
      try {
        return run();
      } finally {
        tf.engine().endScope();
      }
    };
    const loss = (net: tfl.LayersModel, x: tf.Tensor) =>
      tf.sum(tf.square(net.apply(x, { training: true }) as tf.Tensor));

    test('a penalty on the gradient is Eval’s', () => {
      const net = build();
      randomise(net, 2);
      const [x] = inputsFor(net, 3, BATCH);
      const penalty = () =>
        scoped(() => {
          const grad = tf.grad((input) => tf.sum(tf.square(tf.grad((inner) => loss(net, inner))(input))));
          return [Array.from(grad(x).dataSync())];
        });
      setMode(net, 'eval');
      const ofEval = penalty();
      enableTuneMode(net, RECOMPUTE);
      // Two backward passes.
      expect(largestDifference(penalty(), ofEval)).toBeLessThan(2 * gradientRounding(net, POSITIONS));
    });

    // A map rebuilt by a kernel leaves nothing on the outer tape that could be followed.
    test('where the forward pass stands outside of the inner gradient it is refused, in words', () => {
      const net = build();
      randomise(net, 2);
      const [x] = inputsFor(net, 3, BATCH);
      const penalty = () =>
        scoped(() => {
          const grad = tf.grad((input) => {
            const value = loss(net, input);
            const [inner] = tf.grads(() => value)([input]);
            return tf.sum(tf.square(inner));
          });
          return [Array.from(grad(x).dataSync())];
        });
      enableTuneMode(net, RECOMPUTE);
      expect(penalty).toThrow(
        expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('recompute: false') }),
      );
    });

    test('an inner gradient over a pass outside of it leaves the maps to the outer one', () => {
      const net = bottleneckModel();
      randomise(net, 2);
      const [x] = inputsFor(net, 3, BATCH);
      const run = () =>
        scoped(() => {
          let inner: number[] = [];
          const outer = tf.grad((input) => {
            const value = loss(net, input);
            tf.tidy(() => {
              inner = Array.from(
                tf
                  .grads(() => value)([input])[0]
                  .dataSync(),
              );
            });
            return value;
          })(x);
          return [inner, Array.from(outer.dataSync())];
        });
      enableTuneMode(net);
      const kept = run();
      enableTuneMode(net, RECOMPUTE);
      const alive = tf.memory().numTensors;
      const recomputed = run();
      expect(tf.memory().numTensors).toBe(alive);
      // On wasm the outer pass has kernels of its own, the same ones with recomputing and without.
      expect(recomputed).toEqual(kept);
    });
  });

  describe('a backward pass that fails', () => {
    /** What stays alive after a failure: tfjs keeps what it saved for a backward pass that ends early, in every mode. */
    const leaked = (run: () => unknown) => {
      const before = tf.memory();
      expect(run).toThrow('trap');
      const after = tf.memory();
      return { tensors: after.numTensors - before.numTensors, bytes: after.numBytes - before.numBytes };
    };
    const trapped = (x: tf.Tensor): tf.Tensor =>
      tf.customGrad((u) => ({
        value: tf.mul(u as tf.Tensor, 1),
        gradFunc: () => {
          throw new Error('trap');
        },
      }))(x);

    test('in the middle leaves no more than without recomputing, and the next pass is right', () => {
      const bottom = bottleneckModel();
      const middle = tfl.input({ shape: bottom.outputs[0].shape.slice(1) });
      const top = model(middle, bottleneck(middle, 'top'));
      for (const net of [bottom, top]) randomise(net, 3);
      const [x] = inputsFor(bottom, 4, BATCH);
      const run = () => {
        tf.engine().startScope();
        try {
          tf.grads((input) => {
            const y = trapped(bottom.apply(input, { training: true }) as tf.Tensor);
            return tf.sum(top.apply(y, { training: true }) as tf.Tensor);
          })([x]);
        } finally {
          tf.engine().endScope();
        }
      };
      const left = [false, true].map((recompute) => {
        enableTuneMode(bottom, { recompute });
        enableTuneMode(top, { recompute });
        return leaked(run);
      });
      expect(left[1].bytes).toBeLessThanOrEqual(left[0].bytes);
      expect(left[1].tensors).toBeLessThanOrEqual(left[0].tensors);
      const after = gradients(bottom, [x]);
      enableTuneMode(bottom);
      expect(after).toEqual(gradients(bottom, [x]));
    });

    test('while a map is being recomputed leaves no more than one that fails at its very start', () => {
      const net = bottleneckModel();
      randomise(net, 3);
      const [x] = inputsFor(net, 4, BATCH);
      enableTuneMode(net, RECOMPUTE);
      const expected = gradients(net, [x]);
      const run = (last: (y: tf.Tensor) => tf.Tensor) => {
        tf.engine().startScope();
        try {
          tf.grads((input) => tf.sum(last(net.apply(input, { training: true }) as tf.Tensor)))([x]);
        } finally {
          tf.engine().endScope();
        }
      };
      const atStart = leaked(() => run(trapped));
      const config = tf.getKernel('FusedDepthwiseConv2D', backend)!;
      let calls = 0;
      tf.unregisterKernel(config.kernelName, backend);
      tf.registerKernel({
        ...config,
        kernelFunc: (args) => {
          // Two in the forward pass; the first one of the backward pass is let through.
          if (++calls === 4) throw new Error('trap');
          return config.kernelFunc(args);
        },
      });
      try {
        const within = leaked(() => run((y) => y));
        expect(calls).toBe(4);
        expect(within.tensors).toBeLessThanOrEqual(atStart.tensors);
        expect(within.bytes).toBeLessThanOrEqual(atStart.bytes);
      } finally {
        tf.unregisterKernel(config.kernelName, backend);
        tf.registerKernel(config);
      }
      const alive = tf.memory().numTensors;
      expect(gradients(net, [x])).toEqual(expected);
      expect(tf.memory().numTensors).toBeLessThanOrEqual(alive);
    });
  });
});

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
