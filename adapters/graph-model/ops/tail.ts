/**
 * What belongs to a product (a convolution or a MatMul) though it stands behind it: bias, BatchNorm in any of its forms,
 * activation. The three forms in which converters leave a BN:
 *
 *     folded     product → BiasAdd, or Add with a constant
 *     affine     product (→ bias) → Mul with a constant → Add or Sub with a constant
 *     batchNorm  product (→ bias) → FusedBatchNorm
 */
import { flag, texts } from '../attributes';
import type { Edge, GraphNode } from '../graph';
import { type Lifting, type NamedConstant, Unliftable } from '../lifting';
import { isActivation } from './activations';

export interface Tail {
  /** The node whose output is the product with all of this but the activation. */
  end: GraphNode;
  /** The product's node and what stands between it and `end`: nobody else takes what these give. */
  within: GraphNode[];
  /** The Add further down whose constant is the bias. */
  biasBehind?: GraphNode;
  bias?: NamedConstant;
  scale?: NamedConstant;
  offset?: NamedConstant & { negated: boolean };
  batchNorm?: GraphNode;
  /** Of a fused node. */
  activation?: string;
}

const ADDS = ['Add', 'AddV2', 'BiasAdd'];

/** @param channels output channels of the product. */
export function tailOf(node: GraphNode, lifting: Lifting, channels: number): Tail {
  const tail: Tail = { end: node, within: [] };
  // tfjs-converter 4.22.0 does not look at them in other nodes.
  const fused = node.op.includes('Fused') ? texts(node, 'fused_ops') : [];
  for (const [i, op] of fused.entries()) {
    if (op === 'BiasAdd' && i === 0) {
      tail.bias = vector(lifting, node.inputs[2], channels);
      if (tail.bias === undefined) throw new Unliftable('its bias is not a constant with one value a channel');
    } else if (isActivation(op) && i === 1) tail.activation = op;
    else throw new Unliftable(`it has '${op}' fused into it`);
  }
  if (tail.activation !== undefined) return tail;

  let next = lifting.onlyConsumer(tail.end);
  if (tail.bias === undefined && next !== undefined && ADDS.includes(next.op)) {
    const bias = otherVector(lifting, next, tail.end, channels);
    if (bias !== undefined) {
      tail.bias = bias;
      moveTo(tail, next);
      next = lifting.onlyConsumer(next);
    }
  }
  if (next === undefined) return tail;
  if (next.op.startsWith('FusedBatchNorm') && next.inputs[0].node === tail.end.name && !flag(next, 'is_training')) {
    tail.batchNorm = next;
    moveTo(tail, next);
    return tail;
  }
  if (next.op === 'Mul') takeAffine(tail, next, lifting, channels);
  if (tail.end === node && tail.bias === undefined) takeBiasBehindSum(tail, lifting, channels);
  return tail;
}

function takeAffine(tail: Tail, mul: GraphNode, lifting: Lifting, channels: number): void {
  const affine = affineOf(mul, tail.end, lifting, channels);
  if (affine === undefined) return;
  tail.scale = affine.scale;
  tail.offset = affine.offset;
  moveTo(tail, mul);
  moveTo(tail, affine.end);
}

function moveTo(tail: Tail, end: GraphNode): void {
  tail.within.push(tail.end);
  tail.end = end;
}

/** Mul with a constant, and Add or Sub with another one behind it. Mul alone is no BN: those have a mean. */
export function affineOf(
  mul: GraphNode,
  from: GraphNode,
  lifting: Lifting,
  channels: number,
): { scale: NamedConstant; offset: NonNullable<Tail['offset']>; end: GraphNode } | undefined {
  const scale = otherVector(lifting, mul, from, channels);
  const next = scale && lifting.onlyConsumer(mul);
  if (scale === undefined || next === undefined) return undefined;
  const subtracts = next.op === 'Sub' && next.inputs[0].node === mul.name;
  if (!ADDS.includes(next.op) && !subtracts) return undefined;
  const offset = otherVector(lifting, next, mul, channels);
  return offset && { scale, offset: { ...offset, negated: subtracts }, end: next };
}

/**
 * product → Add with another tensor → Add with a constant, as TensorFlow's optimiser leaves a residual connection: the
 * constant is the product's bias, and the sum takes it in the product.
 */
function takeBiasBehindSum(tail: Tail, lifting: Lifting, channels: number): void {
  const sum = lifting.onlyConsumer(tail.end);
  if (sum === undefined || !['Add', 'AddV2', 'AddN'].includes(sum.op)) return;
  if (sum.inputs.length < 2 || sum.inputs.some((edge) => lifting.constantOf(edge) !== undefined)) return;
  const last = lifting.onlyConsumer(sum);
  if (last === undefined || !ADDS.includes(last.op)) return;
  if (lifting.passedThrough.has(last) || lifting.apart.has(last)) return;
  const bias = otherVector(lifting, last, sum, channels);
  if (bias === undefined) return;
  tail.bias = bias;
  tail.biasBehind = last;
  lifting.passedThrough.add(last);
}

/** The constant, with one value a channel, that a node of two inputs takes beside another node's output. */
function otherVector(
  lifting: Lifting,
  node: GraphNode,
  beside: GraphNode,
  channels: number,
): NamedConstant | undefined {
  const others = node.inputs.filter((edge) => edge.node !== beside.name);
  return node.inputs.length === 2 && others.length === 1 ? vector(lifting, others[0], channels) : undefined;
}

/** A constant along the last axis. */
export function vector(lifting: Lifting, edge: Edge | undefined, channels: number): NamedConstant | undefined {
  const found = lifting.constantOf(edge);
  const shape = found?.constant.shape;
  const isVector =
    shape !== undefined &&
    shape.length > 0 &&
    shape.at(-1) === channels &&
    shape.slice(0, -1).every((size) => size === 1);
  return isVector ? found : undefined;
}
