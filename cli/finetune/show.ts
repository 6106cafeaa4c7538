/** What a run says while it goes on. */
import type { EpochRecord, Progress } from '../../src/fine-tune';
import { clock, type ProgressLine } from '../progress';

export const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

const PREPARING: Partial<Record<Progress['phase'], string>> = {
  features: 'reading the pictures',
  head: 'training the head',
  'learning-rate': 'looking for a learning rate',
};

export function showProgress(line: ProgressLine, progress: Progress): void {
  const { phase, epoch, epochs, step, steps } = progress;
  const share = step / Math.max(1, steps);
  const preparing = PREPARING[phase];
  if (preparing !== undefined) {
    line.show(preparing, share, `${step}/${steps}`);
    return;
  }
  const { loss, accuracy, picturesPerSecond, secondsLeft } = progress;
  const parts = [
    phase === 'validate' ? 'validating' : `${step}/${steps}`,
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(3)}`]),
    ...(accuracy === undefined ? [] : [`accuracy ${percent(accuracy)}`]),
    ...(picturesPerSecond === undefined ? [] : [`${picturesPerSecond.toFixed(0)} pictures/s`]),
    ...(secondsLeft === undefined ? [] : [`${clock(secondsLeft)} left`]),
  ];
  line.show(epoch === 0 ? 'head' : `epoch ${epoch}/${epochs}`, share, parts.join('  '));
}

/** One line for an epoch that is over. */
export function epochLine(record: EpochRecord, epochs: number): string {
  const { epoch, loss, accuracy, valLoss, valAccuracy, picturesPerSecond, seconds } = record;
  const validation = `validation ${percent(valAccuracy)} (loss ${valLoss.toFixed(3)})`;
  if (epoch === 0) return `head alone: ${validation}  ${clock(seconds)}`;
  const parts = [
    `epoch ${epoch}/${epochs}: loss ${loss?.toFixed(3)}`,
    `accuracy ${percent(accuracy ?? 0)}`,
    validation,
    `${picturesPerSecond?.toFixed(0)} pictures/s`,
    clock(seconds),
  ];
  return parts.join('  ');
}
