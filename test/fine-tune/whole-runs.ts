import { type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { weightValues } from '../helpers/models';
import { curve, disposeLayers, disposeToy, tinyNet, toy } from './toy';

export const BACKENDS = ['cpu', 'wasm'] as const;
export const GIVEN: FineTuneOptions = {
  epochs: 2,
  batchSize: 4,
  learningRate: 0.01,
  dropout: 0.2,
  labelSmoothing: 0.1,
  patience: 99,
  augment: true,
  seed: 1,
};
export const SMALL = { train: 10, val: 6, size: 8 };

/** A run on a net of its own: what came of it in plain numbers. Nothing is left of it. */
export async function once(options: FineTuneOptions, { size = SMALL, build = tinyNet } = {}) {
  const [source, data] = [build(), toy(size)];
  const result = await fineTune(source, data, { ...GIVEN, ...options });
  const weights = weightValues(result.model);
  disposeLayers(source, result.model);
  disposeToy(data);
  return { curve: curve(result), weights, result };
}
