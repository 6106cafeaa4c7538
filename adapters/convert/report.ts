/** What a conversion did, as data and as a text. */
import type { SkippedReport } from '../../src/report';
import { withText } from '../../src/report';
import type { Comparison } from './compare';
import type { ConvertMode, ConvertTarget } from './options';
import { FORMAT_NAMES, type ModelFormat } from './source';
import type { QuantizationDtype } from './weight-file';

export interface ConvertReport {
  input: { path: string; format: ModelFormat; producer: string | null; bytes: number };
  output: { path: string; format: ConvertTarget; mode: ConvertMode; quantize: QuantizationDtype | null; bytes: number };
  /** BNs that were folded (deploy). */
  folded: number;
  /** BNs that stand as they did (deploy), and why. */
  kept: SkippedReport[];
  /** BNs that were put back (`restore`). */
  restored: number;
  /** What somebody should know: what was dropped, changed or not done. */
  notes: string[];
  /** null where it was not asked for, or not possible. */
  verification: Comparison | null;
  /** For people. */
  toString(): string;
}

export function makeConvertReport(found: Omit<ConvertReport, 'toString'>): ConvertReport {
  return withText(found, render);
}

const TARGET_NAMES: Record<ConvertTarget, string> = {
  layers: 'tfjs LayersModel',
  graph: 'tfjs GraphModel',
  h5: 'Keras HDF5 (.h5)',
};

function render({ input, output, folded, kept, restored, notes, verification }: Omit<ConvertReport, 'toString'>) {
  const { format, producer, bytes } = input;
  const stored = output.quantize === null ? '' : `, kernels as ${output.quantize}`;
  const lines = [
    `read     ${input.path}: ${FORMAT_NAMES[format]}${producer === null ? '' : `, ${producer}`}, ${inBytes(bytes)}`,
    `written  ${output.path}: ${TARGET_NAMES[output.format]}, ${output.mode}${stored}, ${inBytes(output.bytes)}`,
  ];
  if (output.mode === 'deploy')
    lines.push(`folded   ${count(folded, 'BatchNorm')}${kept.length > 0 ? `; ${kept.length} stay` : ''}`);
  if (restored > 0) lines.push(`restored ${count(restored, 'BatchNorm')}`);
  lines.push(verification === null ? 'verified nothing' : `verified ${comparisonText(verification)}`);
  for (const { bn, reason } of kept) lines.push(`kept     '${bn}': ${reason}`);
  for (const note of notes) lines.push(`note     ${note}`);
  return lines.join('\n');
}

/** A comparison in one line. */
export function comparisonText(found: Comparison): string {
  const { random, pictures, maxDifference, meanDifference, relativeDifference, top1, tolerance } = found;
  const on = [count(random, 'random input'), ...(pictures > 0 ? [count(pictures, 'picture')] : [])].join(' and ');
  const same = top1 === null ? '' : `, the same best class in ${top1.agreed} of ${top1.of}`;
  return (
    `on ${on}: max |Δ| ${short(maxDifference)} (${short(relativeDifference)} of the largest output; ` +
    `${tolerance} allowed), mean |Δ| ${short(meanDifference)}${same}`
  );
}

export function inBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(0)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function short(value: number): string {
  return value === 0 || !Number.isFinite(value) ? String(value) : value.toPrecision(2);
}
