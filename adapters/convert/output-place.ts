/**
 * Where a conversion writes: beside the place that the user named, under another name, which becomes that name at the
 * end. So the output is there whole, or not at all.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { TuneModeError } from '../../src/errors';
import { sniffKeras } from '../keras/files';
import { statOrUndefined } from '../node/model-path';
import { readJsonText } from '../node/read-text';
import { isInsidePath } from '../node/weights-manifest';

export interface OutputPlace {
  /** An empty folder, or for a file a path where nothing is yet. */
  work: string;
  /** Puts it in its place. */
  commit(): Promise<void>;
  /** Removes what was written, and the folders that were made for it; after `commit` it does nothing. */
  discard(): Promise<void>;
}

/**
 * @param kind what will be written.
 * @param force whether a model (folder) or file that is there already may be replaced.
 * @param sources files that are being read, which must not be replaced.
 * @throws TuneModeError `invalid-option` where something is there that may not be replaced.
 */
export async function openOutput(
  given: string,
  kind: 'folder' | 'file',
  force: boolean,
  sources: readonly string[],
): Promise<OutputPlace> {
  const out = await realPath(path.resolve(given));
  await checkReplaceable(out, kind, force, sources);
  const parent = path.dirname(out);
  const made = await makeFolders(parent);
  const work = path.join(parent, `.${path.basename(out)}.${randomBytes(6).toString('hex')}.partial`);
  let isOpen = true;
  const discard = async () => {
    if (!isOpen) return;
    isOpen = false;
    await fs.rm(work, { recursive: true, force: true });
    for (let folder = parent; made !== undefined && folder.startsWith(made); folder = path.dirname(folder)) {
      if (
        !(await fs.rmdir(folder).then(
          () => true,
          () => false,
        ))
      )
        break;
    }
  };
  try {
    if (kind === 'folder') await fs.mkdir(work);
  } catch (error) {
    await discard();
    throw error;
  }
  const commit = async () => {
    // Once more: minutes may have passed.
    await checkReplaceable(out, kind, force, sources);
    if (kind === 'file') await fs.rename(work, out);
    else await replaceFolder(work, out);
    isOpen = false;
  };
  return { work, commit, discard };
}

/**
 * Makes a folder and those above it. Step by step: Node 20's own `recursive` never ends where the system has no folders to
 * make, as below /proc.
 * @returns the first one that was made.
 * @throws TuneModeError `invalid-option` where a file is in the way.
 */
export async function makeFolders(folder: string): Promise<string | undefined> {
  const found = await statOrUndefined(folder);
  if (found?.isDirectory()) return undefined;
  if (found !== undefined) {
    throw new TuneModeError(
      'invalid-option',
      `'${folder}' is no folder, and the output would be in it; name another output. Nothing was written.`,
    );
  }
  const above = await makeFolders(path.dirname(folder));
  try {
    await fs.mkdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // somebody else's, a moment ago
    return above;
  }
  return above ?? folder;
}

async function replaceFolder(work: string, out: string): Promise<void> {
  await fs.rmdir(out).catch(() => undefined); // where it is empty
  if ((await statOrUndefined(out)) === undefined) {
    await fs.rename(work, out);
    return;
  }
  const old = `${work}.replaced`;
  await fs.rename(out, old);
  try {
    await fs.rename(work, out);
  } catch (error) {
    await fs.rename(old, out);
    throw error;
  }
  await fs.rm(old, { recursive: true, force: true });
}

async function checkReplaceable(
  out: string,
  kind: 'folder' | 'file',
  force: boolean,
  sources: readonly string[],
): Promise<void> {
  const found = await statOrUndefined(out);
  const refuse = (problem: string): never => {
    throw new TuneModeError('invalid-option', `'${out}' ${problem}. Nothing was written.`);
  };
  if (found === undefined) {
    const isLink = await fs.lstat(out).then(
      () => true,
      () => false,
    );
    if (isLink) refuse('is a link that leads nowhere; remove it, or name another output');
    return;
  }
  for (const source of sources) {
    const place = await realPath(source);
    if (place === out || place.startsWith(`${out}${path.sep}`))
      refuse('is, or holds, what is converted; name another output');
  }
  if (found.isDirectory()) {
    if (kind === 'file') refuse('is a folder, and a file is to be written; name a file');
    if (`${await realPath('.')}${path.sep}`.startsWith(`${out}${path.sep}`)) {
      refuse('is, or holds, the current folder; name another output');
    }
    const names = await fs.readdir(out);
    if (names.length === 0) return;
    if (!force) refuse('exists already; name another output, or replace it (--force)');
    const strangers = await notOfAModel(out);
    if (strangers.length > 0) {
      refuse(
        `has files that no tfjs model names (${strangers.slice(0, 3).join(', ')}), so it is not replaced; name another output`,
      );
    }
    return;
  }
  if (!found.isFile()) refuse('is neither a file nor a folder; name another output');
  if (kind === 'folder') refuse('is a file, and a folder is to be written; name a folder');
  if (!force) refuse('exists already; name another output, or replace it (--force)');
  // A weight file of what is converted, for one.
  if (found.size > 0 && (await sniffKeras(out)) !== 'hdf5') {
    refuse('is no HDF5 file, so it is not replaced; name another output');
  }
}

/** What is in a folder besides a model.json, the files that it names, and a metadata.json. */
async function notOfAModel(folder: string): Promise<string[]> {
  const own = new Set(['model.json', 'metadata.json', '.DS_Store']);
  try {
    const { weightsManifest } = JSON.parse(await readJsonText(path.join(folder, 'model.json')));
    for (const { paths } of weightsManifest ?? []) {
      for (const name of paths) if (isInsidePath(name)) own.add(path.normalize(name));
    }
  } catch {
    own.clear(); // no model, so nothing in there is a model's
  }
  const found = await fs.readdir(folder, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .filter((name) => !own.has(name));
}

/** A path with its links resolved, also where its end is not there yet. */
async function realPath(place: string): Promise<string> {
  const full = path.resolve(place);
  return fs.realpath(full).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
    const parent = path.dirname(full);
    return parent === full ? full : path.join(await realPath(parent), path.basename(full));
  });
}
