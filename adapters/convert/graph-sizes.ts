/** How large the tensors of a graph get by constants that say so: a few bytes may ask for gigabytes. */
import { TuneModeError } from '../../src/errors';
import { constantNode, type Graph, type GraphNode } from '../graph-model/graph';
import { MOST_VALUES } from './activations';
import { shown } from './failures';

type Numbers = readonly number[] | undefined;

/** How many values a node makes, or how many times as many as come in, as far as its constants tell. */
const MADE: Record<string, (operand: (index: number) => Numbers) => number | undefined> = {
  Fill: (operand) => product(operand(0)),
  BroadcastTo: (operand) => product(operand(1)),
  RandomUniform: (operand) => product(operand(0)),
  RandomUniformInt: (operand) => product(operand(0)),
  RandomStandardNormal: (operand) => product(operand(0)),
  TruncatedNormal: (operand) => product(operand(0)),
  ResizeBilinear: (operand) => product(operand(1)),
  ResizeNearestNeighbor: (operand) => product(operand(1)),
  CropAndResize: (operand) => product(operand(3)),
  Tile: (operand) => product(operand(1)),
  Pad: (operand) => padded(operand(1)),
  PadV2: (operand) => padded(operand(1)),
  MirrorPad: (operand) => padded(operand(1)),
  SpaceToBatchND: (operand) => padded(operand(2)),
  Range: (operand) => steps(operand(0), operand(1), operand(2)),
  LinSpace: (operand) => product(operand(2)),
  OneHot: (operand) => product(operand(1)),
  TensorListReserve: (operand) => product(operand(1)),
  TensorArrayV3: (operand) => product(operand(0)),
  SparseToDense: (operand) => product(operand(1)),
  ScatterNd: (operand) => product(operand(2)),
};

/** @throws TuneModeError `invalid-model-file` naming the node whose output is larger than any that is believed. */
export function checkGraphSizes(place: string, graph: Graph): void {
  for (const node of graph.nodes) {
    const made = Object.hasOwn(MADE, node.op) ? MADE[node.op]((index) => valuesOf(graph, node, index)) : undefined;
    const size = Math.max(made ?? 1, padded(explicitPads(node)) ?? 1);
    if (size <= MOST_VALUES) continue;
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}': the node '${shown(node.name)}' (${node.op}) asks for ${size} values or more, far more than a net has. ` +
        'The file is damaged.',
    );
  }
}

function valuesOf(graph: Graph, node: GraphNode, index: number): Numbers {
  const constant = graph.constants.get(constantNode(graph, node.inputs[index])?.name ?? '');
  return constant === undefined || constant.dtype === 'string'
    ? undefined
    : Array.from(constant.values as unknown as number[]);
}

function explicitPads({ attributes }: GraphNode): Numbers {
  const list = (attributes.explicit_paddings as { list?: { i?: unknown[] } } | undefined)?.list?.i;
  return Array.isArray(list) ? list.map(Number) : undefined;
}

function product(sizes: Numbers): number | undefined {
  return sizes?.reduce((all, size) => all * Math.max(size, 1), 1);
}

/** Pairs of margins, each axis of which is at least 1 long. */
function padded(pads: Numbers): number | undefined {
  return pads?.reduce((all, pad, index) => (index % 2 === 0 ? all * (1 + pad + (pads[index + 1] ?? 0)) : all), 1);
}

function steps(start: Numbers, end: Numbers, step: Numbers): number | undefined {
  if (!start?.length || !end?.length || !step?.length) return undefined;
  return Math.abs((end[0] - start[0]) / (step[0] || 1));
}
