/** Ctrl-C: the first one asks the work to stop, the second one ends the process. */
import os from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interruption {
  signal: AbortSignal;
  /** 128 and the signal's number, as shells expect; undefined where none has come. */
  exitCode(): number | undefined;
  /** Gives the signals their own effect back. */
  end(): void;
}

/** @param onFirst called when the first signal comes. */
export function heedInterruption(onFirst: (name: NodeJS.Signals) => void): Interruption {
  const controller = new AbortController();
  let received: NodeJS.Signals | undefined;
  const end = () => {
    for (const name of SIGNALS) process.removeListener(name, first);
  };
  function first(name: NodeJS.Signals): void {
    received = name;
    // Without a listener the system itself ends the process at the next one: at once, even within a training step.
    end();
    onFirst(name);
    controller.abort();
  }
  for (const name of SIGNALS) process.on(name, first);
  return {
    signal: controller.signal,
    exitCode: () => (received === undefined ? undefined : 128 + os.constants.signals[received]),
    end,
  };
}
