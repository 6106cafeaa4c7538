/** A GraphModel and what was lifted of it: outputs and gradients of both, as numbers. */
import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { type LiftedModel, type LiftOptions, liftGraphModel } from '../../../adapters/graph-model';
import { largestDifference, toList, weightedLayers } from '../../helpers/models';
import { random } from '../../helpers/random';
import { handlerOf } from './graphs';

export interface Both {
  graph: GraphModel;
  lifted: LiftedModel;
  dispose(): void;
}

export async function both(artifacts: tf.io.ModelArtifacts, options?: LiftOptions): Promise<Both> {
  const graph = await loadGraphModel(handlerOf(artifacts));
  try {
    const lifted = await liftGraphModel(graph, options);
    const dispose = () => {
      lifted.model.dispose();
      graph.dispose();
    };
    return { graph, lifted, dispose };
  } catch (error) {
    graph.dispose();
    throw error;
  }
}

/** Random values for the inputs of the lifted model; `sizes` for what its shapes leave open, the batch first. */
export function inputsOf({ model }: LiftedModel, seed = 3, batch = 2, open = 7): tf.Tensor[] {
  const { array } = random(seed);
  return model.inputs.map(({ shape }) => {
    const sizes = shape.map((size, axis) => size ?? (axis === 0 ? batch : open));
    return tf.tensor(array(sizes.reduce((product, size) => product * size, 1)), sizes);
  });
}

export function graphOutputs({ graph, lifted }: Both, x: tf.Tensor[]): tf.Tensor[] {
  return toList(graph.execute(named(lifted, x), lifted.outputs));
}

const named = ({ inputs }: LiftedModel, x: tf.Tensor[]) => Object.fromEntries(inputs.map((name, i) => [name, x[i]]));

export function liftedOutputs({ lifted }: Both, x: tf.Tensor[], training = false): tf.Tensor[] {
  return toList(lifted.model.apply(x.length === 1 ? x[0] : x, { training }) as tf.Tensor | tf.Tensor[]);
}

export function numbersOf(run: () => tf.Tensor[]): number[][] {
  return tf.tidy(() => run().map((tensor) => Array.from(tensor.dataSync())));
}

/** A constant that trains, as the weight of a layer that it has become. */
interface Trained {
  constant: string;
  variable: tf.Variable;
  /** From the gradient of the weight to that of the constant. */
  back(gradient: tf.Tensor): tf.Tensor;
}

export function trainedConstants({ model, products, parameters }: LiftedModel): Trained[] {
  const found: Trained[] = [];
  const put = (constant: string | undefined, layer: string, ending: string, back: Trained['back'] = (t) => t) => {
    if (constant === undefined) return;
    const weight = model.getLayer(layer).trainableWeights.find(({ originalName }) => originalName.endsWith(ending));
    if (weight === undefined) throw new Error(`'${layer}' has no weight '${ending}' that trains`);
    found.push({ constant, variable: weight.read() as tf.Variable, back });
  };
  const putNorm = (layer: string, constants: LiftedModel['parameters'][number]['constants']) => {
    put(constants.scale ?? constants.gamma, layer, 'gamma');
    put(constants.offset ?? constants.beta, layer, 'beta', (t) => (constants.offsetNegated ? tf.neg(t) : t));
  };
  for (const { layer, batchNorm, constants } of products) {
    put(constants.kernel, layer, 'kernel', (t) => (constants.kernelTransposed ? tf.transpose(t) : t));
    put(constants.bias, layer, 'bias');
    if (batchNorm !== null) putNorm(batchNorm, constants);
  }
  for (const { layer, constants } of parameters) {
    put(constants.alpha, layer, 'alpha');
    putNorm(layer, constants);
  }
  return found;
}

/** Σ y · r over all outputs, r random and the same in every call. */
function lossOf(outputs: tf.Tensor[]): tf.Scalar {
  const { array } = random(77);
  return tf.addN(outputs.map((y) => tf.sum(tf.mul(y, tf.tensor(array(y.size), y.shape))))) as tf.Scalar;
}

export type Gradients = { x: number[][]; constants: Record<string, number[]> };

/** In Tune mode, by the tape, with respect to all inputs and all weights that train. */
export function liftedGradients(pair: Both, x: tf.Tensor[]): Gradients {
  return tf.tidy(() => {
    const trained = trainedConstants(pair.lifted);
    const loss = (...given: tf.Tensor[]) => lossOf(liftedOutputs(pair, given.slice(0, x.length), true));
    const all = tf.grads(loss)([...x, ...trained.map(({ variable }) => variable)]);
    const sums: Record<string, tf.Tensor> = {};
    trained.forEach(({ constant, back }, i) => {
      const gradient = tf.reshape(back(all[x.length + i]), [-1]);
      sums[constant] = sums[constant] === undefined ? gradient : tf.add(sums[constant], gradient);
    });
    return {
      x: all.slice(0, x.length).map((tensor) => Array.from(tensor.dataSync())),
      constants: Object.fromEntries(Object.entries(sums).map(([name, t]) => [name, Array.from(t.dataSync())])),
    };
  });
}

