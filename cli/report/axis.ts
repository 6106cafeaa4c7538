/** Axes with round ticks. */
import { percent, precise, rate } from './format';

export interface Axis {
  from: number;
  to: number;
  ticks: { at: number; label: string }[];
  isLog: boolean;
}

/** Where a value lies on an axis: 0 at its beginning, 1 at its end. */
export function position(axis: Axis, value: number): number {
  const at = (x: number) => (axis.isLog ? Math.log10(x) : x);
  return (at(value) - at(axis.from)) / (at(axis.to) - at(axis.from));
}

const STEPS = 4;

/** From 0 to a round number above the largest value. */
export function lossAxis(values: readonly number[]): Axis {
  const largest = Math.max(...values, 0) || 1;
  return linear(0, largest, niceStep(largest / STEPS), tidy);
}

/** Round numbers around the values. */
export function closeAxis(values: readonly number[]): Axis {
  const [least, largest] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const span = largest - least || Math.abs(largest) / 2 || 1;
  return linear(least, Math.max(largest, least + span), niceStep(span / STEPS), tidy);
}

/** Around the values, within 0…1, as percentages. */
export function shareAxis(values: readonly number[]): Axis {
  const least = Math.max(0, Math.min(...values, 0.95));
  const largest = Math.min(1, Math.max(...values, least + 0.05));
  const step = niceStep((largest - least) / STEPS);
  const decimals = step < 0.01 ? 1 : 0;
  return linear(least, largest, step, (share) => percent(share, decimals).replace(/^100\.0/, '100'));
}

/** From epoch 0 on; whole numbers only. */
export function epochAxis(last: number): Axis {
  const step = Math.max(1, niceStep(last / 8, [1, 2, 5, 10]));
  const ticks = multiples(0, last, step).map((at) => ({ at, label: String(at) }));
  // A single point stands in the middle.
  return last === 0 ? { from: -0.5, to: 0.5, ticks, isLog: false } : { from: 0, to: last, ticks, isLog: false };
}

/** Logarithmic, with a tick for each power of ten. */
export function rateAxis(values: readonly number[]): Axis {
  const [least, largest] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [1e-4, 1e-2];
  const [from, to] = least < largest ? [least, largest] : [least / 10, least * 10];
  const exponents = multiples(Math.ceil(Math.log10(from) - 1e-9), Math.floor(Math.log10(to) + 1e-9), 1);
  const ticks = exponents.map((exponent) => ({ at: 10 ** exponent, label: rate(Number(`1e${exponent}`)) }));
  return { from, to, ticks, isLog: true };
}

function linear(least: number, largest: number, step: number, label: (value: number) => string): Axis {
  // A hair of tolerance, so that 0.3 is no step below 0.30000000000000004.
  const first = Math.floor(least / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(largest / step - 1e-9));
  const ticks = multiples(first, last, 1).map((index) => {
    const at = Number((index * step).toPrecision(12));
    return { at, label: label(at) };
  });
  return { from: ticks[0].at, to: ticks[ticks.length - 1].at, ticks, isLog: false };
}

function multiples(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.max(0, Math.floor((to - from) / step) + 1) }, (_, index) => from + index * step);
}

/** The smallest of 1, 2, 2.5, 5, 10 times a power of ten that is at least `least`. */
function niceStep(least: number, factors: readonly number[] = [1, 2, 2.5, 5, 10]): number {
  if (!(least > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  const factor = factors.find((candidate) => candidate * power >= least * (1 - 1e-9)) ?? 10;
  return Number((factor * power).toPrecision(12));
}

/** A tick's number without needless zeros. */
function tidy(value: number): string {
  return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)
    ? precise(value)
    : String(Number(value.toPrecision(6)));
}
