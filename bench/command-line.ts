/** Command lines of the benches: what is wrong is said in one sentence, with the usage, and ends with exit code 2. */
import fs from 'node:fs';
import path from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { TuneModeError } from '../src/errors';

export class CommandLineError extends Error {}

/** @throws CommandLineError for options that do not exist; prints the usage and ends where `--help` is asked for. */
export function readOptions<const O extends NonNullable<ParseArgsConfig['options']>>(usage: string, options: O) {
  try {
    const all = { ...options, help: { type: 'boolean' } } as O & { help: { type: 'boolean' } };
    const { values } = parseArgs({ options: all });
    if ((values as { help?: boolean }).help) {
      console.log(`usage: ${usage}`);
      process.exit(0);
    }
    return values;
  } catch (error) {
    throw new CommandLineError((error as Error).message);
  }
}

/** Runs a bench and turns what the user got wrong into a message. */
export async function runBench(usage: string, bench: () => Promise<void>): Promise<void> {
  try {
    await bench();
  } catch (error) {
    if (error instanceof CommandLineError) {
      console.error(`${error.message}\nusage: ${usage}`);
      process.exit(2);
    }
    if (!(error instanceof TuneModeError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

export function wholeNumber(option: string, text: string, least = 1): number {
  const number = Number(text);
  if (text.trim() !== '' && Number.isInteger(number) && number >= least) return number;
  throw new CommandLineError(`--${option} must be a whole number, at least ${least}; found '${text}'.`);
}

export function wholeNumbers(option: string, text: string, least = 1): number[] {
  return text.split(',').map((each) => wholeNumber(option, each, least));
}

export function oneOf<T extends string>(option: string, text: string, valid: readonly T[]): T {
  if (valid.includes(text as T)) return text as T;
  throw new CommandLineError(`--${option} must be one of ${valid.join(', ')}; found '${text}'.`);
}

/** Checked before anything is measured: a wrong path at the end of a list would cost the time for all before it. */
export function modelPaths(paths: string[] | undefined): string[] {
  if (paths === undefined || paths.length === 0) throw new CommandLineError('--model is missing.');
  for (const each of paths) {
    if (!fs.existsSync(each)) throw new CommandLineError(`--model: '${each}' does not exist.`);
    if (fs.statSync(each).isDirectory() && !fs.existsSync(path.join(each, 'model.json'))) {
      throw new CommandLineError(`--model: the folder '${each}' has no model.json.`);
    }
  }
  return paths;
}

/** What a model is called in tables and charts. */
export const nameOf = (modelPath: string) => path.basename(modelPath.replace(/\/?model\.json$/, ''));

/** One line on stderr that is written over; nothing where stderr is a file. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
