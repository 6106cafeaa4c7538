/** All gradients of a whole model, as numbers, and how often kernels run in a step of training. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { randomTensor, rounding, seeded, toList, weightedLayers } from '../helpers/models';

/** With respect to the inputs, to the weights that train, or to both in one pass. */
export type Wanted = 'all' | 'x' | 'weights';

const variablesOf = (model: tfl.LayersModel) =>
  weightedLayers(model).flatMap((layer) => layer.trainableWeights.map((weight) => weight.read() as tf.Variable));

/** Σ y · r over all outputs of a training pass, r random and the same in every call. */
function lossOf(model: tfl.LayersModel, x: tf.Tensor[]): tf.Scalar {
  const random = seeded(77);
  const outputs = toList(model.apply(x.length === 1 ? x[0] : x, { training: true }) as tf.Tensor | tf.Tensor[]);
  return tf.addN(outputs.map((y) => tf.sum(tf.mul(y, randomTensor(y.shape, random))))) as tf.Scalar;
}

/** Gradients in the order of x, then of the weights. A weight that the outputs do not depend on has none. */
export function gradients(model: tfl.LayersModel, x: tf.Tensor[], wanted: Wanted = 'all'): number[][] {
  const variables = variablesOf(model);
  tf.engine().startScope();
  try {
    const numbers = (tensors: tf.Tensor[]) => tensors.map((tensor) => Array.from(tensor.dataSync()));
    if (wanted === 'weights') {
      const { grads } = tf.variableGrads(() => lossOf(model, x), variables);
      return numbers(variables.map(({ name }) => grads[name]));
    }
    const inputs = wanted === 'x' ? x : [...x, ...variables];
    return numbers(tf.grads((...given) => lossOf(model, given.slice(0, x.length)))(inputs));
  } finally {
    tf.engine().endScope();
  }
}

/**
 * How far apart the gradients of two modes may be, relative to the largest entry: an error of the forward pass comes
 * through the backward pass, which adds its own of the same size (`rounding`), and a kernel's gradient is a sum over all
 * positions besides. Terms of gradients cancel more than those of outputs do: they are taken for at most ten times as
 * large as their sum. A wrong padding, or a map that is not the right one, is off by 1e-2 or more.
 * @param positions The largest map's pixels, over the whole batch.
 */
export const gradientRounding = (model: tfl.LayersModel, positions: number): number =>
  10 * (2 * rounding(model) + positions * 2 ** -24);

/** How often each kernel of a list runs while `run` does. Kernels that other kernels call beneath the engine do not count. */
export async function countsOf(names: readonly string[], run: () => unknown): Promise<Record<string, number>> {
  const { kernels, result } = await tf.profile(async () => {
    await run();
    return tf.scalar(0);
  });
  (result as tf.Tensor).dispose();
  return Object.fromEntries(names.map((name) => [name, kernels.filter((kernel) => kernel.name === name).length]));
}
