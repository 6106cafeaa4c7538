/** Opens a saved model of any format, told by its content. */
import fs from 'node:fs/promises';
import { io, serialization, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { liftGraph } from '../graph-model/lift';
import type { LiftedModel } from '../graph-model/lifted';
import { readGraph } from '../graph-model/read';
import { type KerasFile, openKeras, sniffKeras } from '../keras/files';
import { mapTopology } from '../keras/topology';
import { disposeWeights } from '../layers-model';
import { parseModelJson } from '../model-json';
import { statOrUndefined, toFilePath } from '../node/model-path';
import { findModelJson, readModel } from '../node/model-reader';
import { readJsonText } from '../node/read-text';
import { weightsByName } from '../node/shard-reader';
import { checkManifest, storedBytes } from '../node/weights-manifest';
import { buildEmpty } from './build';
import { fill } from './fill';
import { checkGraphSizes } from './graph-sizes';
import { matchByName } from './match';
import type { GraphFileSource, LayersSource, ModelFormat, Source } from './source';
import { readFinite, type StoredWeight } from './stored-weight';

export interface OpenOptions {
  /** Where the topology of a file with weights alone is: a model.json, a config.json or a whole Keras file. */
  topology?: string;
  /** Keeps layers and arguments that tfjs-layers does not know. */
  allowCustom?: boolean;
  /** The weights of a layers model are not asked for, and need not be there. */
  withoutWeights?: boolean;
}

/** A model without weights may be built for as many values as this: 2 GiB. */
const MOST_VALUES = 2 ** 29;

/** @throws TuneModeError `not-found`, `invalid-model-file`, `unsupported`. */
export async function openSource(given: string, options: OpenOptions = {}): Promise<Source> {
  const file = await fileOf(given);
  if ((await sniffKeras(file)) !== undefined) return openKerasSource(file, options);
  if (options.topology !== undefined) {
    throw new TuneModeError(
      'invalid-option',
      `'${file}' has a topology of its own; 'topology' is for Keras files that hold weights alone.`,
    );
  }
  const text = await readJsonText(file);
  if (!/^\uFEFF?\s*\{/.test(text) && text.trim() !== '') {
    throw new TuneModeError(
      'invalid-model-file',
      `'${file}' is no model that can be read here. Expected a tfjs model.json or its folder, or a Keras .h5 or .keras file.`,
    );
  }
  const json = parseModelJson(text, file);
  const isGraph = json.format === 'graph-model' || 'node' in json.modelTopology;
  return isGraph ? openGraph(file, json) : openLayers(file, json, options);
}

/** What a path holds. @throws TuneModeError `not-found`, `invalid-model-file`. */
export async function detectFormat(given: string): Promise<ModelFormat> {
  const source = await openSource(given, { allowCustom: true, withoutWeights: true }).catch((error) => {
    if (error instanceof NoTopology) return undefined;
    throw error;
  });
  await source?.close();
  return source?.format ?? 'keras-weights';
}

/** @throws TuneModeError `not-found`. */
async function fileOf(given: string): Promise<string> {
  const place = toFilePath(given);
  const found = await statOrUndefined(place);
  if (found?.isFile()) return place;
  if (found !== undefined && !found.isDirectory()) {
    throw new TuneModeError('invalid-model-file', `'${place}' is neither a file nor a folder.`);
  }
  if (found === undefined) {
    throw new TuneModeError(
      'not-found',
      `There is no '${place}'. Expected a model.json or its folder, or a Keras .h5 or .keras file.`,
    );
  }
  return findModelJson(place);
}

async function openLayers(file: string, json: io.ModelJSON, options: OpenOptions): Promise<LayersSource> {
  const raw = json.modelTopology as Record<string, unknown>;
  const version = typeof raw.keras_version === 'string' ? raw.keras_version : undefined;
  const { topology, notes } = mapTopology(file, raw, version, { allowCustom: options.allowCustom === true });
  const groups = checkManifest(json.weightsManifest ?? [], file);
  const specs = groups.flatMap(({ weights }) => weights);
  const hasOptimizer = specs.some(({ group }) => group === 'optimizer');
  const stored =
    json.weightsManifest == null || options.withoutWeights === true ? undefined : await weightsByName(groups, file);
  if (stored === undefined && options.withoutWeights !== true) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${file}' has no weights ('weightsManifest' is missing). Expected a saved model with its weights.`,
    );
  }
  return {
    kind: 'layers',
    format: 'tfjs-layers',
    place: file,
    producer: producerOf(version, json.generatedBy),
    bytes: (await fs.stat(file)).size + (storedBytes(specs) ?? 0),
    userDefinedMetadata: json.userDefinedMetadata as object | undefined,
    topology,
    trainingConfig: json.trainingConfig,
    notes: hasOptimizer ? [...notes, 'The state of its optimizer is left out: training starts with a new one.'] : notes,
    ...building(file, topology, valuesOf(stored), (model) => matchByName(file, model, stored ?? [])),
    rawWeights: stored,
    close: async () => {},
  };
}

async function openKerasSource(file: string, options: OpenOptions): Promise<LayersSource> {
  const keras = await openKeras(file);
  try {
    const { config, version, place } = await configOf(keras, options.topology);
    const { topology, notes } = mapTopology(place, config, version, { allowCustom: options.allowCustom === true });
    return {
      kind: 'layers',
      format: keras.format,
      place: file,
      producer: producerOf(version, undefined),
      bytes: keras.bytes,
      userDefinedMetadata: undefined,
      topology,
      notes,
      // Compressed weights may hold more values than the file has bytes: the reader has checked by how much.
      ...building(file, topology, keras.values, (model) => keras.match(model)),
      rawWeights: keras.rawWeights,
      close: () => keras.close(),
    };
  } catch (error) {
    await keras.close();
    throw error;
  }
}

