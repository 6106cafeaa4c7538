/** Sums, differences, products and quotients: between tensors, and with constants. */
import { layers, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import type { Layer } from '../../../src/internals';
import type { GraphNode } from '../graph';
import { graphOperation } from '../graph-operation';
import { asTensor, type Lifting, type NamedConstant, Unliftable } from '../lifting';
import { fromAffine } from './normalisations';
import type { Op } from './op';
import { affineOf } from './tail';

type Operator = 'add' | 'sub' | 'mul' | 'div' | 'maximum' | 'minimum';

/** Keras's layers between tensors of one shape. */
const MERGES: Partial<Record<Operator, (name: string) => Layer>> = {
  add: (name) => layers.add({ name }) as Layer,
  mul: (name) => layers.multiply({ name }) as Layer,
  maximum: (name) => layers.maximum({ name }) as Layer,
  minimum: (name) => layers.minimum({ name }) as Layer,
};

function binary(operator: Operator): Op {
  return { lift: (node, lifting) => lift(node, lifting, operator) };
}

function lift(node: GraphNode, lifting: Lifting, operator: Operator): void {
  const [data] = node.inputs.filter((edge) => lifting.constantOf(edge) === undefined);
  if (lifting.passedThrough.has(node)) {
    lifting.give(node, lifting.input(node, node.inputs.indexOf(data)));
    return;
  }
  if (node.inputs.length < 2) throw new Unliftable(`it has ${node.inputs.length} inputs`);
  const constants = node.inputs.map((edge) => lifting.constantOf(edge));
  const at = constants.findIndex((constant) => constant !== undefined);
  if (at < 0) {
    const inputs = node.inputs.map((_, index) => lifting.input(node, index));
    lifting.give(node, between(node, lifting, operator, inputs));
    return;
  }
  if (node.inputs.length !== 2 || data === undefined) {
    throw new Unliftable('it takes a constant among more than two inputs');
  }
  const x = lifting.input(node, 1 - at);
  if (operator === 'mul' && affine(node, lifting, x, 1 - at)) return;
  lifting.give(node, withConstant(node, lifting, operator, x, constants[at] as NamedConstant, at === 0));
}

function between(node: GraphNode, lifting: Lifting, operator: Operator, inputs: SymbolicTensor[]): SymbolicTensor {
  const name = lifting.names.of(node.name, `_${operator}`);
  const [first, ...rest] = inputs;
  const sameShape = rest.every(({ shape }) => String(shape) === String(first.shape));
  const merge = MERGES[operator];
  if (sameShape && merge !== undefined) return lifting.apply(node, merge(name), inputs);
  if (rest.some(({ shape }) => shape.length !== first.shape.length)) {
    throw new Unliftable('it takes tensors of different ranks, which mixes the pictures of a batch');
  }
  if (inputs.length !== 2) throw new Unliftable('it takes more than two tensors of different shapes');
  return lifting.apply(node, graphOperation({ name, operation: 'binary', settings: { operator } }), inputs);
}

/** Mul and Add with constants, alone: a BN before a convolution, as DenseNet has it. */
function affine(node: GraphNode, lifting: Lifting, x: SymbolicTensor, from: number): boolean {
  const channels = x.shape.at(-1);
  const source = lifting.graph.byName.get(node.inputs[from].node) as GraphNode;
  const found = typeof channels === 'number' ? affineOf(node, source, lifting, channels) : undefined;
  if (found === undefined || channels === 1) return false;
  const bn = fromAffine(found.scale, found.offset, channels as number, lifting.names.of(node.name, '_bn'));
  lifting.give(found.end, lifting.apply(found.end, bn.layer, x, bn.weights));
  lifting.absorbed.add(node);
  lifting.parameters.push({
    node: node.name,
    op: node.op,
    layer: bn.layer.name,
    kind: 'affine',
    constants: bn.constants,
  });
  return true;
}

function withConstant(
  node: GraphNode,
  lifting: Lifting,
  operator: Operator,
  x: SymbolicTensor,
  constant: NamedConstant,
  constantFirst: boolean,
): SymbolicTensor {
  const { shape, values } = constant.constant;
  const name = lifting.names.of(node.name, `_${operator}`);
  if (shape.length > x.shape.length) throw new Unliftable('its constant has more axes than the tensor');
  if (values.length === 1) {
    const rescaled = rescaling(operator, Number(values[0]), constantFirst);
    if (rescaled !== undefined) return lifting.apply(node, layers.rescaling({ name, ...rescaled }) as Layer, x);
  }
  if (shape.length === x.shape.length && shape[0] !== 1) throw new Unliftable('its constant has a batch of its own');
  const layer = graphOperation({
    name,
    operation: 'binary',
    settings: { operator, constantFirst },
    constantShape: shape,
  });
  return lifting.apply(node, layer, x, () => [asTensor(constant)]);
}

/** x·scale + offset is the same to the last bit, but for a quotient. */
function rescaling(operator: Operator, value: number, first: boolean): { scale: number; offset: number } | undefined {
  if (operator === 'add') return { scale: 1, offset: value };
  if (operator === 'sub') return first ? { scale: -1, offset: value } : { scale: 1, offset: -value };
  if (operator === 'mul') return { scale: value, offset: 0 };
  return operator === 'div' && !first && value !== 0 ? { scale: 1 / value, offset: 0 } : undefined;
}

export const arithmetic: Record<string, Op> = {
  Add: binary('add'),
  AddV2: binary('add'),
  AddN: binary('add'),
  BiasAdd: binary('add'),
  Sub: binary('sub'),
  Mul: binary('mul'),
  RealDiv: binary('div'),
  Div: binary('div'),
  Maximum: binary('maximum'),
  Minimum: binary('minimum'),
};
