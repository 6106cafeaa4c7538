/** What a model's pictures must look like and what its outputs mean, from a `metadata.json` or the model's own metadata. */
import { TuneModeError } from '../src/errors';

export interface ModelMetadata {
  /** Class names in the order of the outputs. */
  labels?: string[];
  /** [height, width] in pixels. */
  imageSize?: [height: number, width: number];
  /** What black and white are. */
  inputRange?: [black: number, white: number];
}

/** What Teachable Machine's image models are trained with. */
const TEACHABLE_MACHINE_RANGE: [number, number] = [-1, 1];

/**
 * The content of a `metadata.json`.
 * @throws TuneModeError `invalid-model-file`.
 */
export function parseMetadata(text: string, file: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text.replace(/^\uFEFF/, ''))) as Record<string, unknown>;
  } catch (error) {
    throw new TuneModeError('invalid-model-file', `'${file}' is not valid JSON.`, { cause: error });
  }
}

/**
 * @param found the content of a `metadata.json`, if there is one.
 * @param userDefined the model's user-defined metadata, which may say what `found` leaves open.
 * @param file names the `metadata.json` in messages.
 * @throws TuneModeError `invalid-model-file` for labels that are no list of names.
 */
export function metadataOf(
  found: Record<string, unknown> | undefined,
  userDefined: object | undefined,
  file: string,
): ModelMetadata {
  const own = (userDefined ?? {}) as Record<string, unknown>;
  const userMetadata = (found?.userMetadata ?? {}) as Record<string, unknown>;
  const isTeachable = typeof found?.packageName === 'string' && found.packageName.startsWith('@teachablemachine/');
  const labels = found?.labels ?? own.labels ?? own.classNames;
  if (labels !== undefined && !(Array.isArray(labels) && labels.every((label) => typeof label === 'string'))) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${file}': 'labels' must be a list of names, found ${JSON.stringify(labels).slice(0, 80)}.`,
    );
  }
  return {
    labels: labels as string[] | undefined,
    imageSize: asPair(userMetadata.imageSize ?? found?.imageSize ?? own.imageSize),
    inputRange:
      asPair(userMetadata.inputRange ?? own.inputRange) ?? (isTeachable ? TEACHABLE_MACHINE_RANGE : undefined),
  };
}

/** Two finite numbers, or one for both. */
function asPair(value: unknown): [number, number] | undefined {
  if (typeof value === 'number' && Number.isFinite(value)) return [value, value];
  const isPair = Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
  return isPair ? (value as [number, number]) : undefined;
}
