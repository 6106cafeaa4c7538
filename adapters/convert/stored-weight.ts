/** One weight of a saved model, not read yet. */
import type { TypedArray } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { indexOfNonFinite } from '../finite';
import { shown } from './failures';

export interface StoredWeight {
  name: string;
  shape: number[];
  /** As tfjs computes with it. */
  dtype: 'float32' | 'int32' | 'bool';
  /** As it is stored: `float16`, `uint8`, `float64` … */
  storedAs: string;
  /** Bytes that it takes in its file. */
  bytes: number;
  /** Reads this weight alone. */
  read(): Promise<TypedArray> | TypedArray;
}

/**
 * Reads a weight.
 * @throws TuneModeError `invalid-model-file` for numbers that no training would leave: the file is damaged.
 */
export async function readFinite(place: string, weight: StoredWeight): Promise<TypedArray> {
  const values = await weight.read();
  const bad = weight.dtype === 'float32' ? indexOfNonFinite(values) : -1;
  if (bad < 0) return values;
  throw new TuneModeError(
    'invalid-model-file',
    `'${place}': the weight '${shown(weight.name)}' has ${values[bad]} at position ${bad}. ` +
      'The weights are damaged, or their training diverged; copy the model again, or train it anew.',
  );
}
