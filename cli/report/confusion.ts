/** What is read off a confusion matrix. */
import { className, total } from './summary';

export interface Confusion {
  label: string;
  predicted: string;
  count: number;
  /** Of the pictures of the true class, 0…1. */
  share: number;
}

/** Whether every picture was right; false where there were none. */
export function isPerfect(confusion: readonly (readonly number[])[]): boolean {
  const right = total(confusion.map((row, label) => row[label] ?? 0));
  return right > 0 && right === total(confusion.map(total));
}

/** Share of a row in each of its cells, 0…1; null for a class without pictures. */
export function rowShares(row: readonly number[]): number[] | null {
  const sum = total(row);
  return sum > 0 ? row.map((count) => count / sum) : null;
}

/** Share of a class's validation pictures that were right; null where there are none. */
export function recall(confusion: readonly (readonly number[])[], label: number): number | null {
  return rowShares(confusion[label] ?? [])?.[label] ?? null;
}

/** Which class was taken for which, the most frequent first. */
export function topConfusions(
  confusion: readonly (readonly number[])[],
  labels: readonly string[],
  most: number,
): Confusion[] {
  return confusion
    .flatMap((row, label) => {
      const shares = rowShares(row);
      return row.map((count, predicted) => ({ label, predicted, count, share: shares?.[predicted] ?? 0 }));
    })
    .filter(({ label, predicted, count }) => label !== predicted && count > 0)
    .sort((a, b) => b.count - a.count || b.share - a.share)
    .slice(0, most)
    .map(({ label, predicted, ...rest }) => ({
      label: className(labels, label),
      predicted: className(labels, predicted),
      ...rest,
    }));
}
