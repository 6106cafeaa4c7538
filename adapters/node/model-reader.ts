import fs from 'node:fs/promises';
import path from 'node:path';
import { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { parseModelJson } from '../model-json';
import { modelJsonOf, statOrUndefined } from './model-path';
import { checkManifest, storedBytes } from './weights-manifest';

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
    const text = await fs.readFile(file, 'utf8');
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
  return parseModelJson(await fs.readFile(file, 'utf8'), file);
}

async function findModelJson(place: string): Promise<string> {
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
  const shards: { path: string; size: number }[] = [];
  for (const [index, group] of groups.entries()) {
    const sizes: number[] = [];
    for (const name of group.paths) sizes.push(await shardSize(path.join(path.dirname(file), name), file));
    const found = sizes.reduce((sum, size) => sum + size, 0);
    const expected = storedBytes(group.weights);
    if (expected !== undefined && expected !== found) {
      const held = group.paths.map((name, i) => `'${name}' has ${sizes[i]}`).join(', ') || 'there is no file';
      throw new TuneModeError(
        'invalid-model-file',
        `'${file}': the weights of group ${index} need ${expected} bytes, but ${found} were found (${held}). ` +
          `The weight files are ${found < expected ? 'cut off' : 'too long'}; copy the model again.`,
      );
    }
    group.paths.forEach((name, i) => {
      shards.push({ path: path.join(path.dirname(file), name), size: sizes[i] });
    });
  }
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

async function shardSize(shard: string, file: string): Promise<number> {
  const found = await statOrUndefined(shard);
  if (found?.isFile()) return found.size;
  // Not `not-found`, which says that there is no model: this one is damaged.
  throw new TuneModeError('invalid-model-file', `The weight file '${shard}', named in '${file}', is missing.`);
}

async function readInto(shard: string, target: Uint8Array, file: string): Promise<void> {
  const handle = await fs.open(shard, 'r');
  try {
    for (let at = 0; at < target.length; ) {
      const { bytesRead } = await handle.read(target, at, target.length - at, at);
      if (bytesRead === 0) {
        throw new TuneModeError('invalid-model-file', `'${file}': '${shard}' became shorter while it was read.`);
      }
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
