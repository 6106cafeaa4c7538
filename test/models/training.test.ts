/**
 * What else takes part in training: `trainable` flags and the work they save, regularizers, constraints, masks.
 *
 * Tolerances: as in modes.test.ts, 10 · rounding(model) a step.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  inputsFor,
  kernelsOf,
  largestDifference,
  predictions,
  randomise,
  randomTensor,
  rounding,
  seeded,
  setWeightValues,
  targetsFor,
  weightValues,
} from '../helpers/models';
import { bn, chain, conv, input, L, relu } from './table';

beforeAll(() => useBackend('cpu'));

const MODES = ['eval', 'tune'] as const;

/** Three blocks in a row, the second one depthwise, and a head. */
function build(args: { conv?: object; bn?: object } = {}): tfl.LayersModel {
  const x = input();
  const y = chain(
    x,
    conv('c1', args.conv),
    bn('n1', args.bn),
    relu('r1'),
    L.depthwiseConv2d({ kernelSize: 3, name: 'c2', padding: 'same' }),
    bn('n2', args.bn),
    relu('r2', 6),
    conv('c3', args.conv),
    bn('n3', args.bn),
    L.flatten({ name: 'flat' }),
    L.dense({ units: 3, name: 'head' }),
  );
  const model = tfl.model({ inputs: x, outputs: y });
  randomise(model, 1);
  return model;
}

interface Run {
  losses: number[];
  weights: Record<string, number[]>;
  gradientKernels: string[];
}

/** Trains in each mode from the same weights; also lists the gradient kernels of one step. */
async function bothModes(
  model: tfl.LayersModel,
  steps = 3,
  optimizer: () => tf.Optimizer = () => tf.train.momentum(0.02, 0.9),
) {
  const start = weightValues(model);
  const [x, y] = [inputsFor(model, 3), targetsFor(model, 4)];
  const runs: Run[] = [];
  for (const mode of MODES) {
    setMode(model, mode);
    setWeightValues(model, start);
    model.compile({ optimizer: optimizer(), loss: 'meanSquaredError' });
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) losses.push((await model.trainOnBatch(x, y)) as number);
    const weights = weightValues(model);
    const kernels = await kernelsOf(() => model.trainOnBatch(x, y));
    runs.push({ losses, weights, gradientKernels: kernels.filter((name) => /Backprop/.test(name)) });
  }
  const [evaluated, tuned] = runs;
  expect(largestDifference([tuned.losses], [evaluated.losses])).toBeLessThan(10 * steps * rounding(model));
  const values = runs.map(({ weights }) => Object.values(weights));
  expect(largestDifference(values[1], values[0])).toBeLessThan(10 * steps * rounding(model));
  return { start, evaluated, tuned };
}

/** Names of the weights that a run changed, by layer and weight. */
function trained(model: tfl.LayersModel, start: Record<string, number[]>, end: Record<string, number[]>): string[] {
  const owners = model.layers.filter((layer) => layer.weights.length > 0).map(({ name }) => name);
  return Object.keys(start)
    .filter((key) => start[key].some((value, i) => value !== end[key][i]))
    .map((key) => {
      const [index, name] = key.split(' ');
      return `${owners[Number(index)]} ${name.split('/').pop()}`;
    })
    .sort();
}

/** Eval may do more: the gradient of tfjs's fused conv with bias computes both of its products, asked for or not. */
function expectNoMoreWork(tuned: Run, evaluated: Run): void {
  for (const kernel of new Set(tuned.gradientKernels)) {
    const count = ({ gradientKernels }: Run) => gradientKernels.filter((name) => name === kernel).length;
    expect([kernel, count(tuned) <= count(evaluated)]).toEqual([kernel, true]);
  }
}

const ALL = ['c1', 'n1', 'c2', 'n2', 'c3', 'n3', 'head'];
const OF: Record<string, string[]> = { n: ['beta', 'gamma'], c: ['bias', 'kernel'], head: ['bias', 'kernel'] };
const weightsOfLayer = (name: string) =>
  (name === 'c2' ? ['bias', 'depthwise_kernel'] : (OF[name] ?? OF[name[0]])).map((weight) => `${name} ${weight}`);

