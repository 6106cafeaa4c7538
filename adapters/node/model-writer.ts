import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { modelJsonOf, statOrUndefined } from './model-path';
import { concatenated, cutIntoShards } from './shards';
import { isInsidePath, storedBytes } from './weights-manifest';

/** Temporary files of saves that were killed are cleared away by a later save once they are this old. */
const STALE_MS = 60 * 60 * 1000;
const TEMPORARY = /^\.tune-mode-.+\.tmp$/;

/**
 * Writes model.json and its shards so that at every moment, a crash or a full disk included, the place holds either
 * the whole old model or the whole new one.
 *
 * Several files cannot be replaced at once, so shards are never overwritten: their names carry a hash of their bytes.
 * 1. everything is written under temporary names and flushed to the disk;
 * 2. the shards get their names, which the old model.json does not use (or uses for the very same bytes);
 * 3. model.json is renamed over the old one: **the commit**;
 * 4. shards that only the old model.json named are deleted; failing there does no harm.
 * Before the commit a failure removes whatever was written. Nothing that another *.json of the folder names is deleted.
 * @throws TuneModeError `unsupported` for artifacts without JSON topology or without plain weight data,
 * `invalid-data` for weight data that does not fit its specs; the system's own error if the disk refuses.
 */
export async function writeModel(place: string, artifacts: io.ModelArtifacts): Promise<io.SaveResult> {
  const shards = cutIntoShards(checkedWeights(artifacts));
  const file = await modelJsonOf(place);
  const folder = path.dirname(file);
  const firstMade = await fs.mkdir(folder, { recursive: true }).catch((error) => {
    throw new TuneModeError(
      'unsupported',
      `The folder '${folder}' cannot be made (${error.code ?? error.message}). Nothing was saved.`,
      {
        cause: error,
      },
    );
  });
  const written: string[] = []; // temporary files, to be removed on failure
  const placed: string[] = []; // new shards, likewise
  try {
    await removeStale(folder);
    const moves: { from: string; to: string }[] = [];
    const names: string[] = [];
    for (const [index, bytes] of shards.entries()) {
      const { name, exists } = await nameFor(folder, bytes, index + 1, shards.length);
      names.push(name);
      if (!exists)
        moves.push({ from: await writeTemporary(folder, name, bytes, written), to: path.join(folder, name) });
    }
    const text = modelJsonText(artifacts, names);
    const json = await writeTemporary(folder, path.basename(file), Buffer.from(text), written);
    const before = await shardsNamedIn(file);
    for (const { from, to } of moves) {
      placed.push(path.basename(to));
      await fs.rename(from, to);
    }
    await flushFolder(folder); // the shards' names must be on the disk before the file that refers to them
    await fs.rename(json, file);
    await flushFolder(folder).catch(() => undefined);
    await removeUnused(folder, before).catch(() => undefined);
  } catch (error) {
    await Promise.allSettled(written.map((leftover) => fs.rm(leftover, { force: true })));
    await removeUnused(folder, placed).catch(() => undefined);
    if (firstMade) await removeEmptyFolders(folder, firstMade);
    throw error;
  }
  return { modelArtifactsInfo: io.getModelArtifactsInfoForJSON(artifacts) };
}

/** The weights in one piece, or undefined for a model saved without them. */
function checkedWeights({ modelTopology, weightSpecs, weightData, getWeightStream }: io.ModelArtifacts) {
  if (modelTopology == null || typeof modelTopology !== 'object' || ArrayBuffer.isView(modelTopology)) {
    throw new TuneModeError('unsupported', 'fileIO saves models with a topology in JSON; this one has none.');
  }
  if (Object.prototype.toString.call(modelTopology) === '[object ArrayBuffer]') {
    throw new TuneModeError('unsupported', 'fileIO cannot save a binary topology (GraphDef); expected JSON.');
  }
  if (weightData === undefined) {
    if (getWeightStream) {
      throw new TuneModeError('unsupported', "fileIO cannot save weights given as a stream; expected 'weightData'.");
    }
    return undefined;
  }
  const data = concatenated(weightData);
  const expected = storedBytes(weightSpecs ?? []);
  if (expected !== undefined && expected !== data.length) {
    throw new TuneModeError(
      'invalid-data',
      `fileIO: 'weightSpecs' describe ${expected} bytes of weights, but 'weightData' has ${data.length}. Nothing was saved.`,
    );
  }
  return data;
}

