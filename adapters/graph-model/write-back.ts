/** LayersModel → GraphModel: the graph that it came from, with the tuned weights in its constants. */
import { add, io, mul, sub, type Tensor, tidy, transpose, Variable } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { weightsOf } from '../../src/block';
import { checkModel } from '../../src/check-model';
import { foldedWeights } from '../../src/deploy/weights';
import { checkOptionNames, TuneModeError } from '../../src/errors';
import { channelScale } from '../../src/fold';
import { type BatchNormLayer, isModel, type Layer } from '../../src/internals';
import { finiteValues, GraphEditor } from './graph-editor';
import type { LiftedModel, LiftedParameter, LiftedProduct } from './lifted';
import { encodeConstants } from './weight-encoding';
import { findHead, putHead } from './write-head';

export interface WriteBackOptions {
  /**
   * The model whose weights are taken: one that has the layers of `lifted.model`, by name, as those that `fineTune` gives.
   * If it ends in a Dense of its own, that replaces the graph's last convolution or MatMul. Default: `lifted.model`.
   */
  model?: LayersModel;
  /** `float32` (default), or `original`: what the graph stored quantised is quantised again, in the same way. */
  weights?: 'float32' | 'original';
}

/**
 * The graph of a lifted model with its weights as they are now: same nodes, same names, same signature. BatchNorms are
 * folded into the constants that they came from, so whatever could run the graph can run this one. Nothing else changes; a
 * constant that others need with its old value gets a second one beside it.
 *
 * A new head gives its logits: its softmax, if any, is left to the graph, as its old head's was.
 *
 * @param lifted From `liftGraphModel`, `restoreBatchNorm` or a loader. Only read, in whatever mode.
 * @returns Artifacts for `io.fromMemory`, or any IOHandler's `save`.
 * @throws TuneModeError `invalid-option`; `unsupported` where a layer is missing in `model`, has another shape, or a new
 *     head does not fit the graph; `invalid-data` for weights that are no finite numbers; `model-disposed`.
 */
export async function toGraphModel(lifted: LiftedModel, options: WriteBackOptions = {}): Promise<io.ModelArtifacts> {
  const { model = lifted.model, weights = 'float32' } = checked(options);
  checkModel('toGraphModel', model);
  const editor = new GraphEditor(lifted);
  const named = layersByName(model);
  const own = model === lifted.model ? named : layersByName(lifted.model);
  if (![...named.keys()].some((name) => own.has(name))) {
    throw new TuneModeError(
      'unsupported',
      `toGraphModel: the model '${model.name}' has none of the layers of the lifted model '${lifted.model.name}'.`,
    );
  }
  const head = model === lifted.model ? undefined : findHead(model, own);
  const replaced = head && (await putHead(lifted, editor, head, named));
  for (const part of [...lifted.products, ...lifted.parameters]) {
    if (part === replaced) continue;
    const find = (name: string) => {
      const found = named.get(name) ?? own.get(name);
      if (found !== undefined) return found;
      throw new TuneModeError('unsupported', `toGraphModel: there is no layer '${name}' in the model '${model.name}'.`);
    };
    await write(editor, part, () => ('form' in part ? productValues(part, find) : parameterValues(part, find)));
  }
  const { modelTopology, constants } = editor.result();
  return {
    ...lifted.graph.artifacts,
    modelTopology,
    ...encodeConstants(constants, weights === 'original'),
  };
}

/**
 * `toGraphModel`, saved.
 * @param target A URL that tfjs can save to (`indexeddb://…`, `localstorage://…`, `downloads://…`) or an IOHandler, such as
 *     `fileIO(path)` of `tfjs-tune-mode/node`.
 * @throws TuneModeError as `toGraphModel`; `invalid-option` where nothing can save to `target`.
 */
export async function saveGraphModel(
  lifted: LiftedModel,
  target: string | io.IOHandler,
  options?: WriteBackOptions,
): Promise<io.SaveResult> {
  const handlers = typeof target === 'string' ? io.getSaveHandlers(target) : [target];
  const save = handlers[0]?.save;
  if (save === undefined) {
    throw new TuneModeError('invalid-option', `saveGraphModel: nothing can save to ${JSON.stringify(target)}.`);
  }
  return save.call(handlers[0], await toGraphModel(lifted, options));
}

