/**
 * The parts of tfjs-layers 4.22.0 that its typings keep private and that a rewrite of the graph must read.
 * Everything that depends on them is typed here, so that a new tfjs version is checked in one place.
 */
import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { LayersModel, layers, SymbolicTensor } from '@tensorflow/tfjs-layers';

export type Layer = layers.Layer;
export type Kwargs = Record<string, unknown>;
/** What a layer is called with at run time: one tensor, or a list of tensors. */
export type Inputs = Tensor | Tensor[];

/** One call of a layer on symbolic tensors (`Node` in engine/topology). */
export interface GraphNode {
  outboundLayer: Layer;
  inputTensors: SymbolicTensor[];
  outputTensors: SymbolicTensor[];
  callArgs: Kwargs;
}

/** A tfjs-layers variable: the weight as the optimizer sees it. */
export interface LayerVariable {
  name: string;
  read(): Variable;
}

export interface Activation {
  getClassName(): string;
}

interface WithActivation extends Layer {
  activation: Activation | null;
}

/** Conv1D, Conv2D, Conv3D and their subclasses. */
export interface ConvLayer extends WithActivation {
  kernel: LayerVariable;
  bias: LayerVariable | null;
  kernelSize: number[];
  strides: number[];
  padding: 'valid' | 'same' | 'causal';
  dataFormat: 'channelsFirst' | 'channelsLast';
  dilationRate: number | number[];
  useBias: boolean;
}

export interface DepthwiseLayer extends ConvLayer {
  depthwiseKernel: LayerVariable;
}

export interface SeparableLayer extends DepthwiseLayer {
  pointwiseKernel: LayerVariable;
}

export interface DenseLayer extends WithActivation {
  kernel: LayerVariable;
  bias: LayerVariable | null;
  useBias: boolean;
}

export interface BatchNormLayer extends Layer {
  axis: number | number[];
  epsilon: number;
  scale: boolean;
  center: boolean;
  gamma?: LayerVariable;
  beta?: LayerVariable;
  movingMean: LayerVariable;
  movingVariance: LayerVariable;
}

export interface WrapperLayer extends Layer {
  layer: Layer;
}

/** What tfjs-layers keeps private of a layer that we build anew. */
export interface Buildable {
  setFastWeightInitDuringBuild(fast: boolean): void;
}

/** The calls of a layer, in the order in which they were made. */
export function nodesOf(layer: Layer): GraphNode[] {
  return layer.inboundNodes as unknown as GraphNode[];
}

/** The call that made a symbolic tensor. */
export function nodeOf(tensor: SymbolicTensor): GraphNode {
  return nodesOf(tensor.sourceLayer)[tensor.nodeIndex];
}

/** The class name under which Keras knows the layer: `BatchNormalization` is not exported as a class (tfjs 4.22.0). */
export function classOf(layer: Layer): string {
  return layer.getClassName();
}

/** Whether a layer is itself a model: a nested `LayersModel` or `Sequential`. */
export function isModel(layer: Layer): layer is Layer & LayersModel {
  const candidate = layer as Partial<LayersModel>;
  return Array.isArray(candidate.layers) && Array.isArray(candidate.outputs) && typeof candidate.predict === 'function';
}

/**
 * The axis that a BatchNormalization normalises, in tensors of this rank, from 0. TensorFlow 2 saves it as a list, `[3]`,
 * which tfjs-layers keeps as it is and runs by coercion.
 * @param timeDistributed Whether the layer stands inside a TimeDistributed, which hides the time axis from it.
 */
export function axisOf(bn: BatchNormLayer, rank: number, timeDistributed = false): number {
  const axis = Array.isArray(bn.axis) ? bn.axis[0] : bn.axis;
  if (axis < 0) return axis + rank;
  return timeDistributed ? axis + 1 : axis;
}

/** The layer that `TimeDistributed` repeats over time, or the layer itself. */
export function unwrapTimeDistributed(layer: Layer): { layer: Layer; timeDistributed: boolean } {
  return classOf(layer) === 'TimeDistributed'
    ? { layer: (layer as WrapperLayer).layer, timeDistributed: true }
    : { layer, timeDistributed: false };
}