function modelJsonText(artifacts: io.ModelArtifacts, paths: string[]): string {
  const { weightData, weightSpecs, getWeightStream: _, ...rest } = artifacts;
  const manifest = weightData === undefined ? {} : { weightsManifest: [{ paths, weights: weightSpecs ?? [] }] };
  return JSON.stringify({ ...rest, ...manifest });
}

/** A name that no other bytes have: eight digits of the hash, or all of them should eight be taken by other bytes. */
async function nameFor(folder: string, bytes: Uint8Array, number: number, count: number) {
  const hash = createHash('sha256').update(bytes).digest('hex');
  for (const digits of [8, hash.length]) {
    const name = `group1-shard${number}of${count}.${hash.slice(0, digits)}.bin`;
    const found = await statOrUndefined(path.join(folder, name));
    if (!found) return { name, exists: false };
    if (found.size === bytes.length && (await fs.readFile(path.join(folder, name))).equals(bytes)) {
      return { name, exists: true };
    }
  }
  // Wrong bytes under the full hash: that file is damaged, and replacing it can only help.
  return { name: `group1-shard${number}of${count}.${hash}.bin`, exists: false };
}

/** Writes and flushes a file under a temporary name, noted in `written` before it exists. */
async function writeTemporary(folder: string, name: string, bytes: Uint8Array, written: string[]): Promise<string> {
  const temporary = path.join(folder, `.tune-mode-${randomBytes(6).toString('hex')}-${name}.tmp`);
  written.push(temporary);
  const handle = await fs.open(temporary, 'wx');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return temporary;
}

/** Some systems (Windows) cannot flush a folder; there the rename is as durable as it gets. */
async function flushFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** The files inside the folder that a model.json names; none if there is no such file or it is no model. */
async function shardsNamedIn(file: string): Promise<string[]> {
  try {
    const { weightsManifest } = JSON.parse(await fs.readFile(file, 'utf8')) as io.ModelJSON;
    return weightsManifest.flatMap(({ paths }) => paths).filter(isInsidePath);
  } catch {
    return [];
  }
}

/** Deletes those of the given shards that no model of the folder names (any more). */
async function removeUnused(folder: string, shards: string[]): Promise<void> {
  const inUse = new Set<string>();
  for (const name of await fs.readdir(folder)) {
    if (!name.toLowerCase().endsWith('.json')) continue;
    for (const shard of await shardsNamedIn(path.join(folder, name))) inUse.add(path.normalize(shard));
  }
  const unused = shards.map((name) => path.normalize(name)).filter((name) => !inUse.has(name));
  await Promise.allSettled(unused.map((name) => fs.unlink(path.join(folder, name))));
}

async function removeStale(folder: string): Promise<void> {
  for (const name of await fs.readdir(folder)) {
    if (!TEMPORARY.test(name)) continue;
    const found = await statOrUndefined(path.join(folder, name));
    if (found && Date.now() - found.mtimeMs > STALE_MS) await fs.rm(path.join(folder, name), { force: true });
  }
}

/** Takes back the folders that this save made, from `folder` up to `first`, as long as they are empty. */
async function removeEmptyFolders(folder: string, first: string): Promise<void> {
  for (let current = folder; current.startsWith(first); current = path.dirname(current)) {
    const removed = await fs.rmdir(current).then(
      () => true,
      () => false,
    );
    if (!removed) return;
  }
}
