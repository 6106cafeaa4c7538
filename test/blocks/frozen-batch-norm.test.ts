/**
 * BatchNormalization in Eval mode: numbers and gradients against the formula, statistics that nobody writes; and what
 * tfjs-layers 4.22.0 does instead, so that a version which does better is noticed.
 *
 * Tolerance: n · 2⁻²⁴ of a number's magnitude, the sum of the absolute values of its terms. A term goes through the sum
 * over a channel's positions and at most 16 elementwise operations.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { setMode } from '../../src';
import { frozenBatchNorm } from '../../src/frozen-batch-norm';
import { useBackend } from '../helpers/backends';
import { random } from '../helpers/random';
import { type Quantity, relativeError } from '../helpers/reference';

const EPSILON = 1e-3;
const sizeOf = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

interface Expected {
  y: Quantity;
  x: Quantity;
  gamma: Quantity;
  beta: Quantity;
  tolerance: number;
}

interface Data {
  x: Float32Array;
  r: Float32Array;
  gamma: Float32Array | null;
  beta: Float32Array | null;
  mean: Float32Array;
  variance: Float32Array;
}

function draw(shape: number[], channels: number, scale: boolean, center: boolean, seed: number): Data {
  const rng = random(seed);
  return {
    x: rng.array(sizeOf(shape)),
    r: rng.array(sizeOf(shape)),
    gamma: scale ? rng.array(channels, (k) => (k === 0 ? 0 : rng.pick([-1, 1]) * rng.uniform(0.3, 2))) : null,
    beta: center ? rng.array(channels) : null,
    mean: rng.array(channels, () => rng.uniform(0.3, 2)),
    variance: rng.array(channels, (k) => (k === 1 ? 1e-6 : 10 ** rng.uniform(-2, 1))),
  };
}

/** y = γ (x − μ) / d + β with d = sqrt(σ² + ε), and the gradients of Σ y · r. */
function formula(shape: number[], axis: number, data: Data): Expected {
  const channels = shape[axis];
  const inner = sizeOf(shape.slice(axis + 1));
  const empty = (size: number): Quantity => ({ value: new Float64Array(size), magnitude: new Float64Array(size) });
  const add = (to: Quantity, i: number, value: number, magnitude = Math.abs(value)) => {
    to.value[i] += value;
    to.magnitude[i] += magnitude;
  };
  const [y, x, gamma, beta] = [sizeOf(shape), sizeOf(shape), channels, channels].map(empty);
  data.x.forEach((value, i) => {
    const k = Math.floor(i / inner) % channels;
    const deviation = Math.sqrt(data.variance[k] + EPSILON);
    const scale = (data.gamma?.[k] ?? 1) / deviation;
    const size = Math.abs(value) + Math.abs(data.mean[k]);
    const offset = data.beta?.[k] ?? 0;
    add(y, i, scale * (value - data.mean[k]) + offset, Math.abs(scale) * size + Math.abs(offset));
    add(x, i, scale * data.r[i]);
    add(gamma, k, (data.r[i] * (value - data.mean[k])) / deviation, (Math.abs(data.r[i]) * size) / deviation);
    add(beta, k, data.r[i]);
  });
  return { y, x, gamma, beta, tolerance: (sizeOf(shape) / channels + 16) * 2 ** -24 };
}

const SHAPES: Record<number, number[]> = { 2: [5, 3], 3: [2, 4, 3], 4: [2, 3, 4, 5], 5: [2, 3, 2, 4, 3] };
const AXES: Record<number, number[]> = { 2: [-1, 1], 3: [-1, 2, 1, -2], 4: [-1, 3, 1, 2, -2], 5: [-1, 4, 1, -4, 2] };
const BOOLEANS = [true, false];
const ROWS = Object.keys(SHAPES).flatMap((rank) =>
  AXES[Number(rank)].flatMap((axis) =>
    BOOLEANS.flatMap((scale) => BOOLEANS.map((center) => ({ rank: Number(rank), axis, scale, center }))),
  ),
);

const { layers } = tfl;

