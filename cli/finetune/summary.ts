/** What a run says when it is over. */
import path from 'node:path';
import type { PictureFolder } from '../../adapters/node';
import type { FineTuneResult } from '../../src/fine-tune';
import type { FinetuneSettings } from '../commands/finetune';
import { percent } from './show';
import type { Written } from './write-result';

const ENDINGS: Record<FineTuneResult['ending'], string> = {
  finished: '',
  'early-stop': ' Stopped early, as nothing had become better.',
  diverged: ' Stopped, as the loss was no number any more.',
  interrupted: '',
};

export function summary(
  { out }: FinetuneSettings,
  { head, blocks, history, bestEpoch, ending, learningRate }: FineTuneResult,
  { val, skipped }: PictureFolder,
  { bytes, deployBytes, largestDifference, graph }: Written & { graph: { notWritten: string | null } | null },
): string {
  const best = history.find(({ epoch }) => epoch === bestEpoch) ?? history[0];
  const which = bestEpoch === 0 ? 'the head alone' : `epoch ${bestEpoch} of ${history.length - 1}`;
  const before = bestEpoch === 0 ? '' : ` (the head alone: ${percent(history[0].valAccuracy)})`;
  const left = blocks.skipped.length;
  const rows = [
    ['tuned', `to train on with, ${megabytes(bytes)}`],
    [
      'deploy',
      `folded, ${megabytes(deployBytes)}; probabilities differ by at most ${largestDifference.toExponential(0)}`,
    ],
    ...(graph?.notWritten === null ? [['graph', 'the GraphModel, with the tuned weights and head']] : []),
    ['report.html', 'curves, confusion, worst pictures'],
  ];
  const advice =
    bestEpoch === 0 && ending !== 'diverged' && best.valAccuracy < 1
      ? [
          `No epoch was better: try a lower --learning-rate, such as ${(learningRate / 5).toPrecision(1)}, or more pictures.`,
        ]
      : [];
  return [
    head,
    `${blocks.pairs.length} ConvBN blocks in ${blocks.mode} mode, ${left} BatchNorm${left === 1 ? '' : 's'} left alone; highest learning rate ${learningRate}.`,
    ...(skipped.length > 0
      ? [`${skipped.length} unreadable picture${skipped.length === 1 ? ' was' : 's were'} skipped.`]
      : []),
    `Best: ${which}, ${percent(best.valAccuracy)} of ${val.count} validation pictures right${before}.${ENDINGS[ending]}`,
    ...(graph?.notWritten ? [`The result was not written as a GraphModel too: ${graph.notWritten}.`] : []),
    ...advice,
    '',
    ...rows.map(([name, what]) => `${path.join(out, name).padEnd(path.join(out, 'report.html').length + 2)}${what}`),
  ].join('\n');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
