/** Which convolutions get a BatchNormalization, and why the others do not: one function per reason. */
import type { LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import {
  type Activation,
  type ConvLayer,
  classOf,
  isModel,
  type Layer,
  nodeOf,
  unwrapTimeDistributed,
} from '../../../src/internals';
import { isStock } from '../../../src/stock';
import { collectUses, type ModelUses } from '../../../src/walker/uses';

/** A convolution that gets one. */
export interface Target {
  conv: ConvLayer;
  path: string;
  /** Whether it makes an output of the whole model, whose name must stay. */
  isModelOutput: boolean;
}

export interface Unchanged {
  conv: string;
  kind: string;
  state: 'already' | 'skipped';
  reason: string;
}

export interface RestorePlan {
  uses: ModelUses;
  /** Every convolution of the model, in the order in which they are computed. */
  convs: (Target | Unchanged)[];
}

export const isTarget = (found: Target | Unchanged): found is Target => 'isModelOutput' in found;

/** Not Conv3D: on 3-d maps tfjs-layers 4.22.0 cannot run a BatchNormalization in Train mode. */
const RESTORABLE = ['Conv1D', 'Conv2D', 'Conv2DTranspose', 'DepthwiseConv2D', 'SeparableConv2D'];
const CONVOLUTIONS = [...RESTORABLE, 'Conv3D', 'Conv3DTranspose'];
const ACTIVATIONS = ['Activation', 'ReLU', 'LeakyReLU', 'PReLU', 'ELU', 'ThresholdedReLU', 'Softmax'];
/** Activations at the end of a net that turn scores into something else; all the others stand behind a hidden layer. */
const OF_SCORES = ['linear', 'sigmoid', 'hardSigmoid', 'softmax', 'logSoftmax', 'tanh', 'softplus'];
/** They have weights, but do not mix channels. */
const NORMALISATIONS = ['BatchNormalization', 'LayerNormalization'];

/** @param include Asked for each convolution that could get one. */
export function planRestore(model: LayersModel, include: (conv: string) => boolean): RestorePlan {
  const uses = collectUses(model);
  const predictors = predictorsOf(model, uses);
  const plan: RestorePlan = { uses, convs: [] };
  const seen = new Set<Layer>();
  for (const node of uses.nodes) {
    const standing = node.outboundLayer;
    const { layer } = unwrapTimeDistributed(standing);
    const kind = classOf(layer);
    if (seen.has(layer) || !CONVOLUTIONS.includes(kind)) continue;
    seen.add(layer);
    const conv = layer as ConvLayer;
    const path = uses.pathOf(standing);
    const unchanged = (state: Unchanged['state'], reason: string) => {
      plan.convs.push({ conv: path, kind, state, reason });
    };
    const following = batchNormAfter(uses, conv);
    const why = following === null ? whyNot(conv, standing, predictors) : null;
    if (following !== null) unchanged('already', `'${uses.pathOf(following)}' normalises its output`);
    else if (why !== null) unchanged('skipped', why);
    else if (!include(path)) unchanged('skipped', "the option 'include' returned false");
    else {
      const isModelOutput = uses.usesOf(conv).some((use) => model.outputs.includes(use.outputTensors[0]));
      plan.convs.push({ conv, path, isModelOutput });
    }
  }
  return plan;
}

function whyNot(conv: ConvLayer, standing: Layer, predictors: ReadonlySet<Layer>): string | null {
  if (!isStock(conv)) return `it is named ${classOf(conv)} but has a 'call' of its own`;
  if (!conv.useBias) return 'it has no bias: nothing was folded into it';
  if (predictors.has(conv)) return 'it makes predictions: no layer with weights is between it and an output';
  if (!RESTORABLE.includes(classOf(conv))) return 'tfjs-layers cannot train a BatchNormalization on 3-d maps';
  if (standing !== conv) return 'it stands inside a TimeDistributed';
  if (conv.dataFormat === 'channelsFirst') return "its data format is 'channelsFirst'";
  return null;
}

/** A BN that takes a conv's output at one of its uses, directly or behind an activation; null for none. */
function batchNormAfter(uses: ModelUses, conv: Layer): Layer | null {
  const tensors = uses.usesOf(conv).map((use) => use.outputTensors[0]);
  for (const tensor of tensors) {
    for (const { outboundLayer, outputTensors } of uses.consumersOf(tensor)) {
      const { layer } = unwrapTimeDistributed(outboundLayer);
      if (classOf(layer) === 'BatchNormalization') return outboundLayer;
      if (ACTIVATIONS.includes(classOf(layer))) tensors.push(outputTensors[0]);
    }
  }
  return null;
}

/**
 * Convolutions from which an output of the model is reached without another layer with weights and without an activation
 * such as relu: what a detector or classifier ends in. Their channels are scores, which a BN has never normalised.
 */
function predictorsOf(model: LayersModel, uses: ModelUses): Set<Layer> {
  const outside = callersOf(uses);
  const found = new Set<Layer>();
  const seen = new Set<SymbolicTensor>();
  const tensors = [...model.outputs];
  for (let tensor = tensors.pop(); tensor !== undefined; tensor = tensors.pop()) {
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    const node = nodeOf(tensor);
    const { layer } = unwrapTimeDistributed(node.outboundLayer);
    if (classOf(layer) === 'InputLayer') tensors.push(...(outside.get(tensor) ?? []));
    else if (isModel(layer)) tensors.push(layer.outputs[node.outputTensors.indexOf(tensor)]);
    else if (isHidden(layer)) continue;
    else if (CONVOLUTIONS.includes(classOf(layer))) found.add(layer);
    else if (layer.weights.length === 0 || NORMALISATIONS.includes(classOf(layer))) tensors.push(...node.inputTensors);
  }
  return found;
}

/** The tensors on which a nested model is called, by its own inputs. */
function callersOf(uses: ModelUses): Map<SymbolicTensor, SymbolicTensor[]> {
  const callers = new Map<SymbolicTensor, SymbolicTensor[]>();
  for (const node of uses.nodes) {
    const { layer } = unwrapTimeDistributed(node.outboundLayer);
    if (!isModel(layer)) continue;
    layer.inputs.forEach((input, i) => {
      callers.set(input, [...(callers.get(input) ?? []), node.inputTensors[i]]);
    });
  }
  return callers;
}

function isHidden(layer: Layer): boolean {
  const { activation } = layer as Layer & { activation?: Activation | null };
  if (activation) return !OF_SCORES.includes(activation.getClassName());
  return ACTIVATIONS.includes(classOf(layer)) && classOf(layer) !== 'Softmax';
}
