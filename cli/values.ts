/** Option values, checked: what is wrong is said before any work is done. */
import { MOST_THREADS } from '../adapters/node/threads/use-threads';
import { UsageError, type Values } from './command';

/** @throws UsageError naming the option, what was found and what is expected. */
export function numberOf(
  values: Values,
  name: string,
  expected: string,
  ok: (value: number) => boolean,
): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = String(text).trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value) || !ok(value)) throw wrong(name, expected, text);
  return value;
}

export function wholeNumberOf(values: Values, name: string, least: number): number | undefined {
  const ok = (value: number) => Number.isSafeInteger(value) && value >= least;
  return numberOf(values, name, `a whole number, at least ${least}`, ok);
}

/** How many threads; the limit is `useBestBackend`'s. */
export function threadsOf(values: Values): number | undefined {
  const ok = (value: number) => Number.isSafeInteger(value) && value >= 1 && value <= MOST_THREADS;
  return numberOf(values, 'threads', `a whole number from 1 to ${MOST_THREADS}`, ok);
}

export function oneOf<T extends string>(values: Values, name: string, valid: readonly T[]): T | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  if (!valid.includes(value as T)) throw wrong(name, `one of ${valid.join(', ')}`, value);
  return value as T;
}

/** An option that takes a text; '' is none. */
export function textOf(values: Values, name: string): string | undefined {
  const text = values[name];
  if (text === '') throw wrong(name, 'a path or a name', text);
  return text as string | undefined;
}

const UNITS: Record<string, number> = { '': 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 };

/** '4MB', '512 kB', '4MiB', or bytes. */
export function bytesOf(values: Values, name: string): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?) ?([kmg]i?b|)$/i.exec(String(text).trim());
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * UNITS[match[2].toLowerCase()]);
  if (!Number.isSafeInteger(bytes) || bytes < 1024) throw wrong(name, 'a size of at least 1 kB, such as 4MB', text);
  return bytes;
}

/** '224' or '224x192' (height × width). */
export function imageSizeOf(values: Values, name: string): [number, number] | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const match = /^(\d{1,4})(?:[x×](\d{1,4}))?$/.exec(String(text));
  const size = match && [Number(match[1]), Number(match[2] ?? match[1])];
  if (!size?.every((side) => side >= 1 && side <= 8192)) {
    throw wrong(name, 'pixels, such as 224, or height and width, such as 224x192', text);
  }
  return size as [number, number];
}

/** '-1,1' */
export function rangeOf(values: Values, name: string): [number, number] | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const parts = String(text).split(',');
  const range = parts.map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (range.length !== 2 || !range.every(Number.isFinite) || range[0] >= range[1]) {
    throw wrong(name, 'two numbers, black and white, such as -1,1 or 0,1', text);
  }
  return range as [number, number];
}

function wrong(name: string, expected: string, found: unknown): UsageError {
  return new UsageError(`--${name} must be ${expected}; found '${found}'`);
}
