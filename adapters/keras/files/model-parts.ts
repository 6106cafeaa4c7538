/** A built model as Keras sees it: layers that hold weights of their own, and what they are nested in. */
import type { LayersModel, layers } from '@tensorflow/tfjs-layers';

/** A tfjs weight: what this package reads of tfjs-layers' `LayerVariable`. */
export interface ModelWeight {
  originalName: string;
  shape: (number | null)[];
  dtype: string;
  trainable: boolean;
  read(): { data(): Promise<ArrayLike<number>>; dataSync(): ArrayLike<number> };
}

/** A layer, or what stands for one inside a layer: a cell, a wrapped layer, one direction. */
export interface Part {
  name: string;
  /** Keras's class, as Keras writes it in paths: `conv2d`, `batch_normalization`. */
  snakeName: string;
  /** How its holder calls it, in Keras 3's files; `undefined` where it is one of its holder's list of layers. */
  slot: string | undefined;
  trainable: boolean;
  /** Weights of its own, in the order of their making: trainable ones first. */
  trainableWeights: ModelWeight[];
  fixedWeights: ModelWeight[];
  parts: Part[];
  isModel: boolean;
}

type Layer = layers.Layer;
/** The members that tfjs-layers has and does not declare. */
interface Inner {
  _trainableWeights: ModelWeight[];
  _nonTrainableWeights: ModelWeight[];
  trainable_: boolean;
  layers?: Layer[];
  layer?: Layer;
  forwardLayer?: Layer;
  backwardLayer?: Layer;
  cell?: Layer;
  cells?: Layer[];
}

/** The model's layers that have weights, in Keras's order. */
export function partsOf(model: LayersModel): Part[] {
  return model.layers.map((layer) => partOf(layer)).filter(hasWeights);
}

function partOf(layer: Layer, slot?: string): Part {
  const inner = layer as unknown as Inner;
  const isModel = Array.isArray(inner.layers);
  const held: Part[] = [];
  if (isModel) for (const item of inner.layers!) held.push(partOf(item));
  else if (inner.forwardLayer && inner.backwardLayer) {
    held.push(partOf(inner.forwardLayer, 'forward_layer'), partOf(inner.backwardLayer, 'backward_layer'));
  } else if (inner.cell) held.push(partOf(inner.cell, 'cell'));
  else if (Array.isArray(inner.cells)) for (const cell of inner.cells) held.push(partOf(cell));
  else if (inner.layer) held.push(partOf(inner.layer, 'layer'));
  const className = layer.getClassName();
  return {
    name: layer.name,
    snakeName: className === 'Model' ? 'functional' : snakeCase(className),
    slot,
    trainable: inner.trainable_ !== false,
    trainableWeights: held.length > 0 ? [] : inner._trainableWeights,
    fixedWeights: held.length > 0 ? [] : inner._nonTrainableWeights,
    parts: held.filter(hasWeights),
    isModel,
  };
}

function hasWeights(part: Part): boolean {
  return part.trainableWeights.length + part.fixedWeights.length > 0 || part.parts.length > 0;
}

/** As Keras does it: `DepthwiseConv2D` becomes `depthwise_conv2d`, `ReLU` becomes `re_lu`. */
export function snakeCase(name: string): string {
  return name
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

/** One weight and the names that lead to it, from the outermost layer on. */
export interface NamedWeight {
  weight: ModelWeight;
  path: string[];
}

/** How the weights of nested layers may be put in a row. */
export type WeightOrder = 'as configured' | 'all trainable' | 'layer by layer';

/**
 * The weights of a layer in the order in which Keras saves them: trainable weights first, through all that is nested.
 * What is trainable is what the saved configuration says of each layer that has weights, not what an outer model's
 * `trainable` makes of it, which tfjs does not save.
 */
export function weightsOf(part: Part, order: WeightOrder = 'as configured'): NamedWeight[] {
  const leaves = leavesOf(part, []);
  const named = (path: string[]) => (weight: ModelWeight) => ({ weight, path });
  if (order === 'layer by layer') {
    return leaves.flatMap(({ leaf, path }) => [...leaf.trainableWeights, ...leaf.fixedWeights].map(named(path)));
  }
  const trains = (leaf: Part, isTrained: boolean) => order === 'all trainable' || (leaf.trainable && isTrained);
  return [
    ...leaves.flatMap(({ leaf, path, isTrained }) =>
      trains(leaf, isTrained) ? leaf.trainableWeights.map(named(path)) : [],
    ),
    ...leaves.flatMap(({ leaf, path, isTrained }) =>
      (trains(leaf, isTrained) ? leaf.fixedWeights : [...leaf.trainableWeights, ...leaf.fixedWeights]).map(named(path)),
    ),
  ];
}

function leavesOf(
  part: Part,
  before: string[],
  isTrained = true,
): { leaf: Part; path: string[]; isTrained: boolean }[] {
  const path = [...before, part.name];
  if (part.parts.length === 0) return [{ leaf: part, path, isTrained }];
  // A wrapper's flag is saved; a model's is not.
  const inner = isTrained && (part.isModel || part.trainable);
  return part.parts.flatMap((held) => leavesOf(held, path, inner));
}

/** `kernel` of `conv1/kernel`, `conv1/kernel:0`, and of `kernel_1`, which tfjs makes of a name that it has had before. */
export function lastName(name: string): string {
  return name
    .slice(name.lastIndexOf('/') + 1)
    .replace(/:\d+$/, '')
    .replace(/_\d+$/, '');
}

export function shapeText(shape: readonly (number | null)[]): string {
  return `[${shape.join(', ')}]`;
}

export function sameShape(a: readonly (number | null)[], b: readonly (number | null)[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}
