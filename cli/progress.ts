/** The progress of long work on stderr: one line that is written over on a terminal, plain lines elsewhere. */
import { EMPTY_LINE, progressText } from '../adapters/node/progress-bar';
import type { Output } from './command';

/** Terminals are slow: not written to more often. */
const EVERY_MS = 80;

export class ProgressLine {
  private shown = false;
  private last = Number.NEGATIVE_INFINITY;

  constructor(private readonly output: Output) {}

  /**
   * Shows how far the work is; does nothing without a terminal.
   * @param share 0…1
   */
  show(before: string, share: number, after: string): void {
    const { terminal } = this.output;
    const now = performance.now();
    if (terminal === undefined || (now - this.last < EVERY_MS && share < 1)) return;
    this.last = now;
    terminal.write(`${EMPTY_LINE}${progressText(before, share, after, terminal.columns())}`);
    this.shown = true;
  }

  /** Writes a line that stays, to stderr. */
  note(text: string): void {
    this.clear();
    this.output.err(text);
  }

  /** Makes room, before anything else is written. */
  clear(): void {
    if (this.shown) this.output.terminal?.write(EMPTY_LINE);
    this.shown = false;
  }
}

/** '0:07', '12:30', '1:02:03' */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
