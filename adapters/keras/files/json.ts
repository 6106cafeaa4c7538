/** JSON out of a file of unknown origin. */
import { TuneModeError } from '../../../src/errors';
import { DEEPEST_JSON, isTooDeep, MOST_JSON_BYTES } from '../../json-limits';
import { parseText } from '../../model-json';

/**
 * @param what names the text inside the file, as `'config.json'`.
 * @throws TuneModeError `invalid-model-file`.
 */
export function parseJson(text: string, place: string, what: string): unknown {
  if (text.length > MOST_JSON_BYTES) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}': its ${what} is longer than ${MOST_JSON_BYTES / 2 ** 20} MiB.`,
    );
  }
  if (isTooDeep(text)) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}': its ${what} is nested deeper than ${DEEPEST_JSON} levels. No Keras model is; the file is damaged.`,
    );
  }
  return parseText(text, `'${place}': its ${what}`);
}
