/** What the lift must know of a graph op: a row of the table in `index.ts`. */

import { text } from '../attributes';
import type { Edge, GraphNode } from '../graph';
import { type Lifting, Unliftable } from '../lifting';

export interface Op {
  /** Makes the layers, and gives the node its tensors. @throws Unliftable with the reason. */
  lift(node: GraphNode, lifting: Lifting): void;
  /** The inputs through which pictures flow; absent: all. */
  data?(node: GraphNode): Edge[];
  /** Whether it has a kernel: what training is about. */
  product?: boolean;
}

export const firstInput = (node: GraphNode): Edge[] => node.inputs.slice(0, 1);

export function requireChannelsLast(node: GraphNode): void {
  const format = text(node, 'data_format', 'NHWC');
  if (format !== 'NHWC') throw new Unliftable(`its data format is ${format}, and only NHWC is lifted`);
}

export function requireRank(shape: readonly unknown[], rank: number): void {
  if (shape.length !== rank)
    throw new Unliftable(`it takes a tensor of rank ${shape.length}, and only ${rank} is lifted`);
}

/** Sizes of windows and their steps. */
export function requireSizes(what: string, sizes: readonly number[]): void {
  if (sizes.length !== 2 || !sizes.every((size) => Number.isInteger(size) && size > 0)) {
    throw new Unliftable(`its ${what} are [${sizes.join(', ')}], and two whole numbers from 1 are expected`);
  }
}
