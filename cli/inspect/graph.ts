/** What is drawn of a model: boxes and the edges between them. A conv with its BN and activation is one box. */
import type { Shape } from '@tensorflow/tfjs-layers';
import { blockActivation } from '../../src/activations';
import {
  type ConvLayer,
  classOf,
  type DenseLayer,
  type DepthwiseLayer,
  type Layer,
  unwrapTimeDistributed,
} from '../../src/internals';
import { kindOf } from '../../src/kinds';
import type { Analysis } from '../../src/walker/find';
import type { Call, Group, ModelCalls } from './calls';
import { type Stated, type States, statesOf } from './states';

export interface Box extends Stated {
  /** The calls that it stands for, in the order in which they run. */
  calls: Call[];
  /** Of the conv, or of the only layer. */
  name: string;
  /** What it computes, such as `Conv 3×3 /2 · BN · ReLU`; a stride of 1 is left out. */
  what: string;
  shape: Shape;
  group: Group | null;
  isInput: boolean;
  isOutput: boolean;
}

export interface Edge {
  from: number;
  to: number;
}

export interface Graph {
  /** Inputs before what takes them. */
  boxes: Box[];
  edges: Edge[];
}

export function graphOf(found: ModelCalls, analysis: Analysis, states?: States): Graph {
  const { calls, ends } = found;
  const stateOf = statesOf(analysis, states);
  const parts = partsOf(found, analysis);
  const boxes: Box[] = [];
  const indices = new Map<Call, number>();
  for (const call of calls) {
    if (indices.has(call)) continue;
    const members = parts.get(call) ?? [call];
    const last = members[members.length - 1];
    for (const member of members) indices.set(member, boxes.length);
    const { state, reason } = stateOf(call.layer, call.path);
    boxes.push({
      calls: members,
      name: call.standing.name,
      what: members.map((member, i) => nameOf(member, i > 0)).join(' · '),
      state,
      reason,
      shape: last.outputs[0].shape,
      group: call.group,
      isInput: classOf(call.layer) === 'InputLayer',
      isOutput: members.some((member) => ends.has(member)),
    });
  }
  return { boxes, edges: edgesOf(calls, indices) };
}

/**
 * What is drawn as one box, by the conv's call: conv, BN and activation of each block, where they stand together; and a conv
 * without a BN with the activation that alone takes its output.
 */
function partsOf({ calls, ends }: ModelCalls, { pairs }: Analysis): Map<Call, Call[]> {
  const blocks = new Map<Layer, Layer | null>(pairs.map(({ bn, block }) => [bn, block.activation]));
  const consumers = new Map<Call, Call[]>();
  for (const call of calls) {
    for (const input of call.inputs) consumers.set(input.call, [...(consumers.get(input.call) ?? []), call]);
  }
  const parts = new Map<Call, Call[]>();
  for (const call of calls) {
    const next = consumers.get(call) ?? [];
    const activation = blocks.get(call.layer);
    if (activation !== undefined) {
      const taken = next.filter(({ standing }) => standing === activation);
      const conv = call.inputs[0].call;
      parts.set(conv, [conv, call, ...taken.slice(0, 1)]);
    } else if (kindOf(call.layer) !== undefined && next.length === 1 && !ends.has(call)) {
      const isTaken = blockActivation(next[0].layer) !== null && next[0].group === call.group;
      if (isTaken) parts.set(call, [call, next[0]]);
    }
  }
  return parts;
}

function edgesOf(calls: Call[], indices: Map<Call, number>): Edge[] {
  const seen = new Set<string>();
  const edges: Edge[] = [];
  for (const call of calls) {
    const to = indices.get(call) as number;
    for (const input of call.inputs) {
      const from = indices.get(input.call) as number;
      const key = `${from} ${to}`;
      if (from === to || seen.has(key)) continue;
      seen.add(key);
      edges.push({ from, to });
    }
  }
  return edges;
}

const SHORT: Record<string, string> = {
  BatchNormalization: 'BN',
  Conv1D: 'Conv',
  Conv2D: 'Conv',
  Conv3D: 'Conv',
  DepthwiseConv2D: 'DW',
  SeparableConv2D: 'SepConv',
  Conv2DTranspose: 'ConvT',
  Conv3DTranspose: 'ConvT',
  GlobalAveragePooling2D: 'GlobalAvgPool',
  GlobalMaxPooling2D: 'GlobalMaxPool',
  AveragePooling2D: 'AvgPool',
  MaxPooling2D: 'MaxPool',
  InputLayer: 'Input',
  ZeroPadding2D: 'ZeroPad',
  Concatenate: 'Concat',
};

function nameOf({ layer, standing }: Call, isShort: boolean): string {
  const kind = classOf(layer);
  const { operation, maxValue } = layer as Layer & { operation?: unknown; maxValue?: unknown };
  const activation = activationOf(layer);
  if (kind === 'Activation') return activation ?? 'linear';
  if (kind === 'ReLU' && typeof maxValue === 'number') return `ReLU${maxValue}`;
  if (kind === 'GraphOperation' && typeof operation === 'string') return operation;
  const { timeDistributed } = unwrapTimeDistributed(standing);
  const name = `${SHORT[kind] ?? kind}${isShort ? '' : geometryOf(layer)}`;
  return `${timeDistributed ? 'each step: ' : ''}${name}${activation === null ? '' : ` · ${activation}`}`;
}

function activationOf(layer: Layer): string | null {
  const name = (layer as DenseLayer).activation?.getClassName?.() ?? 'linear';
  return name === 'linear' ? null : name;
}

function geometryOf(layer: Layer): string {
  const { kernelSize, strides } = layer as ConvLayer | DepthwiseLayer;
  if (!Array.isArray(kernelSize) || !Array.isArray(strides)) return '';
  const stride = strides.every((each) => each === strides[0]) ? String(strides[0]) : strides.join('×');
  return ` ${kernelSize.join('×')}${stride === '1' ? '' : ` /${stride}`}`;
}
