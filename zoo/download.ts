/** Files over http. */
import { TuneModeError } from '../src/errors';
import type { LoadOptions } from './options';

export type Bytes = Uint8Array<ArrayBuffer>;

/** What is being downloaded, and what to say if it cannot be. */
export interface Request {
  url: string;
  /** In the words of a message: 'the model.json of a tfjs model'. */
  what: string;
  /** Whether its content is text; a text that begins with '<' is a web page. */
  isText: boolean;
  help: Help;
}

/** Parts of messages. */
export interface Help {
  /** ' and is not in the cache', where one was looked into. */
  missing: string;
  /** What the user can do instead. */
  instead: string;
}

/**
 * @param onBytes told of every piece that comes.
 * @throws TuneModeError `download-failed` naming the URL and the status, or why the server cannot be reached; the
 * signal's reason.
 */
export async function fetchFile(
  request: Request,
  { fetchFunc, requestInit }: LoadOptions,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): Promise<Bytes> {
  const { url, what, isText, help } = request;
  const unreachable = (error: unknown): never => {
    signal.throwIfAborted();
    throw new TuneModeError(
      'download-failed',
      `'${url}' cannot be downloaded (${reasonOf(error)})${help.missing}: connect to its server, or ${help.instead}.`,
      { cause: error },
    );
  };
  signal.throwIfAborted();
  const ask = fetchFunc ?? globalThis.fetch;
  const response = await ask(url, { ...requestInit, signal }).catch(unreachable);
  if (!response.ok) {
    await response.body?.cancel().catch(() => undefined);
    const status = [response.status, response.statusText].filter(Boolean).join(' ');
    throw new TuneModeError(
      'download-failed',
      `'${url}' answers with status ${status}; expected ${what}. Check the URL, or ${help.instead}.`,
    );
  }
  const bytes = await readBody(response, signal, onBytes, unreachable);
  const isHtml = isText || response.headers?.get('content-type')?.includes('html');
  if (isHtml && beginsWithTag(bytes)) {
    throw new TuneModeError(
      'download-failed',
      `'${url}' answers with a web page (status ${response.status}); expected ${what}. Check the URL, or ${help.instead}.`,
    );
  }
  return bytes;
}

async function readBody(
  response: Response,
  signal: AbortSignal,
  onBytes: (count: number) => void,
  unreachable: (error: unknown) => never,
): Promise<Bytes> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const take = (part: Uint8Array) => {
    signal.throwIfAborted(); // a `fetchFunc` may not know of it
    parts.push(part);
    length += part.length;
    onBytes(part.length);
  };
  // A `fetchFunc` may give less than a whole Response.
  const reader = response.body?.getReader?.();
  if (reader === undefined) take(new Uint8Array(await response.arrayBuffer().catch(unreachable)));
  else {
    for (;;) {
      const { done, value } = await reader.read().catch(unreachable);
      if (done) break;
      take(value);
    }
  }
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function beginsWithTag(bytes: Bytes): boolean {
  return new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().startsWith('<');
}

/** Node says 'fetch failed', and what failed in the cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } };
  return cause?.code || cause?.message || message || String(error);
}
