/** How far a run is, in the words of `onProgress`. */
import type { RunState } from './checkpoint';
import type { Progress } from './options';

/** @param batches in an epoch. */
export function progressOf(
  { sums, spent, history, epoch }: RunState,
  epochs: number,
  batches: number,
  at: Pick<Progress, 'phase' | 'step' | 'steps'>,
): Progress {
  const isTraining = history.length > 0 && (at.phase === 'train' || at.phase === 'validate');
  if (!isTraining) return { ...at, epoch: 0, epochs };
  const progress: Progress = { ...at, epoch: Math.min(epoch + 1, epochs), epochs };
  if (sums.steps === 0) return progress;
  const training = spent.steps.reduce((sum, ms) => sum + ms, 0) + spent.waiting;
  const perStep = training / sums.steps;
  // Validation costs what it cost last time.
  const trainingBefore = epoch > 0 ? (perStep * batches) / 1000 : 0;
  const validating = Math.max(0, (history.at(-1)?.seconds ?? 0) - trainingBefore);
  const stepsLeft = (epochs - epoch) * batches - sums.steps;
  return {
    ...progress,
    loss: sums.loss / sums.pictures,
    accuracy: sums.right / sums.pictures,
    picturesPerSecond: (1000 * sums.pictures) / training,
    secondsLeft: (stepsLeft * perStep) / 1000 + (epochs - epoch) * validating,
  };
}
