/** What a model with a padding gives in a mode, how far that may be from Eval's, and how many padded copies it makes. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { applied, inputsFor, largestDifference, predictions, rounding } from '../helpers/models';
import { countsOf, gradientRounding, gradients, type Wanted } from './gradients';
import { BATCH, POSITIONS } from './padding-models';

/** A kind of transposed copy counts as none: `Transpose` is another kernel. */
export const copiesIn = async (run: () => unknown) => (await countsOf(['PadV2'], run)).PadV2;

export function inputOf(net: tfl.LayersModel): tf.Tensor[] {
  const { shape } = net.inputs[0];
  return shape[1] === null ? [tf.randomUniform([BATCH, 7, 6, 3], -1, 1, 'float32', 5)] : inputsFor(net, 2, BATCH);
}

export function numbersOf(net: tfl.LayersModel, x: tf.Tensor[], wanted: readonly Wanted[] = ['all', 'weights', 'x']) {
  const alive = tf.memory().numTensors;
  const outputs = [predictions(net, x), applied(net, x, false), applied(net, x, true)];
  const grads = wanted.map((which) => gradients(net, x, which));
  return { outputs, grads, leaked: tf.memory().numTensors - alive };
}

export function expectClose(
  found: ReturnType<typeof numbersOf>,
  expected: ReturnType<typeof numbersOf>,
  net: tfl.LayersModel,
): void {
  expect(found.leaked).toBe(0);
  found.outputs.forEach((numbers, i) => {
    expect(largestDifference(numbers, expected.outputs[i])).toBeLessThan(rounding(net));
  });
  expected.grads.forEach((numbers, i) => {
    expect(largestDifference(found.grads[i], numbers)).toBeLessThan(gradientRounding(net, POSITIONS));
    expect(Math.max(...numbers.flat().map(Math.abs))).toBeGreaterThan(1e-3);
  });
}
