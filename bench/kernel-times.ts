/** How long each kernel of a run takes, on any backend. */
import { getBackend, getKernelsForBackend, type TensorInfo } from '@tensorflow/tfjs-core';
import { table } from '../src/report';
import { median } from './measure';

export interface KernelCall {
  name: string;
  ms: number;
  inputs: { [name: string]: TensorInfo | undefined };
  outputs: TensorInfo[];
  attrs: { [name: string]: unknown };
}

export interface KernelWatch {
  /** Before a kernel begins. */
  onBegin?: (name: string) => void;
  onCall?: (call: KernelCall) => void;
}

/**
 * Runs `run` and reports every kernel that the active backend is asked for. A kernel that another one calls is part of
 * that one. On a backend that computes elsewhere (webgl, webgpu) the times are those of the asking.
 */
export async function watchKernels<T>(run: () => Promise<T>, { onBegin, onCall }: KernelWatch): Promise<T> {
  // The registry's own objects: what is put into them is what the engine calls (4.22.0).
  const configs = getKernelsForBackend(getBackend());
  const originals = configs.map(({ kernelFunc }) => kernelFunc);
  let inside = false;
  configs.forEach((config, i) => {
    const original = originals[i];
    config.kernelFunc = (given) => {
      if (inside) return original(given);
      inside = true;
      onBegin?.(config.kernelName);
      const start = performance.now();
      try {
        const result = original(given);
        const ms = performance.now() - start;
        const outputs = Array.isArray(result) ? result : [result];
        onCall?.({ name: config.kernelName, ms, inputs: given.inputs, outputs, attrs: given.attrs ?? {} });
        return result;
      } finally {
        inside = false;
      }
    };
  });
  try {
    return await run();
  } finally {
    configs.forEach((config, i) => {
      config.kernelFunc = originals[i];
    });
  }
}

/** Kernels that were put under one heading. */
export interface KernelRow {
  heading: string;
  /** Milliseconds of one round. */
  min: number;
  median: number;
  /** Calls in one round. */
  calls: number;
  /** Of the whole round's time. */
  share: number;
}

export interface KernelTimes {
  /** The slowest first. */
  rows: KernelRow[];
  /** Medians over the rounds: all of it, and what was outside of any kernel. */
  total: number;
  outside: number;
}

/** Times `rounds` runs of `step`, its kernels under the heading that `headingOf` gives them. */
export async function timeKernels(
  step: () => Promise<unknown>,
  rounds: number,
  headingOf: (call: KernelCall) => string = ({ name }) => name,
): Promise<KernelTimes> {
  const found = new Map<string, { times: number[]; calls: number }>();
  const totals: number[] = [];
  const outsides: number[] = [];
  for (let round = 0; round < rounds; round++) {
    // Headings are made afterwards: their time would count as the step's.
    const calls: KernelCall[] = [];
    const start = performance.now();
    await watchKernels(step, { onCall: (call) => calls.push(call) });
    const total = performance.now() - start;
    totals.push(total);
    outsides.push(total - calls.reduce((sum, { ms }) => sum + ms, 0));
    for (const call of calls) {
      const heading = headingOf(call);
      const row = found.get(heading) ?? { times: Array<number>(rounds).fill(0), calls: 0 };
      row.times[round] += call.ms;
      row.calls++;
      found.set(heading, row);
    }
  }
  const total = median(totals);
  const rows = [...found].map(([heading, { times, calls }]) => ({
    heading,
    min: Math.min(...times),
    median: median(times),
    calls: calls / rounds,
    share: median(times) / total,
  }));
  return { rows: rows.sort((a, b) => b.median - a.median), total, outside: median(outsides) };
}

/** As a table: the `top` slowest, the rest in one row, and what is outside of kernels. */
export function kernelTable({ rows, total, outside }: KernelTimes, heading: string, top = Number.POSITIVE_INFINITY) {
  const sum = (of: 'min' | 'median' | 'calls') => rows.slice(top).reduce((all, row) => all + row[of], 0);
  const rest = { heading: `${rows.length - top} others`, min: sum('min'), median: sum('median'), calls: sum('calls') };
  const shown = rows.length > top ? [...rows.slice(0, top), { ...rest, share: rest.median / total }] : rows;
  const interrupted = total - outside - rows.reduce((all, row) => all + row.median, 0);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const cells = shown.map((row) => [
    row.heading,
    row.median.toFixed(2),
    row.min.toFixed(2),
    row.calls.toFixed(0),
    percent(row.share),
  ]);
  return table(
    [heading, 'ms, median', 'least', 'calls', 'share'],
    [
      ...cells,
      ['outside of kernels', outside.toFixed(2), '', '', percent(outside / total)],
      // On a busy machine a slow moment falls on another kernel in each round, and into no row's median.
      ['interruptions: in the step, in no median', interrupted.toFixed(2), '', '', percent(interrupted / total)],
      ['the whole step', total.toFixed(2), '', '', ''],
    ],
  );
}
