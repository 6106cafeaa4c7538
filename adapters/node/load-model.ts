/** A saved layers model, whole or only its structure, with readable refusals of everything else. */
import { io } from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { type ModelMetadata, readMetadata } from './metadata';
import { toFilePath } from './model-path';
import { readModel, readModelJson } from './model-reader';

const LONGEST_REASON = 300;

export interface LoadedModel {
  model: LayersModel;
  /** What the files say of labels, picture size and input range. */
  metadata: ModelMetadata;
}

/**
 * Loads a model from a folder, or its model.json, and what is known about its pictures.
 * @throws TuneModeError `not-found`, `invalid-model-file` (also for weights that are no finite numbers);
 * `not-a-layers-model` for a GraphModel.
 */
export async function loadModel(path: string): Promise<LoadedModel> {
  const place = toFilePath(path);
  const artifacts = await readModel(place);
  checkFormat(place, artifacts.modelTopology as object, artifacts.format);
  if (artifacts.weightData === undefined) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}' has no weights ('weightsManifest' is missing). Expected a saved model with its weights.`,
    );
  }
  const model = await build(place, artifacts.modelTopology as object, artifacts);
  try {
    await checkFinite(place, model);
    return { model, metadata: await readMetadata(place, model) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * Builds the model that a folder, or a model.json, describes. Its weights are not read, and need not be there.
 * @throws TuneModeError `not-found`, `invalid-model-file`; `not-a-layers-model` for a GraphModel.
 */
export async function loadTopology(path: string): Promise<LayersModel> {
  const place = toFilePath(path);
  const { modelTopology, format } = await readModelJson(place);
  checkFormat(place, modelTopology, format);
  return build(place, modelTopology, { modelTopology });
}

function checkFormat(place: string, topology: object, format: string | undefined): void {
  if (format === 'graph-model' || 'node' in topology) {
    throw new TuneModeError(
      'not-a-layers-model',
      `'${place}' is a GraphModel: tfjs can run it, not train it, and its BatchNorms are folded away. Expected a layers model.`,
    );
  }
}

async function build(place: string, topology: object, artifacts: io.ModelArtifacts): Promise<LayersModel> {
  try {
    return await loadLayersModel(io.fromMemory(artifacts));
  } catch (error) {
    const [line] = (error as Error).message.split('\n');
    const reason = line.length > LONGEST_REASON ? `${line.slice(0, LONGEST_REASON)}…` : line;
    const keras3 = /"(batch_shape|registered_name)"|"DTypePolicy"|"keras_version":"3/.test(JSON.stringify(topology));
    const hint = keras3 ? ' It looks like an export of Keras 3, which tfjs-layers 4.22.0 does not read.' : '';
    throw new TuneModeError(
      'invalid-model-file',
      `tfjs-layers cannot build the model in '${place}': ${reason}${hint}`,
      { cause: error },
    );
  }
}

/** A damaged weight file of the right length shows, if at all, in numbers that no training would leave. */
async function checkFinite(place: string, model: LayersModel): Promise<void> {
  for (const weight of model.weights) {
    const values = await weight.read().data();
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) {
      throw new TuneModeError(
        'invalid-model-file',
        `'${place}': the weight '${weight.originalName}' has ${values[bad]} at position ${bad}. ` +
          'The weight file is damaged; copy the model again.',
      );
    }
  }
}
