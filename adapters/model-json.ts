/** The text of a model.json, wherever it comes from. */
import type { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../src/errors';
import { isTooDeep } from './json-limits';
import { findJsonError } from './node/json-position';

/**
 * @param needsTopology whether it must have a `modelTopology`.
 * @throws TuneModeError `invalid-model-file` with line and column where the text is no JSON.
 */
export function parseModelJson(text: string, file: string, needsTopology = true): io.ModelJSON {
  if (text.trim() === '') throw new TuneModeError('invalid-model-file', `'${file}' is empty.`);
  if (isTooDeep(text)) {
    throw new TuneModeError('invalid-model-file', `'${file}' is nested too deep to be a model.`);
  }
  // Some editors put a byte order mark first.
  const json = parseText(text.replace(/^\uFEFF/, ''), `'${file}'`) as io.ModelJSON;
  if (json === null || typeof json !== 'object' || Array.isArray(json)) {
    throw new TuneModeError('invalid-model-file', `'${file}' is no tfjs model: expected a JSON object.`);
  }
  if (needsTopology && (json.modelTopology === null || typeof json.modelTopology !== 'object')) {
    throw new TuneModeError('invalid-model-file', `'${file}' is no tfjs model: it has no 'modelTopology'.`);
  }
  return json;
}

/**
 * @param subject names the text in the message, as `'model.json'` in quotes.
 * @throws TuneModeError `invalid-model-file` with line and column where the text is no JSON.
 */
export function parseText(text: string, subject: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const position = findJsonError(text);
    const where = position ? ` (line ${position.line}, column ${position.column})` : '';
    throw new TuneModeError('invalid-model-file', `${subject} is not valid JSON${where}.`, { cause: error });
  }
}
