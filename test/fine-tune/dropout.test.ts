/** Dropout whose mask depends on seed, layer and step alone. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { seedDropout } from '../../src/fine-tune/dropout';
import { useBackend } from '../helpers/backends';
import { changes, snapshot } from '../helpers/models';
import { chain, type Layer } from './toy';

const L = tfl.layers;
const SIZE = 400;

function build(rates: number[], args: object = {}): tfl.LayersModel {
  const inputs = tfl.input({ shape: [SIZE] });
  const layers = rates.map((rate, i) => L.dropout({ rate, name: `d${i}`, ...args }));
  return tfl.model({ inputs, outputs: layers.map((layer) => chain(inputs, layer)) });
}

function outputs(model: tfl.LayersModel, training = true): number[][] {
  return tf.tidy(() => {
    const found = model.apply(tf.ones([2, SIZE]), { training }) as tf.Tensor | tf.Tensor[];
    return (Array.isArray(found) ? found : [found]).map((y) => Array.from(y.dataSync()));
  });
}

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test('the same step gives the same mask; another step, layer or seed another one', () => {
    const model = build([0.5, 0.5]);
    const state = seedDropout(model, 7);
    const at = (step: number) => {
      state.step = step;
      return outputs(model);
    };
    const [first, second] = [at(0), at(1)];
    expect(at(0)).toEqual(first);
    expect(at(1)).toEqual(second);
    expect(outputs(model)).toEqual(second);
    const masks = [...first, ...second, ...at(1000)];
    state.undo();
    masks.push(...outputs(Object.assign(model, { s: seedDropout(model, 8) })));
    expect(new Set(masks.map(String)).size).toBe(masks.length);
  });

  test('another model of the same kind gets the same masks: a resumed run', () => {
    const masks = [3, 3, 4].map((seed) => {
      const model = build([0.3, 0.5]);
      seedDropout(model, seed).step = 17;
      return outputs(model);
    });
    expect(masks[1]).toEqual(masks[0]);
    expect(masks[2]).not.toEqual(masks[0]);
  });

  test.each([0.1, 0.5, 0.9])('rate %f: that share is 0, and the rest is scaled so that the mean stays', (rate) => {
    const model = build([rate]);
    const state = seedDropout(model, 1);
    const values = Array.from({ length: 10 }, (_, step) => {
      state.step = step;
      return outputs(model)[0];
    }).flat();
    const zero = values.filter((value) => value === 0).length / values.length;
    // Five standard deviations of a share of 8000.
    expect(Math.abs(zero - rate)).toBeLessThan(5 * Math.sqrt((rate * (1 - rate)) / values.length));
    // One quotient and one product in float32.
    for (const value of values) if (value !== 0) expect(Math.abs(value * (1 - rate) - 1)).toBeLessThan(2 ** -21);
  });

  test('inference is the identity, bit for bit, and so is a rate of 0 in training', () => {
    const model = build([0.5, 0]);
    seedDropout(model, 7);
    const ones = new Array(2 * SIZE).fill(1);
    expect(outputs(model, false)).toEqual([ones, ones]);
    expect(outputs(model, true)[1]).toEqual(ones);
    expect(outputs(model, true)[0]).not.toEqual(ones);
  });

  test('no tensor is left, and inputs are not disposed', () => {
    const model = build([0.5, 0]);
    const state = seedDropout(model, 7);
    const x = tf.ones([2, SIZE]);
    const before = tf.memory().numTensors;
    for (const training of [true, false]) tf.dispose(model.apply(x, { training }) as tf.Tensor[]);
    state.undo();
    expect(tf.memory().numTensors).toBe(before);
    expect(x.isDisposed).toBe(false);
    x.dispose();
  });
});

describe('undo', () => {
  beforeAll(() => useBackend('cpu'));

  test('leaves the model as it was, also twice, and masks are random again', () => {
    const model = build([0.5, 0.2]);
    const before = snapshot(model);
    const state = seedDropout(model, 7);
    expect(changes(before, snapshot(model))).not.toEqual([]);
    state.undo();
    state.undo();
    expect(changes(before, snapshot(model))).toEqual([]);
    expect(outputs(model)).not.toEqual(outputs(model));
  });

  test('gives back a call that somebody else had put there', () => {
    const model = build([0.5]);
    const [, layer] = model.layers;
    const own = (x: tf.Tensor | tf.Tensor[]) => (Array.isArray(x) ? x[0] : x).clone();
    layer.call = own;
    const state = seedDropout(model, 7);
    expect(layer.call).not.toBe(own);
    state.undo();
    expect(layer.call).toBe(own);
  });
});

describe('what is seeded', () => {
  beforeAll(() => useBackend('cpu'));
  const isSeeded = (model: tfl.LayersModel) => {
    seedDropout(model, 7).step = 3;
    const [first, second] = [outputs(model), outputs(model)].map(String);
    return first === second;
  };
  const sequence = (layer: Layer) => {
    const inputs = tfl.input({ shape: [SIZE] });
    const steps = L.reshape({ targetShape: [4, SIZE / 4] });
    return tfl.model({ inputs, outputs: chain(inputs, steps, layer) });
  };

  test.each<[string, () => tfl.LayersModel]>([
    [
      'a Dropout inside a nested model',
      () => {
        const inputs = tfl.input({ shape: [SIZE] });
        return tfl.model({ inputs, outputs: chain(inputs, build([0.5]) as unknown as Layer) });
      },
    ],
    ['a Dropout inside TimeDistributed', () => sequence(L.timeDistributed({ layer: L.dropout({ rate: 0.5 }) }))],
  ])('%s', (_name, build) => {
    expect(isSeeded(build())).toBe(true);
  });

  test('not a mask of another shape: that is left to the class', () => {
    expect(isSeeded(sequence(L.dropout({ rate: 0.5, noiseShape: [2, 4, 1] })))).toBe(false);
  });

  test('a layer with a seed of its own gets another mask in every step, which tfjs-layers does not do', () => {
    const model = build([0.5], { seed: 3 });
    const plain = outputs(model);
    expect(outputs(model)).toEqual(plain);
    const state = seedDropout(model, 7);
    const first = outputs(model);
    state.step = 1;
    expect(outputs(model)).not.toEqual(first);
  });
});