/** A model of one BN, alone or behind a conv with which it makes a pair. */
function modelOf(shape: number[], args: { axis?: number; scale?: boolean; center?: boolean } = {}, paired = false) {
  const input = tfl.input({ shape: shape.slice(1) });
  const bn = layers.batchNormalization({ epsilon: EPSILON, ...args, name: 'bn' });
  const dense = layers.dense({ units: shape[shape.length - 1], name: 'dense' });
  const before = paired ? (dense.apply(input) as tfl.SymbolicTensor) : input;
  return tfl.model({ inputs: input, outputs: bn.apply(before) as tfl.SymbolicTensor });
}

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  let before = 0;
  beforeEach(() => {
    before = tf.memory().numTensors;
    tf.engine().startScope();
  });
  const leaks = () => {
    tf.engine().endScope();
    return tf.memory().numTensors - before;
  };

  describe('the formula', () => {
    test.each(ROWS)('rank $rank, axis $axis, scale $scale, center $center', ({ rank, axis, scale, center }) => {
      const shape = SHAPES[rank];
      const channelAxis = axis < 0 ? axis + rank : axis;
      const data = draw(shape, shape[channelAxis], scale, center, rank * 10 + axis);
      const expected = formula(shape, channelAxis, data);
      const vector = (values: Float32Array | null) => (values === null ? null : tf.tensor1d(values));
      const [gamma, beta, mean, variance] = [data.gamma, data.beta, data.mean, data.variance].map(vector);
      const x = tf.tensor(data.x, shape);
      const r = tf.tensor(data.r, shape);
      const normalise = () => {
        const weights = { gamma, beta, mean: mean as tf.Tensor, variance: variance as tf.Tensor, epsilon: EPSILON };
        return frozenBatchNorm(x, weights, axis);
      };
      const y = normalise();
      expect(y.shape).toEqual(shape);
      expect(y).not.toBe(x);
      expect(relativeError(y.dataSync(), expected.y)).toBeLessThanOrEqual(expected.tolerance);
      const asked = new Map([
        ['x' as const, x],
        ...(gamma === null ? [] : [['gamma' as const, gamma] as const]),
        ...(beta === null ? [] : [['beta' as const, beta] as const]),
      ]);
      const grads = tf.grads(() => tf.sum(tf.mul(normalise(), r)))([...asked.values()]);
      [...asked.keys()].forEach((name, i) => {
        expect(relativeError(grads[i].dataSync(), expected[name])).toBeLessThanOrEqual(expected.tolerance);
      });
      expect(leaks()).toBe(0);
    });
  });

  describe('statistics are never written', () => {
    const SETTINGS = [
      { name: 'alone, rank 2', shape: [4, 3], args: {}, paired: false },
      { name: 'alone, rank 4, axis 1', shape: [2, 3, 4, 4], args: { axis: 1 }, paired: false },
      { name: 'alone, rank 5, without scale', shape: [2, 2, 2, 2, 3], args: { scale: false }, paired: false },
      { name: 'alone, rank 3, without center', shape: [2, 4, 3], args: { center: false }, paired: false },
      { name: 'in a pair', shape: [4, 3], args: {}, paired: true },
      {
        name: 'in a pair, without scale and center',
        shape: [4, 3],
        args: { scale: false, center: false },
        paired: true,
      },
    ];
    const ROWS = SETTINGS.flatMap((setting) => (['eval', 'tune'] as const).map((mode) => ({ mode, ...setting })));

    test.each(ROWS)('$mode: $name', async ({ mode, shape, args, paired }) => {
      const model = modelOf(shape, args, paired);
      const report = setMode(model, mode);
      expect(report.pairs).toHaveLength(paired ? 1 : 0);
      const bn = model.getLayer('bn');
      const trainable = () => bn.trainableWeights.map((weight) => weight.read().dataSync().slice());
      const statistics = () => bn.nonTrainableWeights.map((weight) => weight.read().dataSync().slice());
      const data = draw(shape, bn.weights[0].shape[0] as number, false, false, 3);
      const [mean, variance] = bn.nonTrainableWeights;
      mean.write(tf.tensor1d(data.mean));
      variance.write(tf.tensor1d(data.variance));
      const was = statistics();
      expect(was).toEqual([data.mean, data.variance]);

      const x = tf.tensor(data.x, shape);
      const y = tf.tensor(data.r, shape);
      model.predict(x);
      model.apply(x);
      model.apply(x, { training: true });
      expect(statistics()).toEqual(was);
      const weights = trainable();
      model.compile({ optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError' });
      await model.trainOnBatch(x, y);
      expect(statistics()).toEqual(was);
      await model.fit(x, y, { epochs: 2, batchSize: 2, verbose: 0 });
      expect(statistics()).toEqual(was);
      await model.evaluate(x, y, { verbose: 0 });
      expect(statistics()).toEqual(was);
      // γ and β did train.
      trainable().forEach((values, i) => {
        expect(values).not.toEqual(weights[i]);
      });
      expect(trainable()).toHaveLength((args.scale === false ? 0 : 1) + (args.center === false ? 0 : 1));
      model.optimizer.dispose();
      model.dispose();
      expect(leaks()).toBe(0);
    });
  });

  describe('what tfjs-layers does by itself', () => {
    const fitOnce = async (model: tfl.LayersModel, shape: number[]) => {
      model.compile({ optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError' });
      await model.fit(tf.randomUniform(shape, -1, 1, 'float32', 1), tf.ones(shape), { epochs: 1, verbose: 0 });
    };
    afterEach(() => tf.engine().endScope());

    test.each([{ scale: false }, { center: false }])('fit fails with %j (tfjs issue 2868)', async (args) => {
      await expect(fitOnce(modelOf([4, 3], args), [4, 3])).rejects.toThrow(/undefined \(reading 'read'\)/);
    });

    test('predict fails for rank 5', () => {
      const model = modelOf([2, 2, 2, 2, 3]);
      expect(() => model.predict(tf.ones([2, 2, 2, 2, 3]))).toThrow(/not implemented for array of rank 5/);
    });

    test('fit fails with axis 1', async () => {
      await expect(fitOnce(modelOf([2, 3, 4, 4], { axis: 1 }), [2, 3, 4, 4])).rejects.toThrow();
    });

    test('the gradient of FusedBatchNorm fails without scale and offset', () => {
      const x = tf.ones([1, 2, 2, 3]) as tf.Tensor4D;
      const vector = tf.ones([3]) as tf.Tensor1D;
      const grad = tf.grad((input) => tf.sum(tf.batchNorm(input as tf.Tensor4D, vector, vector)));
      const alive = tf.memory().numTensors;
      expect(() => grad(x)).toThrow(/undefined/);
      before += tf.memory().numTensors - alive; // what was saved for the backward pass that failed
    });

    test.each(BOOLEANS)('fit overwrites the statistics, trainable: %p', async (trainable) => {
      const model = modelOf([4, 3], {}, true);
      const bn = model.getLayer('bn');
      bn.trainable = trainable;
      const statistics = () => bn.weights.slice(-2).map((weight) => weight.read().dataSync().slice());
      const was = statistics();
      await fitOnce(model, [4, 3]);
      const [mean, variance] = statistics();
      expect(mean).not.toEqual(was[0]);
      expect(variance).not.toEqual(was[1]);
    });
  });
});
