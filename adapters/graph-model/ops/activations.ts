/** Activations, as nodes of their own and as the last part of a fused one. */
import { layers, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import type { Layer } from '../../../src/internals';
import { number } from '../attributes';
import type { GraphNode } from '../graph';
import { asTensor, type Lifting, Unliftable } from '../lifting';
import { firstInput, type Op } from './op';

/** Name of the op → the layer; `alpha` is LeakyRelu's. */
const LAYERS: Record<string, (name: string, alpha: number) => Layer> = {
  Relu: (name) => layers.reLU({ name }) as Layer,
  Relu6: (name) => layers.reLU({ name, maxValue: 6 }) as Layer,
  LeakyRelu: (name, alpha) => layers.leakyReLU({ name, alpha }) as Layer,
  Elu: (name) => layers.elu({ name }) as Layer,
  Selu: (name) => layers.activation({ name, activation: 'selu' }) as Layer,
  Sigmoid: (name) => layers.activation({ name, activation: 'sigmoid' }) as Layer,
  Tanh: (name) => layers.activation({ name, activation: 'tanh' }) as Layer,
  Softplus: (name) => layers.activation({ name, activation: 'softplus' }) as Layer,
  // The layer's own default is axis 1 (tfjs-layers 4.22.0).
  Softmax: (name) => layers.softmax({ name, axis: -1 }) as Layer,
};

export function isActivation(op: string): boolean {
  return op === 'Prelu' || Object.hasOwn(LAYERS, op);
}

/**
 * @param op the activation, which in a fused node is not the node's own op.
 * @param slope the input of the node that is Prelu's α.
 */
export function activate(
  node: GraphNode,
  lifting: Lifting,
  op: string,
  x: SymbolicTensor,
  slope: number,
): SymbolicTensor {
  const suffix = `_${op.toLowerCase()}`;
  if (op === 'Prelu') return prelu(node, lifting, x, slope, suffix);
  const make = LAYERS[op];
  if (make === undefined) throw new Unliftable(`its activation '${op}' is not known`);
  const alpha = number(node, node.op === op ? 'alpha' : 'leakyrelu_alpha', 0.2);
  return lifting.apply(node, make(lifting.names.of(node.name, suffix), alpha), x);
}

function prelu(node: GraphNode, lifting: Lifting, x: SymbolicTensor, slope: number, suffix: string): SymbolicTensor {
  const found = lifting.constantInput(node, slope);
  // PReLU's α has the shape of x without the batch, 1 along its shared axes.
  const rank = x.shape.length - 1;
  const own = found.constant.shape.slice(-rank);
  const shape = [...new Array<number>(rank - own.length).fill(1), ...own];
  if (shape.some((size, axis) => size !== 1 && size !== x.shape[axis + 1])) {
    throw new Unliftable(`its slopes [${found.constant.shape.join(', ')}] do not fit [${x.shape.join(', ')}]`);
  }
  const sharedAxes = shape.flatMap((size, axis) => (size === 1 && x.shape[axis + 1] !== 1 ? [axis + 1] : []));
  const layer = lifting.sharedLayer(['Prelu', found.name, shape, sharedAxes], () =>
    layers.prelu({ name: lifting.names.of(node.name, suffix), sharedAxes }),
  ) as Layer;
  const known = lifting.layers.has(layer);
  const result = lifting.apply(node, layer, x, () => [asTensor(found, shape)]);
  if (!known) {
    lifting.parameters.push({
      node: node.name,
      op: node.op,
      layer: layer.name,
      kind: 'alpha',
      constants: { alpha: found.name },
    });
  }
  return result;
}

function standalone(op: string): Op {
  return {
    data: firstInput,
    lift: (node, lifting) => {
      const x = lifting.input(node);
      lifting.give(node, activate(node, lifting, op, x, 1));
    },
  };
}

export const activations: Record<string, Op> = Object.fromEntries(
  [...Object.keys(LAYERS), 'Prelu'].map((op) => [op, standalone(op)]),
);
