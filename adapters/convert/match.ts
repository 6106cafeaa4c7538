/** Which stored weight is which weight of a model, by the names that tfjs-layers gives them. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { shown } from './failures';
import type { StoredWeight } from './stored-weight';

const MOST_NAMED = 5;

/**
 * By the rules of tfjs-layers 4.22.0's `loadWeights` (the names agree, or do so once the name before the last one, an
 * RNN's cell in TensorFlow 2, is left out), and Keras 3's spelling.
 * @returns for each of `model.weights`, in their order.
 * @throws TuneModeError `invalid-model-file` naming every weight that is missing, too many, or of another shape.
 */
export function matchByName(place: string, model: LayersModel, stored: readonly StoredWeight[]): StoredWeight[] {
  const wanted = new Set(model.weights.map(({ originalName }) => originalName));
  const found = new Map<string, StoredWeight>();
  const problems: string[] = [];
  for (const weight of stored) {
    const name = spellings(weight.name).find((each) => wanted.has(each)) ?? weight.name;
    if (!wanted.has(name)) problems.push(`no layer takes '${shown(weight.name)}'`);
    else if (found.has(name)) problems.push(`'${shown(name)}' is there twice`);
    else found.set(name, weight);
  }
  const names = model.weights.map(({ originalName }) => originalName);
  const own = [...new Set(model.weights)].map(({ originalName }) => originalName); // a layer may stand in two models
  for (const name of own.filter((each, index) => own.indexOf(each) !== index)) {
    problems.push(`two layers have a weight named '${shown(name)}'`);
  }
  for (const { originalName, shape } of model.weights) {
    const weight = found.get(originalName);
    if (weight === undefined) problems.push(`'${shown(originalName)}' is missing`);
    else if (weight.shape.join() !== shape.join()) {
      problems.push(
        `'${shown(originalName)}' is [${weight.shape.join(', ')}], and its layer needs [${shape.join(', ')}]`,
      );
    }
  }
  if (problems.length > 0) throw mismatch(place, problems);
  return names.map((name) => found.get(name) as StoredWeight);
}

function spellings(name: string): string[] {
  const parts = name.split('/');
  const last = parts.at(-1) as string;
  return [
    name,
    [...parts.slice(0, -2), last].join('/'),
    // A DepthwiseConv2D's, in Keras 3.
    ...(last === 'kernel' ? [[...parts.slice(0, -1), 'depthwise_kernel'].join('/')] : []),
  ];
}

export function mismatch(place: string, problems: readonly string[]): TuneModeError {
  const more = problems.length > MOST_NAMED ? `; and ${problems.length - MOST_NAMED} more` : '';
  return new TuneModeError(
    'invalid-model-file',
    `'${place}': topology and weights disagree: ${problems.slice(0, MOST_NAMED).join('; ')}${more}.`,
  );
}