/** Gradient kernels expected in tune: of the convs' filters, and of the inputs of blocks after the first trained one. */
const FROZEN: [string, string[], string[]][] = [
  [
    'nothing',
    [],
    [
      'Conv2DBackpropFilter',
      'Conv2DBackpropFilter',
      'Conv2DBackpropInput',
      'DepthwiseConv2dNativeBackpropFilter',
      'DepthwiseConv2dNativeBackpropInput',
    ],
  ],
  [
    'the first block',
    ['c1', 'n1'],
    ['Conv2DBackpropFilter', 'Conv2DBackpropInput', 'DepthwiseConv2dNativeBackpropFilter'],
  ],
  ['the first two blocks', ['c1', 'n1', 'c2', 'n2'], ['Conv2DBackpropFilter']],
  [
    'the block in the middle',
    ['c2', 'n2'],
    ['Conv2DBackpropFilter', 'Conv2DBackpropFilter', 'Conv2DBackpropInput', 'DepthwiseConv2dNativeBackpropInput'],
  ],
  ['all blocks', ['c1', 'n1', 'c2', 'n2', 'c3', 'n3'], []],
  [
    'the BNs',
    ['n1', 'n2', 'n3'],
    [
      'Conv2DBackpropFilter',
      'Conv2DBackpropFilter',
      'Conv2DBackpropInput',
      'DepthwiseConv2dNativeBackpropFilter',
      'DepthwiseConv2dNativeBackpropInput',
    ],
  ],
];

describe('trainable: false', () => {
  test.each(FROZEN)(
    'on %s: frozen weights stay, the others train, and no work is done for the frozen ones',
    async (_name, frozen, kernels) => {
      const model = build();
      for (const name of frozen) model.getLayer(name).trainable = false;
      const { start, evaluated, tuned } = await bothModes(model);
      const expected = ALL.filter((name) => !frozen.includes(name)).flatMap(weightsOfLayer);
      expect(trained(model, start, tuned.weights)).toEqual(expected.sort());
      expect(trained(model, start, evaluated.weights)).toEqual(expected);
      expect(tuned.gradientKernels).toEqual(kernels);
      expectNoMoreWork(tuned, evaluated);
    },
  );

  test('on the convs alone: γ and β train; γ’s gradient goes through the folded kernel, so that is computed', async () => {
    const model = build();
    for (const name of ['c1', 'c2', 'c3']) model.getLayer(name).trainable = false;
    const { start, evaluated, tuned } = await bothModes(model);
    const expected = ['n1', 'n2', 'n3', 'head'].flatMap(weightsOfLayer).sort();
    expect(trained(model, start, tuned.weights)).toEqual(expected);
    expect(trained(model, start, evaluated.weights)).toEqual(expected);
    expect(tuned.gradientKernels).toEqual(FROZEN[0][2]);
  });

  test('on everything but β: no gradient of a kernel is computed', async () => {
    const model = build();
    for (const layer of model.layers) {
      layer.trainable = layer.getClassName() === 'BatchNormalization';
      const gamma = layer.weights.find(({ originalName }) => originalName.endsWith('gamma'));
      if (gamma !== undefined) gamma.trainable = false;
    }
    const { start, tuned, evaluated } = await bothModes(model);
    expect(trained(model, start, tuned.weights)).toEqual(['n1 beta', 'n2 beta', 'n3 beta']);
    expect(tuned.gradientKernels).toEqual(['Conv2DBackpropInput', 'DepthwiseConv2dNativeBackpropInput']);
    expectNoMoreWork(tuned, evaluated);
  });

  test('set in tune mode, it counts from the next compile on, as in tfjs-layers', async () => {
    const model = build();
    enableTuneMode(model);
    model.getLayer('c1').trainable = false;
    model.getLayer('n1').trainable = false;
    const { start, tuned } = await bothModes(model);
    expect(trained(model, start, tuned.weights).filter((name) => /^[cn]1/.test(name))).toEqual([]);
  });

  test('on a nested model freezes its blocks', async () => {
    const inner = tfl.sequential({ name: 'inner' });
    for (const layer of [conv('c1', { inputShape: [6, 6, 3] }), bn('n1'), relu('r1')]) inner.add(layer);
    const x = input();
    const nested = chain(
      x,
      inner as unknown as tfl.layers.Layer,
      conv('c2'),
      bn('n2'),
      L.flatten(),
      L.dense({ units: 3 }),
    );
    const model = tfl.model({ inputs: x, outputs: nested });
    randomise(model, 2);
    inner.trainable = false;
    const { start, tuned } = await bothModes(model);
    const before = Object.entries(start).filter(([key]) => /^[01] /.test(key));
    expect(before).toHaveLength(6);
    for (const [key, values] of before) expect(tuned.weights[key]).toEqual(values);
    expect(tuned.gradientKernels).toEqual(['Conv2DBackpropFilter']);
  });
});

