/**
 * What a model's pictures must look like, and what its outputs mean: `metadata.json` beside `model.json`, in the form in
 * which Teachable Machine exports it (`labels`, `imageSize`), so that its library reads what we write.
 */
import path from 'node:path';
import { version_core } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { version } from '../../package.json';
import { type ModelMetadata, metadataOf, parseMetadata } from '../picture-metadata';
import { modelJsonOf } from './model-path';
import { readJsonText } from './read-text';

export type { ModelMetadata } from '../picture-metadata';

/**
 * Reads `metadata.json`; what it leaves open, the model's user-defined metadata (`classNames` or `labels`, `imageSize`,
 * `inputRange`) may say. Empty where there is neither.
 * @throws TuneModeError `invalid-model-file` for a metadata.json that is no JSON, or whose labels are no list of names.
 */
export async function readMetadata(place: string, model: LayersModel): Promise<ModelMetadata> {
  return readMetadataBeside(await modelJsonOf(place), model.getUserDefinedMetadata());
}

/** The same for a model.json whose user-defined metadata are known. */
export async function readMetadataBeside(modelJson: string, userDefined: object | undefined): Promise<ModelMetadata> {
  const file = path.join(path.dirname(modelJson), 'metadata.json');
  return metadataOf(await readJson(file), userDefined, file);
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
  const text = await readJsonText(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? undefined : parseMetadata(text, file);
}
