/** Numbers that no computation should meet. */

/** Where the first NaN or infinite number is; -1 where there is none. */
export function indexOfNonFinite(values: ArrayLike<number>): number {
  // x - x is 0 for every finite number: a loop over millions without a call for each.
  for (let i = 0; i < values.length; i++) if (values[i] - values[i] !== 0) return i;
  return -1;
}
