/** What a command is: plain data and a function, runnable without a process. */
import type { ParseArgsConfig } from 'node:util';

/** Where a command writes: its result to `out`, everything else to `err`. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
}

export interface Command {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** Names of the positional arguments, all required. */
  positionals: readonly string[];
  options: NonNullable<ParseArgsConfig['options']>;
  /** Option name → one line of help. */
  help: Record<string, string>;
  run(args: Arguments, output: Output): Promise<void>;
}

export interface Arguments {
  positionals: string[];
  values: Record<string, string | boolean | (string | boolean)[] | undefined>;
}

/** A mistake in the command line itself: exit code 2, with the usage. */
export class UsageError extends Error {}
