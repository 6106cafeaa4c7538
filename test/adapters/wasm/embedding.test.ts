/**
 * Models with an Embedding train on wasm: its gradient is UnsortedSegmentSum, which the backend lacks (4.22.0).
 *
 * Tolerance for one step, relative to the largest entry of a gradient: n ≤ 3·10 products per output of the conv and
 * 8·10 = 80 rows per sum over the batch; rounding in float32 has u = 6e−8 and its errors grow like √n·u ≈ 5e−7 through
 * each of five kernels (Gather, conv, pooling, Dense, and backwards). 1e−5 leaves a factor of four; a row that is missing
 * or counted twice gives 1e−2 or more. After `fit`, losses agree to 1e−4: sixty steps amplify what one step rounds.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { getMode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../../helpers/backends';
import { countsOf } from '../../models/gradients';

const WORDS = 12;
const LENGTH = 10;
const BATCH = 8;

const wave = (shape: number[], scale: number, phase: number) =>
  tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, (_, i) => scale * Math.sin(i * 2.3 + phase)),
    shape,
  );

/** The same weights every time; the BN's statistics are far from mean 0 and variance 1. */
function build(): tfl.Sequential {
  const model = tfl.sequential({
    layers: [
      tfl.layers.embedding({ inputDim: WORDS, outputDim: 5, inputLength: LENGTH }),
      tfl.layers.conv1d({ filters: 6, kernelSize: 3 }),
      tfl.layers.batchNormalization(),
      tfl.layers.activation({ activation: 'relu' }),
      tfl.layers.globalAveragePooling1d(),
      tfl.layers.dense({ units: 2 }),
    ],
  });
  tf.tidy(() =>
    model.setWeights(
      model.weights.map(({ name, shape }, k) =>
        name.includes('variance') ? tf.add(wave(shape as number[], 1, k), 2) : wave(shape as number[], 0.5, k),
      ),
    ),
  );
  setMode(model, 'tune');
  expect(getMode(model)).toBe('tune');
  return model;
}

/** Sentences of words 0 to 4 and of words 6 to 10 in turn, most of them more than once; 5 and 11 are in none. */
const sentences = () =>
  tf.tensor2d(
    Array.from({ length: BATCH * LENGTH }, (_, i) => ((i * 7 + Math.floor(i / 9)) % 5) + (isHigh(i / LENGTH) ? 6 : 0)),
    [BATCH, LENGTH],
  );
const isHigh = (sentence: number) => Math.floor(sentence) % 2 === 1;
const targets = () =>
  tf.tensor2d(
    Array.from({ length: BATCH * 2 }, (_, i) => (isHigh(i / 2) ? 1 : -1)),
    [BATCH, 2],
  );

/** A model lives on the backend that is set while it is built. */
async function on<T>(backend: 'cpu' | 'wasm', use: (model: tfl.Sequential) => T | Promise<T>): Promise<T> {
  await useBackend(backend);
  const before = tf.memory().numTensors;
  const model = build();
  const result = await use(model);
  model.dispose();
  expect(tf.memory().numTensors).toBe(before);
  return result;
}

type Gradients = Record<string, number[]>;

function gradients(model: tfl.Sequential): Gradients {
  return tf.tidy(() => {
    const weights = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
    const loss = () => tf.losses.meanSquaredError(targets(), model.apply(sentences()) as tf.Tensor) as tf.Scalar;
    const { grads } = tf.variableGrads(loss, weights);
    return Object.fromEntries(
      weights.map((weight, k) => [`${k} [${weight.shape}]`, Array.from(grads[weight.name].dataSync())]),
    );
  }) as Gradients;
}

test('the gradients of all weights are those of the cpu backend', async () => {
  const expected = await on('cpu', gradients);
  const found = await on('wasm', async (model) => {
    let all: Gradients = {};
    const counts = await countsOf(['FusedBatchNorm', 'UnsortedSegmentSum'], () => {
      all = gradients(model);
    });
    // In Tune, and by the kernel that this is about.
    expect(counts).toEqual({ FusedBatchNorm: 0, UnsortedSegmentSum: 1 });
    return all;
  });
  expect(Object.keys(found)).toEqual(Object.keys(expected));
  // Embedding, kernel and bias, γ and β, kernel and bias.
  expect(Object.keys(expected)).toHaveLength(7);
  for (const [name, gradient] of Object.entries(expected)) {
    const largest = Math.max(...gradient.map(Math.abs));
    expect(largest).toBeGreaterThan(0);
    const error = Math.max(...gradient.map((v, i) => Math.abs(v - found[name][i])));
    expect({ name, close: error <= 1e-5 * largest }).toEqual({ name, close: true });
  }
});

test('words that are in no sentence have no gradient', async () => {
  const [embedding] = Object.values(await on('wasm', gradients));
  expect(embedding.slice(-5)).toEqual([0, 0, 0, 0, 0]);
  expect(embedding.slice(0, 5).every((v) => v !== 0)).toBe(true);
});

test('fit lowers the loss as on cpu', async () => {
  const fit = async (model: tfl.Sequential) => {
    const optimizer = tf.train.sgd(0.3);
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const [x, y] = [sentences(), targets()];
    const { history } = await model.fit(x, y, { epochs: 30, batchSize: 4, shuffle: false, verbose: 0 });
    tf.dispose([x, y]);
    optimizer.dispose();
    return history.loss as number[];
  };
  const expected = await on('cpu', fit);
  const found = await on('wasm', fit);
  expect(found.at(-1)!).toBeLessThan(0.5 * found[0]);
  for (const [epoch, loss] of expected.entries()) expect(Math.abs(found[epoch] - loss)).toBeLessThan(1e-4 * loss);
});
