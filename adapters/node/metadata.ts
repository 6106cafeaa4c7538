/**
 * What a model's pictures must look like, and what its outputs mean: `metadata.json` beside `model.json`, in the form in
 * which Teachable Machine exports it (`labels`, `imageSize`), so that its library reads what we write.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { version_core } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { version } from '../../package.json';
import { TuneModeError } from '../../src/errors';
import { modelJsonOf } from './model-path';

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
 * Reads `metadata.json`; what it leaves open, the model's user-defined metadata (`classNames` or `labels`, `imageSize`,
 * `inputRange`) may say. Empty where there is neither.
 * @throws TuneModeError `invalid-model-file` for a metadata.json that is no JSON, or whose labels are no list of names.
 */
export async function readMetadata(place: string, model: LayersModel): Promise<ModelMetadata> {
  const file = path.join(path.dirname(await modelJsonOf(place)), 'metadata.json');
  const found = await readJson(file);
  const userMetadata = (found?.userMetadata ?? {}) as Record<string, unknown>;
  const own = (model.getUserDefinedMetadata() ?? {}) as Record<string, unknown>;
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

/** The text of a `metadata.json`. */
export function metadataText(modelName: string, metadata: Required<ModelMetadata>): string {
  const { labels, imageSize, inputRange } = metadata;
  const [height, width] = imageSize;
  const content = {
    tfjsVersion: version_core,
    packageName: 'tfjs-tune-mode',
    packageVersion: version,
    timeStamp: new Date().toISOString(),
    modelName,
    labels,
    // Teachable Machine knows square pictures only.
    imageSize: height === width ? height : imageSize,
    userMetadata: { inputRange, imageSize },
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  const text = await fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    return Object(JSON.parse(text.replace(/^\uFEFF/, ''))) as Record<string, unknown>;
  } catch (error) {
    throw new TuneModeError('invalid-model-file', `'${file}' is not valid JSON.`, { cause: error });
  }
}

/** Two finite numbers, or one for both. */
function asPair(value: unknown): [number, number] | undefined {
  if (typeof value === 'number' && Number.isFinite(value)) return [value, value];
  const isPair = Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
  return isPair ? (value as [number, number]) : undefined;
}
