/**
 * Where a classifier's features end and its head begins.
 *
 * Backwards from the output, the first of these is the cut:
 * - a global pooling, unless it pools class scores (a conv with neither BatchNorm nor activation behind it: that conv
 *   is the classifier, and the features are its input);
 * - a feature map with more than one position.
 */
import { type LayersModel, model as makeModel, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import { type Activation, classOf, type GraphNode, isModel, type Layer, nodeOf } from '../internals';

export interface Cut {
  /** [batch, height, width, channels] or, where the net pools by itself, [batch, channels]; a part of the model's graph. */
  features: SymbolicTensor;
  /** Name of the layer that computes it. */
  layer: string;
}

const POOLING = ['GlobalAveragePooling2D', 'GlobalMaxPooling2D'];

/**
 * @param model one input, one output.
 * @throws TuneModeError `unsupported` for a model without a feature map on the way to its output.
 */
export function findCut(model: LayersModel): Cut {
  const cut = search(model);
  if (cut === undefined) {
    throw new TuneModeError(
      'unsupported',
      `The model '${model.name}' has no layer whose features a new head could take: going back from its output, ` +
        'expected a global pooling or a feature map of a convolution. Keep its head (keepHead), or use a convolutional net.',
    );
  }
  return cut;
}

function search(model: LayersModel): Cut | undefined {
  let tensor = model.outputs[0];
  for (;;) {
    const node = nodeOf(tensor);
    const layer = node.outboundLayer;
    if (classOf(layer) === 'InputLayer') return undefined;
    if (isModel(layer)) {
      const inner = search(layer);
      if (inner !== undefined) return throughNested(layer, inner, node);
    } else if (POOLING.includes(classOf(layer))) {
      return isScores(node.inputTensors[0]) ? before(node.inputTensors[0]) : { features: tensor, layer: layer.name };
    } else if (isFeatureMap(tensor)) {
      return isScores(tensor) ? before(tensor) : { features: tensor, layer: layer.name };
    }
    if (node.inputTensors.length !== 1) return undefined;
    tensor = node.inputTensors[0];
  }
}

/** The nested model ends at the cut, called on what it was called on. */
function throughNested(nested: LayersModel, { features, layer }: Cut, { inputTensors }: GraphNode): Cut {
  const cut =
    features === nested.outputs[0]
      ? nested
      : makeModel({ inputs: nested.inputs, outputs: features, name: nested.name });
  return { features: cut.apply(inputTensors) as SymbolicTensor, layer: `${nested.name}/${layer}` };
}

function before(scores: SymbolicTensor): Cut | undefined {
  const [features] = nodeOf(scores).inputTensors;
  return features.shape.length === 4 && classOf(features.sourceLayer) !== 'InputLayer'
    ? { features, layer: features.sourceLayer.name }
    : undefined;
}

function isFeatureMap({ shape }: SymbolicTensor): boolean {
  return shape.length === 4 && (shape[1] !== 1 || shape[2] !== 1);
}

function isScores({ sourceLayer }: SymbolicTensor): boolean {
  const { activation } = sourceLayer as Layer & { activation?: Activation | null };
  const ends = ['linear', 'softmax', 'sigmoid'];
  return /Conv/.test(classOf(sourceLayer)) && (!activation || ends.includes(activation.getClassName()));
}
