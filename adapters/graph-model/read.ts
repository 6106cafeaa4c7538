/** Where a graph comes from: a GraphModel that is loaded already, an IOHandler, or a URL. */

import type { GraphModel } from '@tensorflow/tfjs-converter';
import { dispose, io, type NamedTensorMap, type Tensor, type TypedArray, tidy } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { bytesNeeded, specProblem } from '../weight-specs';
import { type Constant, type Graph, makeGraph } from './graph';

/** A graph, wherever it is. */
export type GraphSource = GraphModel | io.IOHandler | string;

/** Of a GraphModel, what tfjs-converter 4.22.0 keeps private. */
interface Loaded {
  artifacts?: io.ModelArtifacts;
  weights: Record<string, Tensor[]>;
}

/**
 * @throws TuneModeError `not-a-graph-model`, `invalid-model-file`; what the IOHandler throws.
 */
export async function readGraph(where: string, source: GraphSource): Promise<Graph> {
  if (isGraphModel(source)) {
    const loaded = source as unknown as Loaded;
    const { artifacts } = loaded;
    if (artifacts === undefined) {
      throw new TuneModeError('not-a-graph-model', `${where}: this GraphModel is not loaded. Call its load() first.`);
    }
    const tensors = Object.fromEntries(Object.entries(loaded.weights).map(([name, [tensor]]) => [name, tensor]));
    if (Object.values(tensors).some(({ isDisposed }) => isDisposed)) {
      throw new TuneModeError(
        'model-disposed',
        `${where}: the weights of this GraphModel have been disposed. Load it anew.`,
      );
    }
    return makeGraph(withoutWeights(artifacts), await constantsOf(tensors, artifacts.weightSpecs ?? []));
  }
  const artifacts = await handlerOf(where, source).load?.();
  checkArtifacts(where, artifacts);
  const specs = artifacts.weightSpecs ?? [];
  const tensors = decode(where, artifacts, specs);
  try {
    return makeGraph(withoutWeights(artifacts), await constantsOf(tensors, specs));
  } finally {
    dispose(tensors);
  }
}

export function isGraphModel(source: unknown): source is GraphModel {
  return typeof source === 'object' && source !== null && 'executeAsync' in source && 'modelSignature' in source;
}

function handlerOf(where: string, source: unknown): io.IOHandler {
  if (typeof source === 'string') {
    const handlers = io.getLoadHandlers(source);
    if (handlers.length === 1) return handlers[0];
    throw new TuneModeError(
      'invalid-option',
      `${where}: nothing can load '${source}'. Expected a URL (http, https, indexeddb, localstorage), a GraphModel or ` +
        "an IOHandler; for a path use fileIO(path) of 'tfjs-tune-mode/node'.",
    );
  }
  if (typeof source === 'object' && source !== null && typeof (source as io.IOHandler).load === 'function') {
    return source as io.IOHandler;
  }
  throw new TuneModeError(
    'not-a-graph-model',
    `${where}: expected a GraphModel, an IOHandler or a URL, found ${source === null ? 'null' : typeof source}.`,
  );
}

function checkArtifacts(where: string, artifacts: unknown): asserts artifacts is io.ModelArtifacts {
  const topology = (artifacts as io.ModelArtifacts | undefined)?.modelTopology;
  if (topology === undefined || topology === null || typeof topology !== 'object') {
    throw new TuneModeError('invalid-model-file', `${where}: the model has no 'modelTopology'.`);
  }
  if ('model_config' in topology || 'config' in topology) {
    throw new TuneModeError(
      'not-a-graph-model',
      `${where}: this is a layers model already. Load it with tf.loadLayersModel, and switch it with enableTuneMode.`,
    );
  }
}

function decode(where: string, { weightData }: io.ModelArtifacts, specs: io.WeightsManifestEntry[]): NamedTensorMap {
  for (const [i, spec] of specs.entries()) {
    const problem = specProblem(spec);
    const name = typeof spec?.name === 'string' ? `'${spec.name}'` : `number ${i}`;
    if (problem) throw new TuneModeError('invalid-model-file', `${where}: weight ${name}: ${problem}.`);
  }
  const found = bytesOf(weightData);
  const { bytes: expected, isExact } = bytesNeeded(specs);
  if (isExact ? found !== expected : found < expected) {
    throw new TuneModeError(
      'invalid-model-file',
      `${where}: the weights need ${expected} bytes, but ${found} were found: a weight file is ` +
        `${found < expected ? 'missing or cut off' : 'too long'}.`,
    );
  }
  if (weightData === undefined) return {};
  try {
    return tidy(() => io.decodeWeights(weightData, specs));
  } catch (error) {
    // Only strings can be found to be cut off this late: of all others the length is known.
    if (isExact) throw error;
    throw new TuneModeError('invalid-model-file', `${where}: the weights cannot be read: a weight file is cut off.`, {
      cause: error,
    });
  }
}

function bytesOf(data: io.WeightData | undefined): number {
  if (data === undefined) return 0;
  return Array.isArray(data) ? data.reduce((sum, { byteLength }) => sum + byteLength, 0) : data.byteLength;
}

async function constantsOf(
  tensors: Record<string, Tensor>,
  specs: readonly io.WeightsManifestEntry[],
): Promise<Map<string, Constant>> {
  const stored = new Map(specs.map((spec) => [spec.name, spec.quantization]));
  const constants = new Map<string, Constant>();
  for (const [name, tensor] of Object.entries(tensors)) {
    const values = (await tensor.data()) as TypedArray | string[];
    constants.set(name, {
      shape: tensor.shape,
      dtype: tensor.dtype,
      // A backend may hand out its own memory.
      values: values.slice() as typeof values,
      quantization: stored.get(name),
    });
  }
  return constants;
}

function withoutWeights(artifacts: io.ModelArtifacts): io.ModelArtifacts {
  const { weightData: _data, getWeightStream: _stream, ...rest } = artifacts;
  return rest;
}
