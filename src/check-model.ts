/** Whether an argument is a model that can be worked on. */
import { type LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { TuneModeError } from './errors';
import { isModel, type Layer } from './internals';

/**
 * @throws TuneModeError `not-a-layers-model`, `model-not-built`, `model-disposed`.
 */
export function checkModel(where: string, model: LayersModel): void {
  const found = model as unknown;
  if (found === null || typeof found !== 'object') {
    throw new TuneModeError(
      'not-a-layers-model',
      `${where}: expected a tfjs-layers LayersModel, found ${found === null ? 'null' : typeof found}.${
        typeof found === 'string' ? ' Load it first: await tf.loadLayersModel(…).' : ''
      }`,
    );
  }
  if (!isModel(model as unknown as Layer)) {
    const isPromise = typeof (found as Promise<unknown>).then === 'function';
    const isGraph = ['executeAsync', 'executor', 'modelUrl'].some((name) => name in found);
    const hint = isPromise
      ? "a Promise: write 'await tf.loadLayersModel(…)'"
      : isGraph
        ? 'a GraphModel, which tfjs can only run, not train: load a layers model with tf.loadLayersModel'
        : `an object of class ${found.constructor?.name ?? 'unknown'}`;
    throw new TuneModeError('not-a-layers-model', `${where}: expected a tfjs-layers LayersModel, found ${hint}.`);
  }
  if (model.outputs.length === 0 || model.inputs.length === 0) {
    throw new TuneModeError(
      'model-not-built',
      `${where}: the model '${model.name}' has no inputs or outputs yet. Add layers, the first one with an inputShape.`,
    );
  }
  if (!(model.outputs[0] instanceof SymbolicTensor)) {
    throw new TuneModeError(
      'not-a-layers-model',
      `${where}: the model '${model.name}' was made by another copy of @tensorflow/tfjs-layers than the one this package uses. Keep a single copy ('npm ls @tensorflow/tfjs-layers').`,
    );
  }
  const disposed = model.layers.find((layer) => (layer as unknown as { _refCount: number | null })._refCount === 0);
  if (disposed !== undefined) {
    throw new TuneModeError(
      'model-disposed',
      `${where}: the layer '${disposed.name}' of '${model.name}' has been disposed.`,
    );
  }
}
