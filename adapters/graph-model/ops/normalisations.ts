/** BatchNorms that survived, as a FusedBatchNorm or as Mul and Add: a BatchNormalization, behind a product or alone. */
import { fill, mul, type Tensor, zeros } from '@tensorflow/tfjs-core';
import { layers } from '@tensorflow/tfjs-layers';
import type { Layer } from '../../../src/internals';
import { flag, number } from '../attributes';
import type { GraphNode } from '../graph';
import type { LiftedProduct } from '../lifted';
import { asTensor, type Lifting, type NamedConstant, Unliftable } from '../lifting';
import { firstInput, type Op, requireChannelsLast } from './op';
import { type Tail, vector } from './tail';

/** ε of a BN of which only s is known: a power of two, so that σ² = 1 − ε and σ² + ε = 1 are exact in float32. */
const EPSILON = 2 ** -10;

export interface Normalisation {
  form: 'affine' | 'batchNorm';
  layer: Layer;
  weights(): Tensor[];
  constants: Partial<LiftedProduct['constants']>;
}

/** The BN of a product's tail, or null. */
export function normalise(lifting: Lifting, tail: Tail, channels: number, name: string): Normalisation | null {
  if (tail.batchNorm !== undefined) return fromNode(lifting, tail.batchNorm, channels, lifting.names.of(name, '_bn'));
  if (tail.scale === undefined || tail.offset === undefined) return null;
  return fromAffine(tail.scale, tail.offset, channels, lifting.names.of(name, '_bn'));
}

/** γ = s, β = the offset, μ = 0, σ² + ε = 1: the fold is the two constants themselves. */
export function fromAffine(
  scale: NamedConstant,
  offset: NonNullable<Tail['offset']>,
  channels: number,
  name: string,
): Normalisation {
  const layer = layers.batchNormalization({ name, epsilon: EPSILON }) as Layer;
  return {
    form: 'affine',
    layer,
    weights: () => [
      asTensor(scale, [channels]),
      mul(asTensor(offset, [channels]), offset.negated ? -1 : 1),
      zeros([channels]),
      fill([channels], 1 - EPSILON),
    ],
    constants: { scale: scale.name, offset: offset.name, offsetNegated: offset.negated },
  };
}

function fromNode(lifting: Lifting, node: GraphNode, channels: number, name: string): Normalisation {
  requireChannelsLast(node);
  if (flag(node, 'is_training')) throw new Unliftable('it normalises by the statistics of the batch (is_training)');
  const [gamma, beta, mean, variance] = [1, 2, 3, 4].map((index) => {
    const found = vector(lifting, node.inputs[index], channels);
    if (found === undefined) throw new Unliftable(`its input ${index} is not a constant with one value a channel`);
    return found;
  });
  return {
    form: 'batchNorm',
    // The default is tfjs-converter's (4.22.0), not TensorFlow's 1e-4: the lifted model gives what the GraphModel gives.
    layer: layers.batchNormalization({ name, epsilon: number(node, 'epsilon', 1e-3) }) as Layer,
    weights: () => [gamma, beta, mean, variance].map((each) => asTensor(each, [channels])),
    constants: { gamma: gamma.name, beta: beta.name, mean: mean.name, variance: variance.name },
  };
}

const fusedBatchNorm: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const bn = fromNode(lifting, node, x.shape.at(-1) as number, lifting.names.of(node.name, '_bn'));
    lifting.give(node, lifting.apply(node, bn.layer, x, bn.weights));
    lifting.parameters.push({
      node: node.name,
      op: node.op,
      layer: bn.layer.name,
      kind: 'batchNorm',
      constants: bn.constants,
    });
  },
};

export const normalisations: Record<string, Op> = {
  FusedBatchNorm: fusedBatchNorm,
  FusedBatchNormV2: fusedBatchNorm,
  FusedBatchNormV3: fusedBatchNorm,
};
