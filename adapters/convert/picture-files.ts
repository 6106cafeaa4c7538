/** The pictures below a folder, for calibration and comparison. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { TuneModeError } from '../../src/errors';
import { statOrUndefined } from '../node/model-path';

/**
 * @param most how many, at most; taken evenly from all that there are.
 * @throws TuneModeError `not-found`, `invalid-data`.
 */
export async function pictureFilesIn(folder: string, most: number): Promise<string[]> {
  const found = await statOrUndefined(folder);
  if (found === undefined) throw new TuneModeError('not-found', `There is no folder '${folder}' with pictures.`);
  if (!found.isDirectory()) throw new TuneModeError('invalid-data', `'${folder}' is no folder of pictures.`);
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter(({ name }) => /\.(jpe?g|png)$/i.test(name) && !name.startsWith('.'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
  const files: string[] = [];
  for (const name of names) {
    // A pipe with a picture's name would never end.
    if ((await statOrUndefined(name))?.isFile()) files.push(name);
  }
  if (files.length === 0) {
    throw new TuneModeError('not-found', `There are no pictures (jpg, png) in the folder '${folder}'.`);
  }
  const count = Math.min(most, files.length);
  return Array.from({ length: count }, (_, i) => files[Math.floor((i * files.length) / count)]);
}
