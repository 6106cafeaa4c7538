/** Files that Keras writes and reads: `.h5`, `.keras`, `.weights.h5`. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { util } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../../src/errors';
import { H5File } from './h5-file';
import { parseJson } from './json';
import { matchLegacy, readLegacy } from './legacy';
import type { ModelWeight } from './model-parts';
import { sniffKeras } from './sniff';
import { BEST_RATIO, type StoredWeight } from './stored-weight';
import { isV3, matchV3, readV3, type V3Node } from './v3';
import { type KerasZip, readKerasZip, removeUnpacked } from './zip';

export { sniffKeras } from './sniff';
export type { StoredWeight } from './stored-weight';
export { kerasLayersOf, writeKerasH5 } from './write';

export interface KerasFile {
  format: 'keras-h5' | 'keras-weights' | 'keras-zip';
  /** As it is named in messages. */
  place: string;
  /** The parsed model_config or config.json; `undefined` for files that hold weights only. */
  config: unknown | undefined;
  kerasVersion: string | undefined;
  /** Of the file on disk. */
  bytes: number;
  /** How many values its weights have together. */
  values: number;
  /** The weights under the names that they have in tfjs; undefined where the file has none, but positions. */
  rawWeights: StoredWeight[] | undefined;
  /** For each of `model.weights` the stored weight that belongs to it. @throws TuneModeError `invalid-model-file`. */
  match(model: LayersModel): StoredWeight[];
  /** Ends reading and removes temporary files; again does nothing. */
  close(): Promise<void>;
}

/**
 * Opens a Keras file and reads its structure; weights are read one by one, when they are asked for.
 * @throws TuneModeError `not-found`, `invalid-model-file`.
 */
export async function openKeras(file: string): Promise<KerasFile> {
  const kind = await sniffKeras(file);
  if (kind === undefined) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${file}' is no Keras file: expected HDF5 (.h5) or a zip (.keras) by its first bytes.`,
    );
  }
  const { size: bytes } = await fs.stat(file);
  return kind === 'hdf5' ? openH5(file, bytes) : openZip(file, bytes);
}

type Match = (model: LayersModel) => Map<ModelWeight, StoredWeight>;

async function openH5(file: string, bytes: number): Promise<KerasFile> {
  const h5 = await H5File.open(path.resolve(file), file);
  const close = () => h5.close();
  try {
    const configText = h5.texts('', 'model_config')?.[0];
    const config = configText === undefined ? undefined : parseJson(configText, file, "attribute 'model_config'");
    const isWhole = h5.find('model_weights') !== undefined;
    const root = isWhole ? 'model_weights' : '';
    const textOf = (name: string) => h5.texts('', name)?.[0] ?? (isWhole ? h5.texts(root, name)?.[0] : undefined);
    const kerasVersion = textOf('keras_version');
    let match: Match;
    let weights: StoredWeight[];
    let rawWeights: StoredWeight[] | undefined;
    if (!isWhole && isV3(h5)) ({ match, weights } = matcherOfV3(file, h5, config));
    else {
      const layers = readLegacy(h5, root);
      weights = layers.flatMap((layer) => layer.weights);
      checkTotal(h5, weights);
      checkBackend(file, textOf('backend'), weights);
      match = (model) => matchLegacy(file, layers, model);
      rawWeights = weights.map((weight) => ({ ...weight, name: weight.name.replace(/:\d+$/, '') }));
    }
    const values = valuesOf(weights);
    const format = isWhole || config !== undefined ? 'keras-h5' : 'keras-weights';
    return { format, place: file, config, kerasVersion, bytes, values, rawWeights, match: inOrder(file, match), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openZip(file: string, bytes: number): Promise<KerasFile> {
  const zip = await readKerasZip(file);
  let h5: H5File | undefined;
  const close = async () => {
    await h5?.close();
    await removeUnpacked(zip.folder);
  };
  try {
    const config = parseJson(zip.config, file, "entry 'config.json'");
    const kerasVersion = versionOf(zip, file);
    if ((await sniffKeras(zip.weights)) !== 'hdf5') {
      throw new TuneModeError('invalid-model-file', `'${file}': its entry 'model.weights.h5' is no HDF5 file.`);
    }
    h5 = await H5File.open(zip.weights, file);
    const { match, weights } = matcherOfV3(file, h5, config);
    return {
      format: 'keras-zip',
      place: file,
      config,
      kerasVersion,
      bytes,
      values: valuesOf(weights),
      rawWeights: undefined,
      match: inOrder(file, match),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function versionOf(zip: KerasZip, file: string): string | undefined {
  if (zip.metadata === undefined) return undefined;
  const metadata = parseJson(zip.metadata, file, "entry 'metadata.json'") as { keras_version?: unknown } | null;
  return typeof metadata?.keras_version === 'string' ? metadata.keras_version : undefined;
}

function matcherOfV3(file: string, h5: H5File, config: unknown): { match: Match; weights: StoredWeight[] } {
  const root = readV3(h5);
  const weights = weightsIn(root);
  checkTotal(h5, weights);
  return { match: (model) => matchV3(file, root, model, config), weights };
}

function valuesOf(weights: readonly StoredWeight[]): number {
  return weights.reduce((sum, { shape }) => sum + util.sizeFromShape(shape), 0);
}

function weightsIn({ weights, slots, items }: V3Node): StoredWeight[] {
  return [...weights, ...[...slots.values(), ...items.values()].flatMap(weightsIn)];
}

/** Theano's convolutions turn the kernels that they take; Keras keeps them so in its files, and says it there only. */
function checkBackend(file: string, backend: string | undefined, weights: StoredWeight[]): void {
  if (backend !== 'theano' || weights.every(({ shape }) => shape.length < 3)) return;
  throw new TuneModeError(
    'unsupported',
    `'${file}' was saved by Keras with the Theano backend, whose kernels are turned by half a turn. ` +
      'Load it in Keras 2 with the TensorFlow backend, and save it again.',
  );
}

/** Each weight by itself may be as large as its file allows; all together not either. */
function checkTotal(h5: H5File, weights: StoredWeight[]): void {
  const plain = weights.filter(({ isCompressed }) => !isCompressed).reduce((sum, { bytes }) => sum + bytes, 0);
  const total = weights.reduce((sum, { bytes }) => sum + bytes, 0);
  if (plain <= h5.bytes && total <= h5.bytes * BEST_RATIO) return;
  throw h5.damaged(`its weights claim ${total} bytes, a file of ${h5.bytes} bytes cannot hold them`);
}

function inOrder(file: string, match: Match): KerasFile['match'] {
  return (model) => {
    const matched = match(model);
    return (model.weights as unknown as ModelWeight[]).map((weight) => {
      const stored = matched.get(weight);
      if (stored !== undefined) return stored;
      throw new TuneModeError(
        'invalid-model-file',
        `'${file}': nothing in it belongs to the model's weight '${weight.originalName}', whose layer this package does not know.`,
      );
    });
  };
}
