/** Models are saved as they were trained: a head on a frozen net leaves the whole net frozen in its file. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { isModel, type Layer, unwrapTimeDistributed } from '../../src/internals';

/** Lets every layer train, nested ones too. @returns how many with weights were frozen. */
export function thaw(model: LayersModel): number {
  let frozen = 0;
  for (const layer of model.layers as Layer[]) {
    const { layer: inner } = unwrapTimeDistributed(layer);
    if (!layer.trainable || !inner.trainable) {
      if (!isModel(inner) && layer.weights.length > 0) frozen++;
      layer.trainable = true;
      inner.trainable = true;
    }
    if (isModel(inner)) frozen += thaw(inner);
  }
  model.trainable = true;
  return frozen;
}
