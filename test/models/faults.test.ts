/**
 * A test of the tests: faults are seeded into the walker, and what the other tests compare goes red.
 *
 * Two things are compared for every model there: the report, and Tune's numbers with Eval's. Forgetting that a conv
 * applies its own activation, or that BN runs on another axis, gives wrong numbers. Forgetting the conv's other consumer
 * gives a wrong report; the numbers stay right, since the conv's own output is never touched. A rewiring that does touch
 * it, the naive one, gives the other consumer wrong numbers.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { inspect, type SkipCode, setMode } from '../../src';
import { channelScale } from '../../src/fold';
import { useBackend } from '../helpers/backends';

let mockForgotten: SkipCode | null = null;

jest.mock('../../src/walker/check', () => {
  const actual = jest.requireActual('../../src/walker/check');
  return {
    ...actual,
    whyNot: (candidate: unknown) => {
      const refusal = actual.whyNot(candidate);
      return refusal?.code === mockForgotten ? null : refusal;
    },
  };
});

const L = tfl.layers;
const SIZE = 5;

beforeAll(() => useBackend('cpu'));
afterEach(() => {
  mockForgotten = null;
});

function randomise(model: tfl.LayersModel): void {
  for (const layer of model.layers.filter((each) => each.getClassName() === 'BatchNormalization')) {
    layer.setWeights(
      layer.getWeights().map((w, i) => (i === 3 ? tf.randomUniform(w.shape, 0.1, 4) : tf.randomNormal(w.shape))),
    );
  }
}

const input = () => tfl.input({ shape: [SIZE, SIZE, SIZE] });
type Tensors = tfl.SymbolicTensor;

// All axes have the same length, so that a fold along a wrong one runs.
const MODELS: Record<string, { model: () => tfl.LayersModel; numbersGoWrong: boolean }> = {
  'conv-activation': {
    numbersGoWrong: true,
    model: () => {
      const x = input();
      const conv = L.conv2d({ filters: SIZE, kernelSize: 3, padding: 'same', activation: 'relu' }).apply(x);
      return tfl.model({ inputs: x, outputs: L.batchNormalization().apply(conv) as Tensors });
    },
  },
  'axis-mismatch': {
    numbersGoWrong: true,
    model: () => {
      const x = input();
      const conv = L.conv2d({ filters: SIZE, kernelSize: 3, padding: 'same' }).apply(x);
      return tfl.model({ inputs: x, outputs: L.batchNormalization({ axis: 1 }).apply(conv) as Tensors });
    },
  },
  'conv-other-consumer': {
    numbersGoWrong: false,
    model: () => {
      const x = input();
      const conv = L.conv2d({ filters: SIZE, kernelSize: 3, padding: 'same' }).apply(x) as Tensors;
      const normed = L.batchNormalization().apply(conv) as Tensors;
      return tfl.model({ inputs: x, outputs: L.add().apply([conv, normed]) as Tensors });
    },
  },
  'conv-is-output': {
    numbersGoWrong: false,
    model: () => {
      const x = input();
      const conv = L.conv2d({ filters: SIZE, kernelSize: 3, padding: 'same' }).apply(x) as Tensors;
      return tfl.model({ inputs: x, outputs: [conv, L.batchNormalization().apply(conv) as Tensors] });
    },
  },
};

function difference(model: tfl.LayersModel): number {
  return tf.tidy(() => {
    const x = tf.randomNormal([2, SIZE, SIZE, SIZE]);
    const outputs = (mode: 'eval' | 'tune') => {
      setMode(model, mode);
      const y = model.predict(x);
      return Array.isArray(y) ? y : [y];
    };
    const [evaluated, tuned] = [outputs('eval'), outputs('tune')];
    return Math.max(...evaluated.map((y, i) => tf.max(tf.abs(tf.sub(y, tuned[i]))).dataSync()[0]));
  });
}

describe.each(Object.entries(MODELS))('forgetting %s', (code, { model: build, numbersGoWrong }) => {
  test('turns the comparison of the reports red', () => {
    const model = build();
    expect(inspect(model).skipped.map((skipped) => skipped.code)).toEqual([code]);
    mockForgotten = code as SkipCode;
    expect(inspect(model).pairs).toHaveLength(1);
    expect(inspect(model).skipped).toHaveLength(0);
  });

  test(numbersGoWrong ? 'turns the comparison of the numbers red' : 'leaves the numbers right, by construction', () => {
    const model = build();
    randomise(model);
    // 125 terms a sum at most, in float32, times values of about 10.
    const tolerance = 125 * 2 ** -24 * 10;
    expect(difference(model)).toBeLessThan(tolerance);
    mockForgotten = code as SkipCode;
    if (numbersGoWrong) expect(difference(model)).toBeGreaterThan(100 * tolerance);
    else expect(difference(model)).toBeLessThan(tolerance);
  });
});

test('a rewiring that changes what the conv itself returns gives its other consumer wrong numbers', () => {
  const model = MODELS['conv-other-consumer'].model();
  randomise(model);
  const conv = model.layers.find((layer) => layer.getClassName() === 'Conv2D') as tfl.layers.Layer;
  const bn = model.layers.find((layer) => layer.getClassName() === 'BatchNormalization') as tfl.layers.Layer;
  const x = tf.randomNormal([1, SIZE, SIZE, SIZE]);
  const expected = model.predict(x) as tf.Tensor;
  const [gamma, beta, mean, variance] = bn.getWeights();
  const s = channelScale({ gamma, beta, mean, variance, epsilon: (bn as unknown as { epsilon: number }).epsilon });
  const plain = conv.call.bind(conv);
  conv.call = (values, kwargs) => tf.add(tf.mul(s, tf.sub(plain(values, kwargs) as tf.Tensor, mean)), beta);
  bn.call = (values) => tf.clone(Array.isArray(values) ? values[0] : values);
  const naive = model.predict(x) as tf.Tensor;
  expect(tf.max(tf.abs(tf.sub(naive, expected))).dataSync()[0]).toBeGreaterThan(0.1);
});