/** How a model comes out of a topology, and its weights into it. */
function building(
  file: string,
  topology: object,
  values: number,
  match: LayersSource['match'],
): Pick<LayersSource, 'build' | 'load' | 'match' | 'hasCustom'> {
  const build = () => buildEmpty(file, topology, values);
  return {
    build,
    load: async (reading, signal) => {
      const model = await build();
      return fill(file, model, () => match(model), reading, signal);
    },
    match,
    hasCustom: hasUnknownClasses(topology),
  };
}

/** Thrown where a file has weights alone; its own class, as detecting the format is no error then. */
class NoTopology extends TuneModeError {}

async function configOf(keras: KerasFile, topology: string | undefined) {
  if (keras.config !== undefined) {
    if (topology === undefined) return { config: keras.config, version: keras.kerasVersion, place: keras.place };
    throw new TuneModeError(
      'invalid-option',
      `'${keras.place}' has a topology of its own; 'topology' is for Keras files that hold weights alone.`,
    );
  }
  if (topology === undefined) {
    throw new NoTopology(
      'invalid-model-file',
      `'${keras.place}' holds weights alone. Name the file that has the model's topology with --topology: a model.json, ` +
        'what model.to_json() of Keras gives, or a whole Keras file.',
    );
  }
  return { ...(await readTopology(topology)), version: keras.kerasVersion };
}

async function readTopology(given: string): Promise<{ config: unknown; place: string }> {
  const file = await fileOf(given);
  if ((await sniffKeras(file)) !== undefined) {
    const other = await openKeras(file);
    await other.close();
    if (other.config !== undefined) return { config: other.config, place: file };
    throw new TuneModeError('invalid-model-file', `'${file}', given as topology, holds weights alone.`);
  }
  const text = await readJsonText(file);
  // Keras's to_json() is the topology itself.
  const json = parseModelJson(text, file, false) as unknown as Record<string, unknown>;
  return { config: json.modelTopology ?? json, place: file };
}

async function openGraph(file: string, json: io.ModelJSON): Promise<GraphFileSource> {
  checkManifest(json.weightsManifest ?? [], file);
  if (json.weightsManifest == null) {
    throw new TuneModeError('invalid-model-file', `'${file}' has no weights ('weightsManifest' is missing).`);
  }
  const artifacts = await readModel(file);
  checkSignature(
    file,
    artifacts.signature ?? (json.userDefinedMetadata as { signature?: unknown } | undefined)?.signature,
  );
  const { weightData } = artifacts;
  return {
    kind: 'graph',
    format: 'tfjs-graph',
    place: file,
    producer: typeof json.convertedBy === 'string' ? json.convertedBy : null,
    bytes: (await fs.stat(file)).size + (weightData as ArrayBuffer).byteLength,
    userDefinedMetadata: json.userDefinedMetadata as object | undefined,
    artifacts,
    lift: () => lift(file, artifacts),
    close: async () => {},
  };
}

/** tfjs takes what it says of inputs and outputs as it is. */
function checkSignature(file: string, signature: unknown): void {
  if (signature === undefined || signature === null) return;
  const { inputs = {}, outputs = {} } = signature as { inputs?: unknown; outputs?: unknown };
  const problem = [inputs, outputs]
    .flatMap((ends): unknown[] => (ends !== null && typeof ends === 'object' ? Object.values(ends) : [undefined]))
    .some((end) => typeof (end as { name?: unknown } | null | undefined)?.name !== 'string');
  if (!problem) return;
  throw new TuneModeError(
    'invalid-model-file',
    `'${file}': its 'signature' is damaged: 'inputs' and 'outputs' must each have the names of tensors.`,
  );
}

/** @throws TuneModeError naming the file. */
async function lift(file: string, artifacts: io.ModelArtifacts): Promise<LiftedModel> {
  let lifted: LiftedModel | undefined;
  try {
    const graph = await readGraph(`'${file}'`, io.fromMemory(artifacts));
    checkGraphSizes(file, graph);
    lifted = liftGraph(graph);
    for (const weight of new Set(lifted.model.weights)) {
      const { originalName: name, shape } = weight;
      const read = () => weight.read().data() as Promise<Float32Array>;
      await readFinite(file, { name, shape: shape as number[], dtype: 'float32', storedAs: 'float32', bytes: 0, read });
    }
    return lifted;
  } catch (error) {
    if (lifted !== undefined) disposeWeights(lifted.model);
    if (!(error instanceof TuneModeError) || error.message.includes(file)) throw error;
    throw new TuneModeError(error.code, `'${file}': ${error.message}`, { cause: error });
  }
}

function valuesOf(stored: readonly StoredWeight[] | undefined): number {
  return stored?.reduce((sum, { shape }) => sum + util.sizeFromShape(shape), 0) ?? MOST_VALUES;
}

function producerOf(version: string | undefined, generatedBy: unknown): string | null {
  if (version !== undefined) return /^\d/.test(version) ? `Keras ${version}` : version;
  return typeof generatedBy === 'string' ? generatedBy : null;
}

/** Whether tfjs-layers has no class for one of the layers. */
function hasUnknownClasses(topology: unknown): boolean {
  const known = serialization.SerializationMap.getMap().classNameMap;
  const visit = (value: unknown): boolean => {
    if (value === null || typeof value !== 'object') return false;
    if (Array.isArray(value)) return value.some(visit);
    const { class_name: name, config } = value as {
      class_name?: unknown;
      config?: { layers?: unknown; layer?: unknown };
    };
    if (typeof name === 'string' && !(name in known)) return true;
    return visit(config?.layers) || visit(config?.layer);
  };
  return visit(topology);
}
