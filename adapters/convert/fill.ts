/** Gives a model the weights of a file, one at a time, so that never more than one is in memory twice. */

import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { disposeWeights } from '../layers-model';
import { shown } from './failures';
import type { Reading } from './source';
import { readFinite, type StoredWeight } from './stored-weight';

/**
 * @param match says which weight is which, once the model is there.
 * @returns the model; where anything fails it is disposed.
 */
export async function fill(
  place: string,
  model: LayersModel,
  match: () => readonly StoredWeight[],
  reading?: Reading,
  signal?: AbortSignal,
): Promise<LayersModel> {
  try {
    const stored = match();
    for (const [index, variable] of model.weights.entries()) {
      signal?.throwIfAborted();
      const weight = stored[index];
      const values = await readFinite(place, weight);
      const { dtype } = variable.read();
      if (dtype !== weight.dtype) {
        throw new TuneModeError(
          'invalid-model-file',
          `'${place}': the weight '${shown(weight.name)}' is of dtype ${weight.dtype}, and its layer needs ${dtype}.`,
        );
      }
      const read: Tensor = tensor(values, weight.shape, weight.dtype);
      variable.write(read);
      read.dispose();
      reading?.(index + 1, model.weights.length);
    }
    return model;
  } catch (error) {
    disposeWeights(model);
    throw error;
  }
}
