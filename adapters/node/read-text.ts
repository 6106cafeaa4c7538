import { constants } from 'node:fs';
import fs from 'node:fs/promises';
import { TuneModeError } from '../../src/errors';
import { MOST_JSON_BYTES } from '../json-limits';

/**
 * The text of a JSON file.
 * @throws TuneModeError `invalid-model-file` for one that is too large to be a model's, or no file; the system's own error.
 */
export async function readJsonText(file: string): Promise<string> {
  // Not blocking: opening a pipe would wait for somebody who writes.
  const handle = await fs.open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new TuneModeError('invalid-model-file', `'${file}' is no file.`);
    if (stats.size > MOST_JSON_BYTES) {
      throw new TuneModeError(
        'invalid-model-file',
        `'${file}' has ${Math.round(stats.size / 2 ** 20)} MB of JSON; expected at most ${MOST_JSON_BYTES / 2 ** 20} MB. Weights belong into files of their own.`,
      );
    }
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}
