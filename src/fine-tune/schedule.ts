/** The learning rate over a run: linear warm-up, then half a cosine down to zero (Loshchilov & Hutter, arXiv 1608.03983). */

/** Share of the steps in which the rate grows: Adam's moments need some steps before they mean anything. */
const WARM_UP = 0.1;

/**
 * @param step from 0.
 * @param steps of the whole run.
 * @param peak the rate after the warm-up.
 */
export function learningRateAt(step: number, steps: number, peak: number): number {
  const warmUp = Math.max(1, Math.round(steps * WARM_UP));
  if (step < warmUp) return (peak * (step + 1)) / warmUp;
  const progress = (step - warmUp) / Math.max(1, steps - warmUp);
  return (peak * (1 + Math.cos(Math.PI * Math.min(1, progress)))) / 2;
}