function checked(options: WriteBackOptions): WriteBackOptions {
  checkOptionNames('toGraphModel', options, ['model', 'weights']);
  const { weights = 'float32' } = options;
  if (weights !== 'float32' && weights !== 'original') {
    throw new TuneModeError(
      'invalid-option',
      `toGraphModel: weights must be 'float32' or 'original', found ${JSON.stringify(weights)}.`,
    );
  }
  return options;
}

/** The layers of a model and of the models nested in it. */
export function layersByName(model: LayersModel): Map<string, Layer> {
  const found = new Map<string, Layer>();
  const visit = (container: LayersModel): void => {
    for (const layer of container.layers) {
      if (isModel(layer)) visit(layer);
      else found.set(layer.name, layer);
    }
  };
  visit(model);
  return found;
}

/** Name of the constant → what it is to be. */
type Values = Record<string, Tensor>;

function productValues(product: LiftedProduct, find: (name: string) => Layer): Values {
  const { constants, form } = product;
  const layer = find(product.layer);
  const bn = product.batchNorm === null ? null : (find(product.batchNorm) as BatchNormLayer);
  const folds = bn !== null && (form === 'folded' || form === 'plain');
  const [kernel, bias] = folds ? foldedWeights(layer, undefined, bn) : layer.weights.map((weight) => weight.read());
  return {
    [constants.kernel]: constants.kernelTransposed ? transpose(kernel) : kernel,
    ...(constants.bias === undefined ? {} : { [constants.bias]: bias }),
    ...(bn === null || folds ? {} : batchNormValues(constants, bn)),
  };
}

function parameterValues({ constants, layer }: LiftedParameter, find: (name: string) => Layer): Values {
  const found = find(layer);
  if (constants.alpha !== undefined) return { [constants.alpha]: found.weights[0].read() };
  return batchNormValues(constants, found as BatchNormLayer);
}

function batchNormValues(constants: LiftedParameter['constants'], bn: BatchNormLayer): Values {
  if (constants.scale === undefined) {
    const { gamma, beta, mean, variance } = weightsOf(bn);
    const values = { gamma, beta, mean, variance };
    return Object.fromEntries(
      (['gamma', 'beta', 'mean', 'variance'] as const).map((name) => [constants[name], values[name]]),
    ) as Values;
  }
  const { scale, offset } = scaleAndOffset(bn);
  return { [constants.scale]: scale, [constants.offset as string]: constants.offsetNegated ? sub(0, offset) : offset };
}

/** s = γ / √(σ² + ε), and β − s·μ. */
export function scaleAndOffset(bn: BatchNormLayer): { scale: Tensor; offset: Tensor } {
  const weights = weightsOf(bn);
  const scale = channelScale(weights);
  const shift = mul(scale, mul(weights.mean, -1));
  return { scale, offset: weights.beta === null ? shift : add(weights.beta, shift) };
}

/** Reads the values off the backend, checks them, and hands them to the editor. */
async function write(editor: GraphEditor, part: LiftedProduct | LiftedParameter, compute: () => Values): Promise<void> {
  const values = tidy(compute);
  const computed = Object.values(values);
  const users = editor.nodesOf(part);
  try {
    for (const [name, value] of Object.entries(values)) {
      const data = await finiteValues(part.layer, value);
      const before = editor.constant(name);
      if (data.length !== before.values.length) {
        throw new TuneModeError(
          'unsupported',
          `toGraphModel: layer '${part.layer}' has a weight of shape [${value.shape.join(', ')}], and its constant ` +
            `'${name}' is [${before.shape.join(', ')}].`,
        );
      }
      editor.set(name, { ...before, values: data }, users, part.layer);
    }
  } finally {
    // Weights that were handed on as they are belong to the model.
    for (const tensor of computed) if (!(tensor instanceof Variable)) tensor.dispose();
  }
}
