/**
 * Arithmetic on sizes: what a graph computes from the shape of a tensor, in order to reshape another one. It is done while
 * lifting; what depends on a size that is only known at run time stays unknown.
 */

import { number } from './attributes';
import type { Edge, GraphNode } from './graph';
import { sliceBounds } from './operations';

/** A whole number, the size of the batch, or unknown. */
export type Size = number | 'batch' | null;

/** A scalar or a vector of sizes. */
export interface Sizes {
  values: Size[];
  rank: 0 | 1;
}

type Rule = (inputs: (Sizes | undefined)[], node: GraphNode) => Sizes | undefined;

const both =
  (apply: (a: number, b: number) => number): Rule =>
  ([a, b]) => {
    if (a === undefined || b === undefined) return undefined;
    const length = Math.max(a.values.length, b.values.length);
    const at = ({ values }: Sizes, i: number) => (values.length === 1 ? values[0] : values[i]);
    const values = Array.from({ length }, (_, i) => {
      const [left, right] = [at(a, i), at(b, i)];
      return typeof left === 'number' && typeof right === 'number' ? apply(left, right) : null;
    });
    return { values, rank: a.rank === 1 || b.rank === 1 ? 1 : 0 };
  };
const same: Rule = ([a]) => a;

const RULES: Record<string, Rule> = {
  Identity: same,
  Cast: same,
  Add: both((a, b) => a + b),
  AddV2: both((a, b) => a + b),
  Sub: both((a, b) => a - b),
  Mul: both((a, b) => a * b),
  FloorDiv: both((a, b) => Math.floor(a / b)),
  Maximum: both(Math.max),
  Minimum: both(Math.min),
  Pack: (inputs) =>
    inputs.length > 0 && inputs.every((each) => each?.rank === 0)
      ? { values: (inputs as Sizes[]).map(({ values }) => values[0]), rank: 1 }
      : undefined,
  ConcatV2: (inputs) => {
    const parts = inputs.slice(0, -1);
    return parts.length > 0 && parts.every((each) => each?.rank === 1)
      ? { values: (parts as Sizes[]).flatMap(({ values }) => values), rank: 1 }
      : undefined;
  },
  Prod: ([a]) =>
    a === undefined
      ? undefined
      : {
          values: [a.values.every((each) => typeof each === 'number') ? a.values.reduce((p, v) => p * v, 1) : null],
          rank: 0,
        },
  Squeeze: ([a]) => (a?.values.length === 1 ? { values: a.values, rank: 0 } : a),
  ExpandDims: ([a]) => (a === undefined ? undefined : { values: a.values, rank: 1 }),
  Reshape: ([a]) => (a === undefined ? undefined : { values: a.values, rank: 1 }),
  GatherV2: ([a, at]) => {
    if (a?.rank !== 1 || at === undefined) return undefined;
    const values = at.values.map((index) => (typeof index === 'number' ? (a.values.at(index) ?? null) : null));
    return { values, rank: at.rank };
  },
  StridedSlice: ([a, begin, end, strides], node) => {
    const [from, to, step] = [begin, end, strides].map((bound) => bound?.values[0]);
    if (a?.rank !== 1 || typeof from !== 'number' || typeof to !== 'number' || typeof step !== 'number')
      return undefined;
    const masked = (name: string) => (number(node, name, 0) & 1) === 1;
    if (number(node, 'new_axis_mask', 0) !== 0) return undefined;
    const { first, count } = sliceBounds(
      a.values.length,
      masked('begin_mask') ? null : from,
      masked('end_mask') ? null : to,
      step,
    );
    if (masked('shrink_axis_mask')) return { values: [a.values[first] ?? null], rank: 0 };
    return { values: Array.from({ length: count }, (_, i) => a.values[first + i * step]), rank: 1 };
  },
};

/**
 * What a node computes of sizes; undefined where it is no arithmetic of sizes.
 * @param read the sizes of an input, undefined where it is a tensor of another kind.
 */
export function sizesOf(node: GraphNode, read: (edge: Edge) => Sizes | undefined): Sizes | undefined {
  const rule = Object.hasOwn(RULES, node.op) ? RULES[node.op] : undefined;
  return rule?.(node.inputs.map(read), node);
}
