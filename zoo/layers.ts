/** Any Keras layers model, put in Tune mode. */
import type { io, Variable } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildLayersModel, checkFinite, checkFormat } from '../adapters/layers-model';
import { concatenated } from '../adapters/node/shards';
import { type ModelMetadata, metadataOf, parseMetadata } from '../adapters/picture-metadata';
import { specProblem, storedBytes } from '../adapters/weight-specs';
import { TuneModeError } from '../src/errors';
import { enableTuneMode } from '../src/modes';
import type { TuneOptions } from '../src/options';
import type { TuneReport } from '../src/report';
import { checkLoadOptions, type LoadOptions } from './options';
import type { Platform } from './platform';
import { type ModelSource, type ResolvedSource, resolveSource } from './source';

export interface LayersOptions extends LoadOptions {
  /** Whether a weight too many or too few is an error. Default true. */
  strict?: boolean;
  /** Which blocks Tune mode pairs, as for `enableTuneMode`. */
  tune?: TuneOptions;
}

export interface LoadedLayers {
  /** In Tune mode. */
  model: LayersModel;
  /** What was paired, and every BatchNormalization that was left alone and why. */
  report: TuneReport;
  /** What a metadata.json beside a model on disk, or else the model's own metadata, says of its pictures. */
  metadata: ModelMetadata;
  /** Frees the model. */
  dispose(): void;
}

/** What the entries' `loadLayers` do. */
export async function loadLayersOn(
  platform: Platform,
  source: ModelSource,
  options: LayersOptions = {},
): Promise<LoadedLayers> {
  const where = 'loadLayers';
  checkLoadOptions(where, options, ['strict', 'tune']);
  const resolved = resolveSource(platform, { where, argument: 'urlOrHandler' }, source, options);
  const { model, report } = await loadTuned(where, resolved, options);
  try {
    const text = await resolved.local?.readBeside('metadata.json');
    const name = `metadata.json' beside '${resolved.name}`;
    const found = text === undefined ? undefined : parseMetadata(text, name);
    const metadata = metadataOf(found, model.getUserDefinedMetadata(), name);
    return { model, report, metadata, dispose: () => disposeModel(model) };
  } catch (error) {
    disposeModel(model);
    throw error;
  }
}

/**
 * Loads a layers model and puts it in Tune mode.
 * @throws TuneModeError as the entries' `loadLayers`; nothing is left over then.
 */
export async function loadTuned(
  where: string,
  { name, load }: ResolvedSource,
  { strict, tune }: Pick<LayersOptions, 'strict' | 'tune'>,
): Promise<{ model: LayersModel; report: TuneReport }> {
  const artifacts = await checkedArtifacts(where, name, await load());
  const model = await buildLayersModel(name, artifacts, strict);
  try {
    await checkFinite(name, model);
    return { model, report: enableTuneMode(model, tune) };
  } catch (error) {
    disposeModel(model);
    throw error;
  }
}

/** tfjs-layers takes weights in one piece only, and says little of what is wrong with them. */
async function checkedArtifacts(where: string, name: string, given: io.ModelArtifacts): Promise<io.ModelArtifacts> {
  const topology: unknown = given?.modelTopology;
  if (topology === undefined || topology === null || typeof topology !== 'object') {
    throw new TuneModeError('invalid-model-file', `${where}: ${name} gives no 'modelTopology'.`);
  }
  checkFormat(name, topology, given.format);
  const { weightSpecs = [], getWeightStream } = given;
  const stream = given.weightData === undefined ? await getWeightStream?.() : undefined;
  const data = stream === undefined ? given.weightData : await new Response(stream).arrayBuffer();
  if (data === undefined) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${name}' has no weights ('weightsManifest' is missing). Expected a saved model with its weights.`,
    );
  }
  for (const spec of weightSpecs) {
    const problem = specProblem(spec);
    if (problem) throw new TuneModeError('invalid-model-file', `'${name}': weight '${spec?.name}': ${problem}.`);
  }
  const weightData = Array.isArray(data) ? (concatenated(data).buffer as ArrayBuffer) : data;
  const expected = storedBytes(weightSpecs);
  if (expected !== undefined && expected !== weightData.byteLength) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${name}': the weights need ${expected} bytes, but ${weightData.byteLength} were found.`,
    );
  }
  return { ...given, weightSpecs, weightData, getWeightStream: undefined };
}

/**
 * Frees a model, its optimizer too; harmless where that has been done. tfjs-layers 4.22.0 counts who uses a layer, and
 * loses count of nested Sequentials: their weights stay behind.
 */
export function disposeModel(model: LayersModel): void {
  // Not `read`, which throws where the variable has been disposed.
  const variables = (model.weights as unknown as { val: Variable }[]).map(({ val }) => val);
  if (variables.some(({ isDisposed }) => !isDisposed)) model.dispose();
  // A second dispose of a variable would take its values from others that share them (tfjs-core 4.22.0).
  for (const variable of variables) if (!variable.isDisposed) variable.dispose();
}
