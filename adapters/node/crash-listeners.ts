const EVENTS = ['uncaughtException', 'unhandledRejection'] as const;

/**
 * Runs `start` and takes away the crash listeners that Emscripten's loader adds meanwhile.
 *
 * The wasm backend (4.22.0) listens to uncaught errors only to throw them again; the effect is that Node prints the
 * loader's one line of 40,000 characters above every error of the program. Without the listeners Node does what it
 * does by default. Listeners of anybody else stay.
 */
export async function withoutEmscriptenListeners<T>(start: () => Promise<T>): Promise<T> {
  const before = EVENTS.map((event) => process.listeners(event as 'uncaughtException') as Listener[]);
  try {
    return await start();
  } finally {
    EVENTS.forEach((event, i) => {
      for (const listener of process.listeners(event as 'uncaughtException') as Listener[]) {
        if (!before[i].includes(listener) && isEmscriptens(listener)) process.removeListener(event, listener);
      }
    });
  }
}

type Listener = (...args: unknown[]) => void;

/** Both are too small to be mistaken: `if (!(ex instanceof ExitStatus)) throw ex` and `throw reason`. */
function isEmscriptens(listener: Listener): boolean {
  const source = String(listener);
  return source.length < 200 && (source.includes('ExitStatus') || /\{\s*throw reason;?\s*\}/.test(source));
}
