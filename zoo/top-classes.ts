import { TuneModeError } from '../src/errors';

export interface Prediction {
  className: string;
  /** 0…1 */
  probability: number;
}

/**
 * The likeliest classes, best first.
 * @throws TuneModeError `invalid-option` where `topk` is no whole number from 1.
 */
export function topClasses(
  where: string,
  labels: readonly string[],
  probabilities: ArrayLike<number>,
  topk: number,
): Prediction[] {
  if (!Number.isInteger(topk) || topk < 1) {
    throw new TuneModeError('invalid-option', `${where}: 'topk' must be a whole number from 1; found ${topk}.`);
  }
  return labels
    .map((className, i) => ({ className, probability: probabilities[i] }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, topk);
}
