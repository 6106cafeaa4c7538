/** What `useBestBackend` asks of threads. Until more than one is wanted, nothing of them is loaded. */
import { TuneModeError } from '../../../src/errors';
import { runningThreads } from './running';

export const MOST_THREADS = 64;

/** Threads that could not be started: asked for again, they are not tried again, as the backend runs without them. */
let refused: { threads: number; why: string } | undefined;

/** One at a time: two at once would each register a backend. */
let starting: Promise<unknown> = Promise.resolve();

/** @throws TuneModeError `invalid-option` */
export function checkThreads(threads: unknown): void {
  if (threads === undefined || (Number.isInteger(threads) && Number(threads) >= 1 && Number(threads) <= MOST_THREADS))
    return;
  const found = typeof threads === 'number' ? String(threads) : JSON.stringify(threads);
  throw new TuneModeError(
    'invalid-option',
    `useBestBackend: option 'threads' must be a whole number from 1 to ${MOST_THREADS}; found ${found}.`,
  );
}

/**
 * To be called before 'wasm' starts; afterwards only with as many threads as then.
 * @returns undefined if they are there, or why the backend has to do with one.
 * @throws TuneModeError `backend-unavailable` if the backend runs already, with another number of threads.
 */
export async function useThreads(threads: number): Promise<string | undefined> {
  const result = starting.then(() => start(threads));
  starting = result.catch(() => {});
  return result;
}

async function start(threads: number): Promise<string | undefined> {
  const running = runningThreads();
  if (running === threads) return undefined;
  if (running !== undefined) {
    if (running === 1 && refused?.threads === threads) return refused.why;
    throw new TuneModeError(
      'backend-unavailable',
      `The wasm backend runs already, on ${inWords(running)}, and cannot change to ${inWords(threads)}. ` +
        `Call useBestBackend({ threads: ${threads} }) first, before anything is computed with tfjs.`,
    );
  }
  if (threads === 1 || refused?.threads === threads) return threads === 1 ? undefined : refused?.why;
  try {
    const { registerThreadedWasm } = await import('./index');
    await registerThreadedWasm(threads);
    return undefined;
  } catch (error) {
    const why = (error instanceof Error ? error.message : String(error)).split('\n')[0].replace(/\.$/, '');
    refused = { threads, why };
    return why;
  }
}

export function inWords(threads: number): string {
  return threads === 1 ? 'one thread' : `${threads} threads`;
}