describe('regularizers', () => {
  const args = {
    conv: {
      kernelRegularizer: tfl.regularizers.l2({ l2: 0.3 }),
      biasRegularizer: tfl.regularizers.l1({ l1: 0.1 }),
    },
    bn: {
      gammaRegularizer: tfl.regularizers.l2({ l2: 0.2 }),
      betaRegularizer: tfl.regularizers.l1l2({ l1: 0.1, l2: 0.1 }),
    },
  };

  test('the same loss and gradients in eval and in tune, and not those without', async () => {
    const once = (model: tfl.LayersModel) => bothModes(model, 1, () => tf.train.sgd(1));
    const [plain, regularised] = [await once(build()), await once(build(args))];
    expect(Math.abs(regularised.tuned.losses[0] - plain.tuned.losses[0])).toBeGreaterThan(0.1);
    expect(
      largestDifference(Object.values(regularised.tuned.weights), Object.values(plain.tuned.weights)),
    ).toBeGreaterThan(0.1);
  });

  test('only the penalty trains where the block has no part in the loss', async () => {
    const model = build(args);
    model.compile({ optimizer: tf.train.sgd(0.5), loss: (_target, y) => tf.mul(tf.sum(y), 0) as tf.Scalar });
    enableTuneMode(model);
    const before = weightValues(model);
    await model.trainOnBatch(inputsFor(model, 3), targetsFor(model, 4));
    const after = weightValues(model);
    const kernel = Object.keys(before).find((name) => name.endsWith('c1/kernel')) as string;
    // w − lr · 2 · l2 · w = 0.7 w
    before[kernel].forEach((w, i) => {
      expect(after[kernel][i]).toBeCloseTo(0.7 * w, 6);
    });
  });
});

test('constraints act as in eval', async () => {
  const model = build({
    conv: { kernelConstraint: tfl.constraints.maxNorm({ maxValue: 0.5, axis: 0 }) },
    bn: { gammaConstraint: tfl.constraints.nonNeg(), betaConstraint: tfl.constraints.unitNorm({ axis: 0 }) },
  });
  await bothModes(model, 4);
});

describe('masks', () => {
  function build(): tfl.LayersModel {
    const x = input('words', [5, 3]);
    const y = chain(
      x,
      L.masking({ maskValue: 0, name: 'mask' }),
      L.dense({ units: 4, name: 'c1' }),
      bn('n1'),
      L.activation({ activation: 'tanh', name: 'a1' }),
      // The default initialiser calls a method of tensors that tfjs-core alone does not have (tfjs-layers 4.22.0).
      L.simpleRNN({ units: 3, recurrentInitializer: 'glorotUniform', name: 'rnn' }),
    );
    const model = tfl.model({ inputs: x, outputs: y });
    randomise(model, 6);
    return model;
  }
  const padded = () => {
    const values = randomTensor([2, 5, 3], seeded(8)).arraySync() as number[][][];
    for (const words of values) for (const t of [3, 4]) words[t] = [0, 0, 0];
    return tf.tensor3d(values);
  };

  test('pass through a block as through conv, BN and activation', () => {
    const model = build();
    const [long, short] = [padded(), tf.slice(padded(), [0, 0, 0], [2, 3, 3])];
    const expected = predictions(model, [long]);
    for (const mode of MODES) {
      setMode(model, mode);
      expect(largestDifference(predictions(model, [long]), expected)).toBeLessThan(rounding(model));
    }
    // The mask does something: padding is as if it were not there.
    const x = input('shorter', [3, 3]);
    const same = tfl.model({ inputs: x, outputs: chain(x, ...model.layers.slice(1)) });
    expect(largestDifference(predictions(same, [short]), expected)).toBeLessThan(rounding(model));
    const unmasked = tfl.model({ inputs: x, outputs: chain(x, ...model.layers.slice(2)) });
    const other = input('unmasked', [5, 3]);
    const seen = tfl.model({ inputs: other, outputs: chain(other, ...model.layers.slice(2)) });
    expect(largestDifference(predictions(seen, [long]), expected)).toBeGreaterThan(1e-2);
    expect(largestDifference(predictions(unmasked, [short]), expected)).toBeLessThan(rounding(model));
  });

  test('and in training', async () => {
    await bothModes(build());
  });
});
