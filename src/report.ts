/** What was found in a model, as data and as a table to read. */
import type { Mode } from './modes';
import type { SkipCode } from './walker/check';
import type { Analysis, BlockReport } from './walker/find';

export interface SkippedReport {
  /** Path of the BatchNormalization layer. */
  bn: string;
  code: SkipCode;
  /** One sentence: why. */
  reason: string;
}

export interface TuneReport {
  /** The mode that the model is in. */
  mode: Mode;
  pairs: BlockReport[];
  skipped: SkippedReport[];
  /** A table for people. */
  toString(): string;
}

export function makeReport(mode: Mode, analysis: Analysis): TuneReport {
  const pairs = analysis.pairs.map(({ report }) => report);
  const skipped = analysis.skipped.map(({ path, refusal }) => ({ bn: path, ...refusal }));
  return withText({ mode, pairs, skipped }, render);
}

/** A report that also reads as text. A plain method would show up in JSON.stringify's input and in console.log. */
export function withText<T extends object>(report: T, render: (report: T) => string): T & { toString(): string } {
  const value = () => render(report);
  return Object.defineProperty(report, 'toString', { value, configurable: true, writable: true, enumerable: false });
}

function render({ mode, pairs, skipped }: Omit<TuneReport, 'toString'>): string {
  const count = pairs.length + skipped.length;
  const lines = [
    `mode ${mode}: ${pairs.length} of ${count} BatchNormalization layer${count === 1 ? '' : 's'} paired with a conv`,
  ];
  if (pairs.length > 0) {
    lines.push(
      '',
      table(
        ['conv', 'kind', 'bn', 'activation'],
        pairs.map((pair) => [pair.conv, pair.kind, pair.bn, pair.activation ?? '-']),
      ),
    );
  }
  if (skipped.length > 0) {
    lines.push(
      '',
      'not paired (in tune mode these behave as in eval mode)',
      table(
        ['bn', 'code', 'reason'],
        skipped.map(({ bn, code, reason }) => [bn, code, reason]),
      ),
    );
  }
  return lines.join('\n');
}

/** Columns padded to their widest cell. */
export function table(head: string[], rows: string[][]): string {
  const all = [head, head.map(() => ''), ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all
    .map((row, index) =>
      row
        .map((cell, column) => (index === 1 ? '-'.repeat(widths[column]) : cell.padEnd(widths[column])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
