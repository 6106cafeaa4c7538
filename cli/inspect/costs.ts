/** What a model costs, counted from its structure: nothing is run. */
import type { LayersModel, Shape } from '@tensorflow/tfjs-layers';
import { planDeploy } from '../../src/deploy/plan';
import { type ConvLayer, classOf, type Layer, unwrapTimeDistributed } from '../../src/internals';
import { channelAxisOf } from '../../src/kinds';
import { type Call, callsOf, elementsOf, type InputSize, isKnown, type ModelCalls } from './calls';
import { COUNTED, multiplyAdds } from './multiply-adds';

export interface Costs {
  parameters: number;
  /** Of convolutions and Dense; a BN has one for each element. */
  multiplyAdds: number;
  /** float32 outputs of every layer, added up: what a training step has to keep at most, not a peak of inference. */
  activationBytes: number;
}

export interface LayerCosts extends Costs {
  path: string;
  kind: string;
  /** Which use of the layer it is, from 0. Its parameters are counted at the first. */
  use: number;
  outputs: Shape[];
}

export interface ModelCosts {
  layers: LayerCosts[];
  total: Costs;
  /** The sizes that were counted with, the model's own or what was taken where they are open. */
  inputs: { name: string; shape: Shape; counted: Shape }[];
  outputs: { name: string; shape: Shape; counted: Shape }[];
  /** Layers with weights whose multiplications are not counted, or whose sizes could not be worked out. */
  uncounted: { path: string; kind: string }[];
  /** Path of a layer whose inputs do not fit together at the counted sizes, so that the model cannot run on them; or null. */
  misfit: string | null;
}

export interface Savings {
  before: Costs;
  after: Costs;
  difference: Costs;
  /** Of 100; 0 where there was nothing. */
  percentage: Costs;
}

/**
 * Parameters, multiply-adds and activation bytes of each use of a layer and in total, for one picture.
 *
 * Multiply-adds are those of Conv1D/2D/3D, transposed, depthwise and separable convolutions and Dense, and one for each
 * element of a BatchNormalization's output. Every other layer (activations, pooling, RNNs, a PReLU, …) counts 0; those
 * of them that have weights are listed in `uncounted`. Shared layers count at each use, their parameters once; what is in a
 * TimeDistributed counts once for each step. Inputs are not activations. A model built for a fixed batch is counted for
 * that batch.
 *
 * @param inputSize Height and width for inputs that leave them open. Default 224 × 224, or
 *     256 × 256 where only that fits.
 */
export function modelCosts(model: LayersModel, inputSize?: InputSize): ModelCosts {
  return costsOf(callsOf(model, inputSize));
}

export function costsOf({ calls, inputs, outputs, misfit }: ModelCalls): ModelCosts {
  const layers = calls.map(callCosts);
  const uncounted = new Map<Layer, { path: string; kind: string }>();
  for (const { layer, path, outputs: made } of calls) {
    const kind = classOf(layer);
    const isOpen = !made.every(({ shape }) => isKnown(shape));
    if (isOpen || (layer.weights.length > 0 && !COUNTED.has(kind))) uncounted.set(layer, { path, kind });
  }
  return { layers, total: sum(layers), inputs, outputs, uncounted: [...uncounted.values()], misfit };
}

function callCosts(call: Call): LayerCosts {
  const { layer, path, use, steps, inputs, outputs } = call;
  const kind = classOf(layer);
  const shapes = outputs.map(({ shape }) => shape);
  const isInput = kind === 'InputLayer';
  return {
    path,
    kind,
    use,
    outputs: shapes,
    parameters: use === 0 ? layer.weights.reduce((all, { shape }) => all + elementsOf(shape), 0) : 0,
    multiplyAdds: isInput ? 0 : steps * multiplyAdds(layer, inputs[0].shape, shapes[0]),
    activationBytes: isInput ? 0 : 4 * steps * shapes.reduce((all, shape) => all + elementsOf(shape), 0),
  };
}

/**
 * What `toDeploy` would save, from its plan: nothing is built. A BN that is folded is gone, with its parameters and its
 * output; a conv that takes one in has a bias from then on.
 * @throws TuneModeError as `inspectDeploy`.
 */
export function deploySavings(model: LayersModel, inputSize?: InputSize): Savings {
  return savingsOf(model, callsOf(model, inputSize));
}

export function savingsOf(model: LayersModel, found: ModelCalls): Savings {
  const plan = planDeploy(model);
  const gone = new Set<Layer>([...plan.after.values(), ...plan.before.values()]);
  const before = costsOf(found);
  const after = found.calls.flatMap((call, i) => {
    const { layer, standing, use, outputs } = call;
    if (gone.has(layer)) return [];
    const costs = before.layers[i];
    const takesOne = plan.after.has(layer) || plan.before.has(layer);
    if (!takesOne || use > 0 || (layer as ConvLayer).bias) return [costs];
    const [{ shape }] = outputs;
    const { timeDistributed } = unwrapTimeDistributed(standing);
    const channels = shape[channelAxisOf(layer, timeDistributed, shape.length)] ?? 0;
    return [{ ...costs, parameters: costs.parameters + channels }];
  });
  return savings(before.total, sum(after));
}

const each = (combine: (key: keyof Costs) => number): Costs => ({
  parameters: combine('parameters'),
  multiplyAdds: combine('multiplyAdds'),
  activationBytes: combine('activationBytes'),
});

function sum(all: Costs[]): Costs {
  return each((key) => all.reduce((total, costs) => total + costs[key], 0));
}

function savings(before: Costs, after: Costs): Savings {
  const difference = each((key) => before[key] - after[key]);
  const percentage = each((key) => (before[key] === 0 ? 0 : (100 * difference[key]) / before[key]));
  return { before, after, difference, percentage };
}
