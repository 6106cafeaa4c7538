/** The part of a classifier that is new: pooling, dropout and a Dense for the classes. */
import { type LayersModel, layers, model as makeModel, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import type { DenseLayer } from '../internals';
import { findCut } from './cut';

export interface WithHead {
  /** Pictures → class probabilities. Its layers below the cut are those of the source. */
  model: LayersModel;
  /** Pictures → [batch, features]: the same layers up to the head. */
  features: LayersModel;
  dense: DenseLayer;
  /** One sentence: where the net was cut and what came there. */
  description: string;
}

/**
 * Cuts a model at its features and puts a new head there: (global average pooling →) dropout → Dense with softmax.
 * The Dense begins with zeros, so that nothing is random and every class is equally likely.
 * @throws TuneModeError `unsupported` for a model with several inputs or outputs, or without features.
 */
export function withNewHead(source: LayersModel, classes: number, dropout: number): WithHead {
  const { features, layer } = findCut(source);
  const names = new Set(source.layers.map(({ name }) => name));
  const free = (name: string): string => (names.has(name) ? free(`${name}_new`) : name);

  const isMap = features.shape.length === 4;
  const pooled = isMap ? layers.globalAveragePooling2d({ name: free('head_pool') }).apply(features) : features;
  const dense = layers.dense({
    name: free('head'),
    units: classes,
    activation: 'softmax',
    kernelInitializer: 'zeros',
  });
  const dropped = layers.dropout({ name: free('head_dropout'), rate: dropout }).apply(pooled);
  const { inputs } = source;
  return {
    model: makeModel({ inputs, outputs: dense.apply(dropped) as SymbolicTensor, name: source.name }),
    features: makeModel({ inputs, outputs: pooled as SymbolicTensor }),
    dense: dense as unknown as DenseLayer,
    description:
      `New head for ${classes} classes on the ${(pooled as SymbolicTensor).shape[1]} features of layer '${layer}'` +
      `${isMap ? ', pooled' : ''}.`,
  };
}

/**
 * Checks that a model's own head can be kept: one output for each class.
 * @throws TuneModeError `unsupported` naming both counts.
 */
export function checkKeptHead(model: LayersModel, classNames: readonly string[]): string {
  const { shape } = model.outputs[0];
  if (shape.length !== 2 || shape[1] !== classNames.length) {
    throw new TuneModeError(
      'unsupported',
      `The head of '${model.name}' gives [${shape.map((size) => size ?? 'batch').join(', ')}], but there are ` +
        `${classNames.length} classes: it cannot be kept. Leave out keepHead to get a new one.`,
    );
  }
  return `The model's own head for ${classNames.length} classes was kept.`;
}
