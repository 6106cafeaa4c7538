/** Teachable Machine's metadata.json: what is read of it, and what is written. */
import { version_core } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { metadataOf } from '../adapters/picture-metadata';
import { TuneModeError } from '../src/errors';

/** The metadata.json of an image model, as `@teachablemachine/image` 0.8.5 reads it; it needs `labels` alone. */
export interface TeachableMetadata {
  labels: string[];
  /** Side of the square pictures that the model takes. */
  imageSize?: number;
  /** Whether the model takes grey pictures (one channel). */
  grayscale?: boolean;
  tfjsVersion?: string;
  tmVersion?: string;
  packageName?: string;
  packageVersion?: string;
  timeStamp?: string;
  modelName?: string;
  userMetadata?: object;
}

/** What a model takes and gives. */
export interface TeachableForm {
  labels: string[];
  imageSize: number;
  grayscale: boolean;
}

/** As in `@teachablemachine/image`. */
const DEFAULT_SIZE = 224;

/**
 * What a model and its metadata say together; of the picture's size the model knows best.
 * @param file names the metadata in messages.
 * @throws TuneModeError `invalid-model-file` where they do not fit each other or a Teachable Machine image model.
 */
export function formOf(model: LayersModel, metadata: TeachableMetadata, file: string): TeachableForm {
  const { labels, imageSize } = metadataOf({ ...metadata }, undefined, file);
  const fail = (problem: string) => {
    throw new TuneModeError('invalid-model-file', `'${file}': ${problem}.`);
  };
  if (labels === undefined)
    return fail("there are no 'labels'. Expected the metadata.json of a Teachable Machine model");
  const input = model.inputs[0].shape;
  const output = model.outputs[0].shape;
  const [height, width, channels] = input.slice(1);
  const isForPictures = input.length === 4 && height === width && (channels === 3 || channels === 1);
  if (model.inputs.length !== 1 || model.outputs.length !== 1 || !isForPictures || output.length !== 2) {
    return fail(
      `the model '${model.name}' takes [${shown(input)}] and gives [${shown(output)}]. Expected an image model of ` +
        'Teachable Machine: [batch, size, size, 3] → [batch, classes]. loadLayers takes any model',
    );
  }
  if (labels.length !== output[1]) {
    return fail(`there are ${labels.length} labels, but the model gives ${output[1]} classes`);
  }
  return { labels: [...labels], imageSize: height ?? imageSize?.[0] ?? DEFAULT_SIZE, grayscale: channels === 1 };
}

function shown(shape: readonly (number | null)[]): string {
  return shape.map((size) => size ?? 'any').join(', ');
}

/** What the saved model's metadata.json holds: all that was there before, and what has changed. */
export function savedMetadata(
  before: TeachableMetadata,
  { labels, imageSize, grayscale }: TeachableForm,
): TeachableMetadata {
  return {
    ...before,
    tfjsVersion: version_core,
    // By this name readers know in what range the pictures are.
    packageName: before.packageName ?? '@teachablemachine/image',
    timeStamp: new Date().toISOString(),
    modelName: before.modelName ?? 'untitled',
    userMetadata: before.userMetadata ?? {},
    labels: [...labels],
    imageSize,
    ...(grayscale ? { grayscale } : {}),
  };
}
