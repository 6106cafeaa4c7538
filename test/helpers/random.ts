/** Seeded random numbers, so that a failing test fails again. */

export interface Random {
  /** Uniform in [from, to). */
  uniform(from?: number, to?: number): number;
  /** One of the values. */
  pick<T>(values: readonly T[]): T;
  /** A float32 array of numbers made one by one. */
  array(length: number, make?: (index: number) => number): Float32Array;
}

/** Mulberry32. */
export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const uniform = (from = -1, to = 1) => from + (to - from) * next();
  return {
    uniform,
    pick: (values) => values[Math.floor(next() * values.length)],
    array: (length, make = () => uniform()) => Float32Array.from({ length }, (_, index) => make(index)),
  };
}
