import fs from 'node:fs/promises';
import path from 'node:path';
import { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { parseModelJson } from '../model-json';
import { modelJsonOf, statOrUndefined } from './model-path';
import { readJsonText } from './read-text';
import { bytesNeeded, checkManifest } from './weights-manifest';

/** How often a model that is being replaced while it is read is read anew. */
const ATTEMPTS = 5;

/**
 * Reads model.json and the weight files that it names.
 *
 * Quantised weights are handed on as they are, with their specs: tfjs decodes them. A model.json without
 * `weightsManifest` gives the topology alone.
 * @throws TuneModeError `not-found`, `invalid-model-file`.
 */
export async function readModel(place: string): Promise<io.ModelArtifacts> {
  const file = await findModelJson(place);
  for (let attempt = 1; ; attempt++) {
    const text = await readJsonText(file);
    try {
      const json = parseModelJson(text, file);
      const weights = json.weightsManifest == null ? undefined : await readWeights(json.weightsManifest, file);
      return io.getModelArtifactsForJSON(json, async () => weights!);
    } catch (error) {
      // Somebody may have saved a new model meanwhile and cleared away the old one's shards: then the new one is meant.
      const replaced = (await fs.readFile(file, 'utf8').catch(() => text)) !== text;
      if (!replaced || attempt === ATTEMPTS) throw error;
    }
  }
}

/**
 * Reads model.json alone, and none of the files that it names.
 * @throws TuneModeError `not-found`, `invalid-model-file`.
 */
export async function readModelJson(place: string): Promise<io.ModelJSON> {
  const file = await findModelJson(place);
  return parseModelJson(await readJsonText(file), file);
}

/** @throws TuneModeError `not-found`, `invalid-model-file`. */
export async function findModelJson(place: string): Promise<string> {
  const file = await modelJsonOf(place);
  const found = await statOrUndefined(file);
  if (found?.isFile()) return file;
  const folder = place === file ? undefined : await statOrUndefined(place);
  if (folder?.isDirectory()) {
    throw new TuneModeError(
      'not-found',
      `The folder '${place}' has no model.json. Expected the folder of a tfjs model.`,
    );
  }
  if (folder || found) {
    if (/\.(h5|hdf5|keras)$/i.test(place)) {
      throw new TuneModeError(
        'invalid-model-file',
        `'${place}' is a Keras file, not the folder of a tfjs model. ` +
          `Convert it first: tfjs-tune-mode convert '${place}' <folder>.`,
      );
    }
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}' is neither a folder nor a .json file. Expected the folder of a tfjs model, or its model.json.`,
    );
  }
  throw new TuneModeError(
    'not-found',
    `There is no '${place}'. Expected the folder of a tfjs model, or its model.json.`,
  );
}

/** All groups' specs, and their bytes in one buffer in the same order. */
async function readWeights(manifest: unknown, file: string): Promise<[io.WeightsManifestEntry[], ArrayBuffer]> {
  const groups = checkManifest(manifest, file);
  const shards: Shard[] = [];
  for (const [index, group] of groups.entries()) shards.push(...(await shardsOf(group, index, file)));
  // One buffer, not a list of them: tfjs-core 4.22.0 (CompositeArrayBuffer) reads zeros where the last of several
  // buffers is longer than the others, as it is in models with one group for each layer.
  const data = new Uint8Array(shards.reduce((sum, { size }) => sum + size, 0));
  let at = 0;
  for (const shard of shards) {
    await readInto(shard.path, data.subarray(at, at + shard.size), file);
    at += shard.size;
  }
  return [groups.flatMap((group) => group.weights), data.buffer];
}

/** A weight file. */
export interface Shard {
  path: string;
  /** In bytes. */
  size: number;
}

/**
 * The files of a group, which hold as many bytes as its weights need.
 * @throws TuneModeError `invalid-model-file`.
 */
export async function shardsOf(group: io.WeightsManifestConfig[number], index: number, file: string): Promise<Shard[]> {
  const shards: Shard[] = [];
  for (const name of group.paths) {
    const place = path.join(path.dirname(file), name);
    shards.push({ path: place, size: await shardSize(place, file) });
  }
  const found = shards.reduce((sum, { size }) => sum + size, 0);
  const { bytes: expected, isExact } = bytesNeeded(group.weights);
  if (isExact ? found !== expected : found < expected) {
    const held = heldBy(group.paths.map((name, i) => ({ name, size: shards[i].size })));
    throw new TuneModeError(
      'invalid-model-file',
      `'${file}': the weights of group ${index} need ${expected} bytes, but ${found} were found (${held}). ` +
        `The weight files are ${found < expected ? 'cut off' : 'too long'}; copy the model again.`,
    );
  }
  return shards;
}

const MOST_NAMED = 5;
const LONGEST_NAME = 100;
const LONGEST_PATH = 500;

/** What the files of a group hold, for messages. */
function heldBy(files: readonly { name: string; size: number }[]): string {
  const named = files.slice(0, MOST_NAMED).map(({ name, size }) => `'${name}' has ${size}`);
  const more = files.length > MOST_NAMED ? [`and ${files.length - MOST_NAMED} more`] : [];
  return [...named, ...more].join(', ') || 'there is no file';
}

/** @throws TuneModeError `invalid-model-file` where it is missing. */
async function shardSize(shard: string, file: string): Promise<number> {
  const found = await statOrUndefined(shard).catch((error: NodeJS.ErrnoException) => {
    const name = path.basename(shard).slice(0, LONGEST_NAME);
    throw new TuneModeError(
      'invalid-model-file',
      `'${file}': its weight file '${name}' cannot be read (${error.code}).`,
      {
        cause: error,
      },
    );
  });
  if (found?.isFile()) return found.size;
  // Not `not-found`, which says that there is no model: this one is damaged.
  throw new TuneModeError(
    'invalid-model-file',
    `The weight file '${shard.slice(0, LONGEST_PATH)}', named in '${file}', is missing.`,
  );
}

/**
 * Fills `target` from a weight file.
 * @param from bytes before it in the file.
 * @param file the model.json, for messages.
 */
export async function readInto(shard: string, target: Uint8Array, file: string, from = 0): Promise<void> {
  const handle = await fs.open(shard, 'r');
  try {
    for (let at = 0; at < target.length; ) {
      const { bytesRead } = await handle.read(target, at, target.length - at, from + at);
      if (bytesRead === 0) {
        throw new TuneModeError('invalid-model-file', `'${file}': '${shard}' became shorter while it was read.`);
      }
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
