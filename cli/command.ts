/** What a command is: plain data and a function, runnable without a process. */
import type { ParseArgsConfig } from 'node:util';
import type { Questions } from './questions';

/** Where a command writes: its result to `out`, everything else to `err`. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  /** A terminal that shows progress, or undefined where `err` is a pipe or a file. */
  terminal?: Terminal;
  /** Opens a dialogue; undefined where nobody sits at a terminal. */
  questions?(): Questions;
}

/** A place where one line can be written over. */
export interface Terminal {
  write(text: string): void;
  /** In characters, now. */
  columns(): number;
}

export interface Command {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** Names of the positional arguments, all required; a last one that ends in `…` may be given several times. */
  positionals: readonly string[];
  /** Whether it can be run without positionals, and asks for them then. */
  mayAsk?: boolean;
  options: NonNullable<ParseArgsConfig['options']>;
  /** Option name → one line of help. */
  help: Record<string, string>;
  /** Names of the options that must be given. */
  required?: readonly string[];
  /** @returns the exit code where it is not 0. */
  run(args: Arguments, output: Output): Promise<number | undefined>;
}

export interface Arguments {
  positionals: string[];
  values: Values;
  /** The command line as it was given, quoted for a shell, without the program's name. */
  line: string;
}

/** An argument as it is written in a POSIX shell. */
export function quoted(arg: string): string {
  return /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`;
}

export type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

/** A mistake in the command line itself: exit code 2, with the usage. */
export class UsageError extends Error {}
