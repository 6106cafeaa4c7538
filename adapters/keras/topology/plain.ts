/** Helpers for JSON whose content nobody vouches for. */
import { TuneModeError } from '../../../src/errors';

export type Plain = Record<string, unknown>;

/** Deeper JSON than any layer argument or nest of models needs; beyond it recursion would overflow the stack. */
const DEEPEST_JSON = 1000;
const LONGEST_SHOWN = 80;

export function isPlain(value: unknown): value is Plain {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** An own property; inherited ones such as 'constructor' are nobody's argument. */
export function own(object: Plain, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** What every message shows of a value or name that may be of any length. */
export function show(value: unknown): string {
  const text = typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? String(value));
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

/**
 * A deep copy, so that the caller's object is never changed. Keys that would reach a prototype are left out, and the
 * wrappers in which Keras writes tuples, shapes and NumPy scalars are replaced by what they hold.
 */
export function copyPlain(place: string, value: unknown, depth = 0): unknown {
  if (depth > DEEPEST_JSON) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${place}': the model's configuration is nested more than ${DEEPEST_JSON} levels deep. The file is damaged.`,
    );
  }
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map((item) => copyPlain(place, item, depth + 1));
  const source = value as Plain;
  const held = unwrapped(source);
  if (held !== undefined) return copyPlain(place, held, depth + 1);
  const copy: Plain = {};
  for (const key of Object.keys(source)) {
    if (key === '__proto__') continue;
    if (source[key] !== undefined) copy[key] = copyPlain(place, source[key], depth + 1);
  }
  return copy;
}

function unwrapped(source: Plain): unknown {
  const className = own(source, 'class_name');
  if ((className === '__tuple__' || className === 'TensorShape') && Array.isArray(own(source, 'items'))) {
    return source.items;
  }
  const config = own(source, 'config');
  if (className === '__numpy__' && isPlain(config)) return own(config, 'value');
  if (own(source, 'type') === 'ndarray') return own(source, 'value');
  return undefined;
}
