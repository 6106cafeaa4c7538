/** A conversion, and all that must hold whatever comes of it. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from 'tfjs-tune-mode';
import { type ConvertOptions, type ConvertReport, convert } from '../../../adapters/convert';

interface Attempt {
  report?: ConvertReport;
  error?: unknown;
  seconds: number;
  /** By how many bytes the process was larger than ever before. */
  grown: number;
}

/** Every file below a folder with its content, and what else lies there. */
export function contentOf(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  if (!fs.existsSync(folder)) return found;
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const place = path.join(entry.parentPath, entry.name);
    found[path.relative(folder, place)] = entry.isFile() ? fs.readFileSync(place, 'latin1') : kindOf(entry);
  }
  return found;
}

function kindOf(entry: fs.Dirent): string {
  return entry.isDirectory() ? 'folder' : entry.isSymbolicLink() ? 'link' : 'other';
}

const held = () => {
  const { numTensors, numDataBuffers } = tf.memory();
  return { numTensors, numDataBuffers };
};

/**
 * Converts, and checks that no tensor is left over, that the input is as it was, and, unless there is a report, that the
 * folder around the output is as it was too.
 * @param around a folder that holds the output; what holds the input as well need not be told twice.
 */
export async function attempt(
  around: string,
  input: string,
  output: string,
  options: ConvertOptions = {},
): Promise<Attempt> {
  const folder = fs.statSync(input, { throwIfNoEntry: false })?.isDirectory() ? input : path.dirname(input);
  const before = { tensors: held(), input: contentOf(folder), around: contentOf(around) };
  const largest = process.resourceUsage().maxRSS;
  const started = performance.now();
  const result: Pick<Attempt, 'report' | 'error'> = await convert(input, output, options).then(
    (report) => ({ report }),
    (error) => ({ error }),
  );
  const seconds = (performance.now() - started) / 1000;
  const grown = (process.resourceUsage().maxRSS - largest) * 1024;
  // `toEqual` of large texts is slow, and what it would say of them nobody can read.
  const differing = (a: Record<string, string>, b: Record<string, string>) =>
    [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => a[name] !== b[name]);
  const told = result.error === undefined ? '' : `after: ${String(result.error)}`;
  expect([held(), told]).toEqual([before.tensors, told]);
  if (result.error !== undefined) expect([differing(before.around, contentOf(around)), told]).toEqual([[], told]);
  else {
    const place = path.relative(folder, output);
    const changed = differing(before.input, contentOf(folder));
    expect(changed.filter((name) => name !== place && !name.startsWith(`${place}${path.sep}`))).toEqual([]);
  }
  return { ...result, seconds, grown };
}

/** A graph that cannot be lifted is told which ops can. */
const LONGEST_MESSAGE = 1400;

/** A refusal that a person can read: one line, ours. */
export function checkRefusal(error: unknown): TuneModeError {
  if (!(error instanceof TuneModeError)) throw new Error(`not ours: ${(error as Error)?.stack ?? error}`);
  const { message } = error;
  expect(message.length).toBeLessThan(LONGEST_MESSAGE);
  expect(message).not.toMatch(/\n|\[object |HDF5-DIAG|TypeError|is not a function|Cannot read propert/);
  return error;
}

/** Expects it in time, and without taking memory for what is not there. */
export function checkLimits({ seconds, grown }: Attempt): void {
  expect(seconds).toBeLessThan(20);
  expect(grown).toBeLessThan(1.2e9);
}

/** Expects a refusal, in time and without taking memory for what is not there. */
export async function refused(
  around: string,
  input: string,
  output: string,
  options: ConvertOptions = {},
): Promise<TuneModeError> {
  const result = await attempt(around, input, output, options);
  if (result.report !== undefined) throw new Error(`converted:\n${result.report}`);
  checkLimits(result);
  return checkRefusal(result.error);
}
