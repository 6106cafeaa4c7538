/** A line of a terminal that shows how far something is, to be written over by the next one. */

/** Goes to the line's start and empties it. */
export const EMPTY_LINE = '\r\x1b[K';

const BAR_CELLS = 20;
/** A shorter bar says nothing. */
const LEAST_CELLS = 4;

/**
 * `before`, a bar, `after`; the bar gives way to the words, and all of it to the terminal's width.
 * @param share 0…1
 * @param columns of the terminal.
 */
export function progressText(before: string, share: number, after: string, columns: number): string {
  // One column is left free: a line that fills the last one would wrap on some terminals.
  const width = Math.max(1, columns - 1);
  const cells = Math.max(0, Math.min(BAR_CELLS, width - before.length - after.length - 2));
  const line = [before, ...(cells >= LEAST_CELLS ? [bar(share, cells)] : []), after].join(' ');
  return [...line].slice(0, width).join('');
}

function bar(share: number, cells: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * cells);
  return '█'.repeat(full) + '░'.repeat(cells - full);
}
