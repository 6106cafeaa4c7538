/** The command line: picks the command, parses its arguments, and turns every outcome into an exit code. */
import { parseArgs } from 'node:util';
import { closest } from 'fastest-levenshtein';
import { version } from '../package.json';
import { TuneModeError } from '../src';
import { type Command, type Output, quoted, UsageError } from './command';
import { convertCommand } from './commands/convert';
import { finetuneCommand } from './commands/finetune';
import { inspectCommand } from './commands/inspect';
import { predictCommand } from './commands/predict';
import { verifyCommand } from './commands/verify';
import { describeSystemError } from './system-error';

const COMMANDS: readonly Command[] = [finetuneCommand, predictCommand, convertCommand, inspectCommand, verifyCommand];

/**
 * @param argv The arguments after the program's name.
 * @returns The exit code: 0; 1 where the work failed; 2 where the command line was wrong; 128 and the signal's number
 * where a signal stopped it.
 */
export async function runCli(argv: string[], output: Output): Promise<number> {
  const [name, ...rest] = argv;
  if (name === '--version' || name === '-v') {
    output.out(version);
    return 0;
  }
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    output.out(overview());
    return 0;
  }
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const names = COMMANDS.map((candidate) => candidate.name);
    output.err(`error: there is no command '${name}'; did you mean '${closest(name, names)}'?\n\n${overview()}`);
    return 2;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    output.out(usage(command));
    return 0;
  }
  try {
    return (await command.run({ ...parse(command, rest), line: argv.map(quoted).join(' ') }, output)) ?? 0;
  } catch (error) {
    if (error instanceof UsageError) {
      output.err(`error: ${error.message}\n${shortUsage(command)}\nMore: tfjs-tune-mode ${command.name} --help`);
      return 2;
    }
    output.err(`error: ${describe(error)}`);
    return 1;
  }
}

/** Our own errors and the system's say all there is to say; of any other the stack is worth having. */
function describe(error: unknown): string {
  if (error instanceof TuneModeError) return error.message;
  return describeSystemError(error) ?? (error instanceof Error ? (error.stack ?? error.message) : String(error));
}

function parse(command: Command, args: string[]) {
  let parsed: ReturnType<typeof parseArgs>;
  const { options } = command;
  try {
    parsed = parseArgs({ args: withNegativeNumbers(args, options), options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError(parseProblem(error as NodeJS.ErrnoException, Object.keys(options)));
  }
  const { positionals, values } = parsed;
  const given = command.required?.find((option) => values[option] === undefined);
  if (given !== undefined) throw new UsageError(`--${given} is missing`);
  const missing = command.positionals[positionals.length];
  const asks = command.mayAsk === true && args.length === 0;
  if (missing !== undefined && !asks) throw new UsageError(`<${missing}> is missing`);
  const isVariadic = command.positionals.at(-1)?.endsWith('…') === true;
  if (positionals.length > command.positionals.length && !isVariadic) {
    throw new UsageError(`unexpected argument '${positionals[command.positionals.length]}'`);
  }
  return { positionals, values };
}

/** `--input-range -1,1`: parseArgs takes what begins with a dash for another option. */
function withNegativeNumbers(args: string[], options: Command['options']): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1);
    const isValue = before?.startsWith('--') && options[before.slice(2)]?.type === 'string' && /^-[\d.]/.test(arg);
    if (isValue) joined[joined.length - 1] = `${before}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

function parseProblem({ code, message }: NodeJS.ErrnoException, options: string[]): string {
  const [, found] = /'(--?[^' ]+)/.exec(message) ?? [];
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && found !== undefined) {
    return `there is no option '${found}'; did you mean '--${closest(found.replace(/^-+/, ''), [...options, 'help'])}'?`;
  }
  // The rest of parseArgs' advice is about programs, not about users.
  return message.split('. ')[0];
}

function shortUsage({ name, positionals, required = [] }: Command): string {
  const parts = [...required.map((option) => `--${option} <…>`), ...positionals.map((operand) => `<${operand}>`)];
  return ['usage: tfjs-tune-mode', name, ...parts, '[options]'].join(' ');
}

function usage(command: Command): string {
  const options = Object.entries(command.options).map(([name, { type }]) => [
    `--${name}${type === 'string' ? ' <…>' : ''}`,
    command.help[name],
  ]);
  const lines = [...options, ['--help', 'show this']];
  const width = Math.max(...lines.map(([option]) => option.length)) + 2;
  return [
    shortUsage(command),
    '',
    command.summary,
    '',
    ...lines.map(([option, help]) => `  ${option.padEnd(width)}${help}`),
  ].join('\n');
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length)) + 2;
  return [
    'usage: tfjs-tune-mode <command> [options]',
    '',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`),
    '',
    "'tfjs-tune-mode <command> --help' shows the options of a command.",
  ].join('\n');
}
