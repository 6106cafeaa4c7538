/** All weights of a model as plain numbers, to be kept and put back. */
import { dispose, tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';

export type Snapshot = Float32Array[];

/** In the order of `model.weights`. A copy, whatever happens to the model later. */
export function takeSnapshot(model: LayersModel): Promise<Snapshot> {
  // The tensors are the variables' own, not to be disposed.
  return Promise.all(model.getWeights().map(async (weight) => (await weight.data()).slice() as Float32Array));
}

export function restoreSnapshot(model: LayersModel, snapshot: Snapshot): void {
  const weights = model.getWeights().map(({ shape }, index) => tensor(snapshot[index], shape, 'float32'));
  model.setWeights(weights);
  dispose(weights);
}

export async function hasFiniteWeights(model: LayersModel): Promise<boolean> {
  for (const weight of model.getWeights()) {
    if (!(await weight.data()).every(Number.isFinite)) return false;
  }
  return true;
}
