/** A saved model, layers or graph, whole or only its structure, with readable refusals of everything else. */
import { io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { inputRangeOf } from '../graph-model/input-range';
import { liftGraph } from '../graph-model/lift';
import type { LiftedModel } from '../graph-model/lifted';
import { readGraph } from '../graph-model/read';
import { buildLayersModel, checkFinite, checkFormat } from '../layers-model';
import { type ModelMetadata, readMetadata } from './metadata';
import { toFilePath } from './model-path';
import { readModel, readModelJson } from './model-reader';

export interface LoadedModel {
  model: LayersModel;
  /** Of a GraphModel: what it was lifted from, its BatchNorms not restored; else null. */
  lifted: LiftedModel | null;
  /** What the files say of labels, picture size and input range. */
  metadata: ModelMetadata;
}

/**
 * Loads a model from a folder, or its model.json, and what is known about its pictures. A GraphModel is lifted.
 * @throws TuneModeError `not-found`, `invalid-model-file` (also for weights that are no finite numbers); `unsupported` for
 * a GraphModel that cannot be lifted.
 */
export async function loadModel(path: string): Promise<LoadedModel> {
  const place = toFilePath(path);
  const artifacts = await readModel(place);
  if (artifacts.weightData === undefined) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}' has no weights ('weightsManifest' is missing). Expected a saved model with its weights.`,
    );
  }
  const lifted = isGraph(artifacts) ? liftGraph(await readGraph(place, io.fromMemory(artifacts))) : null;
  const model = lifted?.model ?? (await buildLayersModel(place, artifacts));
  try {
    await checkFinite(place, model);
    const metadata = await readMetadata(place, model);
    if (lifted !== null) metadata.inputRange ??= inputRangeOf(model);
    return { model, lifted, metadata };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function isGraph({ format, modelTopology }: { format?: string; modelTopology?: object | ArrayBuffer }): boolean {
  return format === 'graph-model' || (modelTopology !== undefined && 'node' in modelTopology);
}

/**
 * Builds the model that a folder, or a model.json, describes. Its weights are not read, and need not be there.
 * @throws TuneModeError `not-found`, `invalid-model-file`; `not-a-layers-model` for a GraphModel.
 */
export async function loadTopology(path: string): Promise<LayersModel> {
  const place = toFilePath(path);
  const { modelTopology, format } = await readModelJson(place);
  checkFormat(place, modelTopology, format);
  return buildLayersModel(place, { modelTopology });
}

/** Whether a folder, or a model.json, holds a GraphModel. @throws TuneModeError `not-found`, `invalid-model-file`. */
export async function isGraphModelAt(path: string): Promise<boolean> {
  return isGraph(await readModelJson(toFilePath(path)));
}