/** Of a GraphModel, what tfjs-converter 4.22.0 keeps private: the constants by name. */
type Executor = { weightMap: Record<string, tf.Tensor[]> };

/** Runs a function with other values for some constants of a graph. */
function withConstants<T>(graph: GraphModel, values: Record<string, tf.Tensor>, run: () => T): T {
  const { executor } = graph as unknown as { executor: Executor };
  const own = executor.weightMap;
  const replaced = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [value]]));
  executor.weightMap = { ...own, ...replaced };
  try {
    return run();
  } finally {
    executor.weightMap = own;
  }
}

function constantsOf({ graph, lifted }: Both): [string, tf.Tensor][] {
  const { weightMap } = (graph as unknown as { executor: Executor }).executor;
  return [...new Set(trainedConstants(lifted).map(({ constant }) => constant))].map((name) => [
    name,
    weightMap[name][0],
  ]);
}

/** The same by tfjs's own gradients of the GraphModel's ops: none of our layers takes part. */
export function graphGradients(pair: Both, x: tf.Tensor[]): Gradients {
  return tf.tidy(() => {
    const constants = constantsOf(pair);
    const loss = (...given: tf.Tensor[]) =>
      withConstants(pair.graph, Object.fromEntries(constants.map(([name], i) => [name, given[x.length + i]])), () =>
        lossOf(graphOutputs(pair, given.slice(0, x.length))),
      );
    const all = tf.grads(loss)([...x, ...constants.map(([, value]) => value)]);
    const numbers = all.map((tensor) => Array.from(tensor.dataSync()));
    return {
      x: numbers.slice(0, x.length),
      constants: Object.fromEntries(constants.map(([name], i) => [name, numbers[x.length + i]])),
    };
  });
}

/**
 * The same without any gradient of tfjs, for graphs that are linear in their input and in each of their constants: what
 * the loss gains when one number grows by 1.
 */
export function unitGradients(pair: Both, x: tf.Tensor[]): Gradients {
  const constants = constantsOf(pair);
  const masks = random(77);
  const given = [...x, ...constants.map(([, value]) => value)];
  const outputs = (args: tf.Tensor[]) =>
    numbersOf(() =>
      withConstants(pair.graph, Object.fromEntries(constants.map(([name], i) => [name, args[x.length + i]])), () =>
        graphOutputs(pair, args.slice(0, x.length)),
      ),
    );
  const before = outputs(given);
  const mask = before.map((y) => masks.array(y.length));
  const gradients = given.map((tensor, at) => {
    const values = tensor.dataSync();
    return Array.from(values, (_, i) => {
      const moved = tf.tensor(
        values.map((value, j) => (i === j ? value + 1 : value)),
        tensor.shape,
      );
      const after = outputs(given.map((each, j) => (j === at ? moved : each)));
      moved.dispose();
      let gain = 0;
      after.forEach((y, o) => {
        y.forEach((value, k) => {
          gain += (value - before[o][k]) * mask[o][k];
        });
      });
      return gain;
    });
  });
  return {
    x: gradients.slice(0, x.length),
    constants: Object.fromEntries(constants.map(([name], i) => [name, gradients[x.length + i]])),
  };
}

export async function disposing<T>(pair: Both, run: (pair: Both) => T | Promise<T>): Promise<T> {
  try {
    return await run(pair);
  } finally {
    pair.dispose();
  }
}

/** How far each of some tensors is from another, relative to the largest value of the second. */
export function largestDifferences(found: readonly tf.Tensor[], expected: readonly tf.Tensor[]): number[] {
  expect(found.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
  return found.map((tensor, i) =>
    largestDifference([Array.from(tensor.dataSync())], [Array.from(expected[i].dataSync())]),
  );
}

/**
 * How far apart two float32 evaluations of a deep net may be, relative to its largest output. `rounding` of the models'
 * helpers is the worst case, and so wide for dozens of layers that a wrong weight could hide in it. Roundings are as good
 * as independent: a sum of n terms is off by √n · 2⁻²⁴ of their size, each layer adds its share, and both nets have it.
 */
export function typicalRounding(model: tfl.LayersModel): number {
  const terms = weightedLayers(model).map(({ weights }) => {
    const kernel = weights.find(({ shape }) => shape.length > 1)?.shape as number[] | undefined;
    return kernel ? kernel.slice(0, -1).reduce((product, size) => product * size, 1) : 1;
  });
  return 2 * terms.reduce((sum, n) => sum + Math.sqrt(n), 0) * 2 ** -24;
}
