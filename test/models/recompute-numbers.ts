/** What a model with recomputed maps gives in a mode, how far that may be from Eval's, and how often its convolutions run. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { applied, largestDifference, predictions, rounding } from '../helpers/models';
import { countsOf, gradientRounding, gradients } from './gradients';
import { POSITIONS } from './recompute-models';

const FORWARD = ['FusedConv2D', 'FusedDepthwiseConv2D'] as const;
export const forwardCounts = async (run: () => unknown) => Object.values(await countsOf(FORWARD, run));

/** Every number that a model gives in a mode, and how many tensors that leaves alive. */
export function numbersOf(net: tfl.LayersModel, x: tf.Tensor[]) {
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

export function expectAsEval(
  found: ReturnType<typeof numbersOf>,
  ofEval: ReturnType<typeof numbersOf>,
  net: tfl.LayersModel,
) {
  expect(found.leaked).toBe(0);
  for (const name of ['predicted', 'applied', 'trained'] as const)
    expect(largestDifference(found[name], ofEval[name])).toBeLessThan(rounding(net));
  for (const name of ['all', 'weights', 'x'] as const)
    expect(largestDifference(found[name], ofEval[name])).toBeLessThan(gradientRounding(net, POSITIONS));
  expect(Math.max(...ofEval.all.flat().map(Math.abs))).toBeGreaterThan(1e-2);
}
