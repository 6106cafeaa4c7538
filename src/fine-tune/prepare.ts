/** What a run begins with: data that fit the model, and the model with its head. */
import { dispose, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import type { LayerVariable } from '../internals';
import type { BatchSource, FineTuneData } from './data';
import { checkKeptHead, type WithHead, withNewHead } from './head';
import { withInputShape } from './input-size';
import type { ResolvedFineTuneOptions } from './options';
import { fromTensors } from './tensor-source';

export interface Prepared {
  /** Pictures → class probabilities; shares its layers with the source, except for the head. */
  model: LayersModel;
  /** null where the model's own is kept. */
  head: WithHead | null;
  /** One sentence: where the net was cut, and what head it has. */
  description: string;
  /** [height, width, channels] of the pictures. */
  shape: number[];
  train: BatchSource;
  val: BatchSource;
  classNames: readonly string[];
}

/** @throws TuneModeError `invalid-data`, `unsupported`; nothing is left over then. */
export async function prepare(
  source: LayersModel,
  data: FineTuneData,
  options: ResolvedFineTuneOptions,
): Promise<Prepared> {
  if (source.inputs.length !== 1 || source.outputs.length !== 1) {
    throw new TuneModeError(
      'unsupported',
      `fineTune needs a model with one input and one output; '${source.name}' has ${source.inputs.length} and ${source.outputs.length}.`,
    );
  }
  const { classNames } = data;
  if (!Array.isArray(classNames) || classNames.length < 2) {
    throw new TuneModeError(
      'invalid-data',
      `fineTune needs at least two classes; found ${JSON.stringify(classNames)}.`,
    );
  }
  const asSource = (name: 'train' | 'val'): BatchSource => {
    const set = data[name];
    if (set === undefined || set === null) throw new TuneModeError('invalid-data', `fineTune: there is no '${name}'.`);
    if ('batches' in set) return set;
    if (set.xs.shape[0] !== set.ys.shape[0]) {
      throw new TuneModeError(
        'invalid-data',
        `fineTune: '${name}' has ${set.xs.shape[0]} pictures and labels for ${set.ys.shape[0]}.`,
      );
    }
    return fromTensors(set, options.batchSize, options.seed, options.inputRange);
  };
  const [train, val] = [asSource('train'), asSource('val')];
  const shape = await shapeOf(train, 'train', classNames.length);
  const valShape = await shapeOf(val, 'val', classNames.length);
  if (String(valShape) !== String(shape)) {
    throw new TuneModeError(
      'invalid-data',
      `fineTune: the pictures of 'val' are [${valShape.join(', ')}], those of 'train' [${shape.join(', ')}].`,
    );
  }
  const sized = await withInputShape(source, shape);
  try {
    const head = options.keepHead ? null : withNewHead(sized, classNames.length, options.dropout);
    const description = head === null ? checkKeptHead(sized, classNames) : head.description;
    // Of a copy, nobody else has what was cut off.
    if (sized !== source && head !== null) disposeAllBut(sized, head.model);
    return { model: head?.model ?? sized, head, description, shape, train, val, classNames };
  } catch (error) {
    if (sized !== source) sized.dispose();
    throw error;
  }
}

/** Frees the weights of a model that another one does not have. */
export function disposeAllBut(model: LayersModel, kept: LayersModel): void {
  const variablesOf = ({ weights }: LayersModel) =>
    (weights as unknown as LayerVariable[]).map((weight) => weight.read());
  const others = new Set(variablesOf(kept));
  dispose(variablesOf(model).filter((variable) => !others.has(variable)));
}

/** [height, width, channels] of a set's pictures, from its first batch. */
async function shapeOf(set: BatchSource, name: string, classes: number): Promise<number[]> {
  for await (const { xs, ys } of set.batches({ epoch: 0, shuffle: false, augment: false })) {
    const { shape } = xs as Tensor as Tensor4D;
    const labels = ys.shape;
    dispose([xs, ys]);
    if (labels.length !== 2 || labels[1] !== classes || labels[0] !== shape[0]) {
      throw new TuneModeError(
        'invalid-data',
        `fineTune: the labels of '${name}' must be one-hot, [${shape[0]}, ${classes}]; found [${labels.join(', ')}].`,
      );
    }
    return shape.slice(1);
  }
  throw new TuneModeError('invalid-data', `fineTune: there are no pictures in '${name}'.`);
}
