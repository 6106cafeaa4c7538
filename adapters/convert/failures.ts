/** What goes wrong, told so that a person can read it. */
import { TuneModeError } from '../../src/errors';

const LONGEST_REASON = 300;
/** Names come out of files, and may be of any length. */
const LONGEST_MESSAGE = 4000;

/** The first line of what another library says. */
export function reasonOf(error: unknown): string {
  // What it says then is about the inside of a program, not about the file.
  if ((error as Error | undefined)?.name === 'TypeError') return 'tfjs fails in it, as it does in damaged files';
  const [line] = String((error as Error | undefined)?.message ?? error).split('\n');
  return line.length > LONGEST_REASON ? `${line.slice(0, LONGEST_REASON)}…` : line.replace(/\.$/, '');
}

/**
 * What a conversion ends with: our own errors, on one line and without what would steer a terminal; the system's as they
 * are; any other is a bug of ours.
 * @param isForeign whether it is the caller's own: why the work was to stop, or what a function of theirs has thrown.
 */
export function presentable(error: unknown, place: string, isForeign: (error: unknown) => boolean): unknown {
  if (isForeign(error) || typeof (error as NodeJS.ErrnoException | undefined)?.syscall === 'string') return error;
  if (!(error instanceof TuneModeError)) {
    const found = `'${place}' cannot be worked on: ${clean(reasonOf(error))}. Please report this, with the file.`;
    return new TuneModeError('broken-invariant', found, { cause: error });
  }
  const message = clean(error.message);
  return message === error.message ? error : new TuneModeError(error.code, message, { cause: error });
}

function clean(message: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are to go
  const line = message.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');
  return line.length > LONGEST_MESSAGE ? `${line.slice(0, LONGEST_MESSAGE)}…` : line;
}

const LONGEST_NAME = 100;

/** A name out of a file, of which nobody knows how long it is. */
export function shown(name: unknown): string {
  const text = String(name);
  return text.length > LONGEST_NAME ? `${text.slice(0, LONGEST_NAME)}…` : text;
}
