/** Optimizers whose state can be taken out and given to another one. Everything here is exact. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-layers'; // registers the gradients, which tfjs-core alone does not
import {
  disposeOptimizer,
  makeOptimizer,
  OPTIMIZER_NAMES,
  type OptimizerName,
  readOptimizer,
  setLearningRate,
  writeOptimizer,
} from '../../src/fine-tune/optimizer';
import { useBackend } from '../helpers/backends';
import { random } from '../helpers/random';

const CASES = (['cpu', 'wasm'] as const).flatMap((backend) => OPTIMIZER_NAMES.map((name) => [backend, name] as const));
const SIZES = [[3, 4], [4], [2, 1, 5]];

const makeVariables = () => {
  const rng = random(1);
  return SIZES.map((shape) => {
    const size = shape.reduce((a, b) => a * b);
    return tf.tidy(() => tf.variable(tf.tensor(rng.array(size), shape)));
  });
};

/** A step towards the minimum of Σ (v − target)⁴, whose gradient is another one in every step. */
function step(optimizer: tf.Optimizer, variables: tf.Variable[], index: number): void {
  const distance = (v: tf.Variable) => tf.sum(tf.square(tf.square(tf.sub(v, Math.sin(index)))));
  tf.tidy(() => {
    optimizer.minimize(() => variables.map(distance).reduce((a, b) => tf.add(a, b)) as tf.Scalar, false, variables);
  });
}

const valuesOf = (variables: tf.Variable[]) => variables.map((v) => Array.from(v.dataSync()));
const setValues = (variables: tf.Variable[], values: number[][]) =>
  tf.tidy(() => {
    for (const [i, v] of variables.entries()) v.assign(tf.tensor(values[i], SIZES[i]));
  });
const rateAt = (index: number) => 0.002 * (1 + (index % 3));

function steps(optimizer: tf.Optimizer, variables: tf.Variable[], from: number, to: number): void {
  for (let index = from; index < to; index++) {
    setLearningRate(optimizer, rateAt(index));
    step(optimizer, variables, index);
  }
}

describe.each(CASES)('%s, %s', (backend, name) => {
  beforeAll(() => useBackend(backend));

  test.each([0, 1, 3, 40])(
    'state read after %i steps and given to a new one: the next steps are bit-identical',
    async (count) => {
      const variables = makeVariables();
      const optimizer = makeOptimizer(name, 0.5);
      steps(optimizer, variables, 0, count);
      const state = await readOptimizer(optimizer);
      const middle = valuesOf(variables);
      const goOn = (with_: tf.Optimizer) => {
        setValues(variables, middle);
        steps(with_, variables, count, count + 5);
        disposeOptimizer(with_);
        return valuesOf(variables);
      };
      const expected = goOn(optimizer);
      expect(expected).not.toEqual(middle);

      const other = makeOptimizer(name, 123);
      await writeOptimizer(other, state);
      expect(other.iterations).toBe(count);
      expect(goOn(other)).toEqual(expected);
      // The state is not just ballast: without it the steps are others.
      if (count > 0) expect(goOn(makeOptimizer(name, 1))).not.toEqual(expected);
      tf.dispose(variables);
    },
  );

  test('reading changes nothing and is a copy', async () => {
    const variables = makeVariables();
    const optimizer = makeOptimizer(name, 0.1);
    steps(optimizer, variables, 0, 2);
    const first = await readOptimizer(optimizer);
    const copy = structuredClone(first);
    expect(await readOptimizer(optimizer)).toEqual(first);
    steps(optimizer, variables, 2, 4);
    expect(first).toEqual(copy);
    expect(await readOptimizer(optimizer)).not.toEqual(first);
    disposeOptimizer(optimizer);
    tf.dispose(variables);
  });

  test('no tensor is left by any of it', async () => {
    const variables = makeVariables();
    const before = tf.memory().numTensors;
    const unused = makeOptimizer(name, 0.1);
    disposeOptimizer(unused);
    expect(tf.memory().numTensors).toBe(before);
    const optimizer = makeOptimizer(name, 0.1);
    steps(optimizer, variables, 0, 2);
    const running = tf.memory().numTensors;
    for (const rate of [1, 0.1, 3]) setLearningRate(optimizer, rate);
    const state = await readOptimizer(optimizer);
    expect(tf.memory().numTensors).toBe(running);
    const other = makeOptimizer(name, 0.1);
    await writeOptimizer(other, state);
    steps(other, variables, 2, 3);
    expect(tf.memory().numTensors - running).toBe(running - before);
    disposeOptimizer(optimizer);
    disposeOptimizer(other);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose(variables);
  });
});

/** The first step of each on f = v²/2 at v = 1, where the gradient is 1; β₁ = 0.9, ρ = 0.9, no centring. */
const FIRST: [OptimizerName, number][] = [
  ['adam', 1], // m̂ / √v̂ = 1
  ['sgd', 1.9], // Nesterov: g + 0.9 g
  ['rmsprop', 1 / Math.sqrt(0.1)], // g / √((1 − ρ) g²)
];

test.each(FIRST)('%s: the rate that was set last is the one that counts', async (name, direction) => {
  await useBackend('cpu');
  for (const rate of [0.25, 0.01]) {
    const v = tf.variable(tf.scalar(1));
    const optimizer = makeOptimizer(name, 77);
    setLearningRate(optimizer, 5);
    setLearningRate(optimizer, rate);
    tf.tidy(() => {
      optimizer.minimize(() => tf.div(tf.square(v), 2), false, [v]);
    });
    // ε = 1e-7 below the root and float32 in a handful of operations: 1e-5 of the step is ample.
    expect(Math.abs(1 - v.dataSync()[0] - rate * direction)).toBeLessThan(1e-5 * rate * direction + 2 ** -22);
    disposeOptimizer(optimizer);
    v.dispose();
  }
});

describe.each([
  ['adam', (rate: number) => tf.train.adam(rate)],
  ['sgd', (rate: number) => tf.train.momentum(rate, 0.9, true)],
] as const)('%s with a kernel of its own on wasm', (name, plain) => {
  beforeAll(() => useBackend('wasm'));

  test("is tfjs's, to the bit", () => {
    const [ours, theirs] = [makeVariables(), makeVariables()];
    const [optimizer, reference] = [makeOptimizer(name, 0.5), plain(0.5)];
    const kernel = name === 'adam' ? 'TuneAdam' : 'TuneMomentum';
    const config = tf.getKernel(kernel, 'wasm')!;
    const run = jest.spyOn(config, 'kernelFunc');
    steps(optimizer, ours, 0, 12);
    steps(reference, theirs, 0, 12);
    // The first step, which makes the moments, is tfjs's own.
    expect(run).toHaveBeenCalledTimes(11 * SIZES.length);
    run.mockRestore();
    expect(valuesOf(ours)).toEqual(valuesOf(theirs));
    disposeOptimizer(optimizer);
    disposeOptimizer(reference);
    tf.dispose([...ours, ...theirs]);
  });

  test('does not write into a copy that somebody has kept of a variable', () => {
    const variables = makeVariables();
    const optimizer = makeOptimizer(name, 0.5);
    steps(optimizer, variables, 0, 2);
    const copies = variables.map((v) => v.clone());
    const before = copies.map((copy) => Array.from(copy.dataSync()));
    const { numTensors } = tf.memory();
    steps(optimizer, variables, 2, 4);
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(copies.map((copy) => Array.from(copy.dataSync()))).toEqual(before);
    expect(valuesOf(variables)).not.toEqual(before);
    disposeOptimizer(optimizer);
    tf.dispose([...variables, ...copies]);
  });
});
