/** What a run comes down to, in words: shared by the page and the picture. */
import type { EpochRecord } from '../../src/fine-tune/history';
import { count, NONE, percent, rate, whole } from './format';
import type { RunReport } from './run-report';

/** The epoch whose weights were kept; null where the run ended before any. */
export function bestRecord({ history, bestEpoch }: RunReport): EpochRecord | null {
  return history.find(({ epoch }) => epoch === bestEpoch) ?? history[0] ?? null;
}

export const total = (counts: readonly number[]): number => counts.reduce((sum, value) => sum + value, 0);

/** The number that counts, empty where there is none, and what it counts. */
export function headline(report: RunReport): { value: string; text: string } {
  const accuracy = bestRecord(report)?.valAccuracy ?? null;
  const pictures = total(report.confusion.map(total)) || total(report.counts.val);
  return percent(accuracy) === NONE
    ? { value: '', text: 'No accuracy was measured' }
    : { value: percent(accuracy), text: `of ${count(pictures, 'validation picture')} recognised` };
}

/** What was trained, and what that brought, in two sentences. */
export function story(report: RunReport): string {
  const { history, labels, counts, mode } = report;
  const best = bestRecord(report);
  const last = history[history.length - 1]?.epoch ?? 0;
  const learned = `Fine-tuned in ${mode} mode to tell ${count(labels.length, 'class')} apart, on ${count(total(counts.train), 'training picture')}.`;
  if (best === null) return `${learned} No epoch came to its end.`;
  if (last === 0) return `${learned} Only the head was trained to the end.`;
  if (best.epoch === 0) {
    const others = last === 1 ? 'the epoch after it' : `any of the ${last} epochs after it`;
    return `${learned} The head alone was better than ${others}.`;
  }
  const head = history.find(({ epoch }) => epoch === 0);
  const alone = head ? ` The head alone had reached ${percent(head.valAccuracy)}.` : '';
  return `${learned}${last > 1 ? ` The best of ${last} epochs was epoch ${best.epoch}.` : ''}${alone}`;
}

export interface Notice {
  isProblem: boolean;
  title: string;
  text: string;
}

/** What has to be said of how the run ended; null where it went through. */
export function notice(report: RunReport): Notice | null {
  const { ending, history, learningRate } = report;
  const best = bestRecord(report);
  const last = history[history.length - 1]?.epoch;
  const kept =
    best === null
      ? 'There are no results.'
      : best.epoch === 0
        ? 'The results are those of the head alone.'
        : `The results are those of epoch ${best.epoch}, the best one.`;
  if (ending === 'diverged') {
    const when = last === undefined ? 'before the first epoch' : `in epoch ${last + 1}`;
    return {
      isProblem: true,
      title: 'The training diverged.',
      text:
        `The loss stopped being a finite number ${when}, with a learning rate of ${rate(learningRate)}. ${kept} ` +
        `A smaller learning rate, such as ${rate(learningRate / 10)}, is likely to help.`,
    };
  }
  if (ending === 'interrupted') {
    const when =
      last === undefined ? 'before the head was trained' : last === 0 ? 'in the first epoch' : `after epoch ${last}`;
    return { isProblem: true, title: 'The run was interrupted.', text: `It was stopped ${when}. ${kept}` };
  }
  if (ending === 'early-stop') {
    const when = last === undefined ? '' : ` after epoch ${last}`;
    const text = `The run ended${when}, because the validation results had stopped getting better. ${kept}`;
    return { isProblem: false, title: 'Stopped early.', text };
  }
  return null;
}

/** How the run ended, in a word or two. */
export function endingName({ ending, history }: RunReport): string {
  const name = ending === 'early-stop' ? 'stopped early' : ending;
  const last = history[history.length - 1]?.epoch;
  if (last === undefined) return `${name} before the head was trained`;
  return last === 0 && ending !== 'finished' ? `${name} in the first epoch` : `${name} after ${count(last, 'epoch')}`;
}

/** A picture's file without the folder of the data set in front. */
export function fileName(file: string, data: string): string {
  const folder = `${data.replace(/[\\/]+$/, '')}`;
  return folder !== '' && file.startsWith(folder) && /^[\\/]/.test(file.slice(folder.length))
    ? file.slice(folder.length).replace(/^[\\/]+/, '')
    : file;
}

export const lastPart = (file: string): string => file.split(/[\\/]/).at(-1) || file;

/** A class's name, also where a matrix has more classes than there are names. */
export const className = (labels: readonly string[], index: number): string => labels[index] ?? `class ${whole(index)}`;
