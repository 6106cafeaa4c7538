import type { Stats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { TuneModeError } from '../../src/errors';

/**
 * What a user gives as the place of a model, as an absolute path.
 * @param given a path, or a `file://` URL. As in tfjs-node, `file://` may also stand before a relative path.
 * @throws TuneModeError `invalid-option`.
 */
export function toFilePath(given: unknown): string {
  if (typeof given !== 'string' || given === '') {
    throw new TuneModeError(
      'invalid-option',
      `fileIO: expected the path of a folder or of a .json file; found ${JSON.stringify(given)}.`,
    );
  }
  if (/^file:\/\//i.test(given)) {
    const rest = given.slice('file://'.length);
    if (!rest.startsWith('/')) return path.resolve(rest);
    try {
      return fileURLToPath(given);
    } catch (error) {
      throw new TuneModeError('invalid-option', `fileIO: '${given}' is no valid file URL.`, { cause: error });
    }
  }
  const scheme = /^[a-z][a-z0-9+.-]+:\/\//i.exec(given)?.[0];
  if (scheme) {
    throw new TuneModeError(
      'invalid-option',
      `fileIO: '${given}' is no file. Expected a path or a file:// URL; for '${scheme}' give the URL to tf.loadLayersModel itself.`,
    );
  }
  return path.resolve(given);
}

/** The model.json that a path means: the path itself if it ends in .json, else (or if that is a folder) the one inside. */
export async function modelJsonOf(place: string): Promise<string> {
  if (!place.toLowerCase().endsWith('.json')) return path.join(place, 'model.json');
  return (await statOrUndefined(place))?.isDirectory() ? path.join(place, 'model.json') : place;
}

/** @returns undefined if there is no such file or folder. */
export async function statOrUndefined(file: string): Promise<Stats | undefined> {
  return fs.stat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
}
