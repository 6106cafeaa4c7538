/** The command line: picks the command, parses its arguments, and turns every outcome into an exit code. */
import { parseArgs } from 'node:util';
import { version } from '../package.json';
import { TuneModeError } from '../src';
import { type Command, type Output, UsageError } from './command';
import { inspectCommand } from './commands/inspect';

const COMMANDS: readonly Command[] = [inspectCommand];

/**
 * @param argv The arguments after the program's name.
 * @returns The exit code: 0, 1 where the work failed, 2 where the command line was wrong.
 */
export async function runCli(argv: string[], output: Output): Promise<0 | 1 | 2> {
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
    output.err(`error: there is no command '${name}'.\n\n${overview()}`);
    return 2;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    output.out(usage(command));
    return 0;
  }
  try {
    await command.run(parse(command, rest), output);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      output.err(`error: ${error.message}\n\n${usage(command)}`);
      return 2;
    }
    // Our own errors say all there is to say; of any other the stack is worth having.
    const known = error instanceof TuneModeError;
    output.err(`error: ${known ? error.message : error instanceof Error ? (error.stack ?? error.message) : error}`);
    return 1;
  }
}

function parse(command: Command, args: string[]) {
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args, options: command.options, allowPositionals: true, strict: true });
  } catch (error) {
    // parseArgs names the unknown option; its advice on how to pass it as a positional does not help here.
    throw new UsageError((error as Error).message.split('. ')[0]);
  }
  const { positionals, values } = parsed;
  const missing = command.positionals[positionals.length];
  if (missing !== undefined) throw new UsageError(`<${missing}> is missing`);
  if (positionals.length > command.positionals.length) {
    throw new UsageError(`unexpected argument '${positionals[command.positionals.length]}'`);
  }
  return { positionals, values };
}

function usage(command: Command): string {
  const operands = command.positionals.map((name) => `<${name}>`).join(' ');
  const options = Object.keys(command.options);
  const width = Math.max(...options.map((option) => option.length), 4) + 2;
  const lines = [...options.map((option) => [option, command.help[option]]), ['help', 'show this']];
  return [
    `usage: tfjs-tune-mode ${command.name} ${operands} [options]`,
    '',
    `${command.summary}`,
    '',
    ...lines.map(([option, help]) => `  --${option.padEnd(width)}${help}`),
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
