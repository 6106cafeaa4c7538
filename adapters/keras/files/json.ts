/** JSON out of a file of unknown origin. */
import { TuneModeError } from '../../../src/errors';
import { DEEPEST_JSON, isTooDeep, MOST_JSON_BYTES } from '../../json-limits';
import { findJsonError } from '../../node/json-position';

/**
 * @param what names the text inside the file, as `'config.json'`.
 * @throws TuneModeError `invalid-model-file`.
 */
export function parseJson(text: string, place: string, what: string): unknown {
  if (text.length > MOST_JSON_BYTES) {
    throw new TuneModeError('invalid-model-file', `'${place}': its ${what} is longer than 32 MiB.`);
  }
  if (isTooDeep(text)) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}': its ${what} is nested deeper than ${DEEPEST_JSON} levels. No Keras model is; the file is damaged.`,
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const position = findJsonError(text);
    const where = position ? ` (line ${position.line}, column ${position.column})` : '';
    throw new TuneModeError('invalid-model-file', `'${place}': its ${what} is not valid JSON${where}.`, {
      cause: error,
    });
  }
}
