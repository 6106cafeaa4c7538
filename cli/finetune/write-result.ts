/** Everything that a run leaves: both models, what they expect, the history and the report. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { fileIO, type PictureFolder } from '../../adapters/node';
import { metadataText } from '../../adapters/node/metadata';
import { version } from '../../package.json';
import { TuneModeError, toDeploy } from '../../src';
import type { BatchSource, FineTuneResult } from '../../src/fine-tune';
import type { FinetuneSettings } from '../commands/finetune';
import { reportHtml } from '../report/html';
import type { RunReport } from '../report/run-report';
import { worstPictures } from '../report/thumbnails';
import { MARK } from '../run-folder';
import { countByClass } from './data';

export interface RunFacts {
  settings: FinetuneSettings;
  backend: string;
  imageSize: [height: number, width: number];
  inputRange: [black: number, white: number];
}

export interface Written {
  bytes: number;
  deployBytes: number;
  /** Between the tuned model's and the deployed model's probabilities. */
  largestDifference: number;
}

/** Pictures on which both models are compared. */
const COMPARED = 64;
/**
 * Folding rounds each weight once (2⁻²⁴ of it) and each layer passes that on: differences of about 1e-6 are seen with 52
 * blocks. A wrong fold is off by far more.
 */
const TOLERANCE = 1e-3;

/** @param say tells what is being written. */
export async function writeResult(
  folder: string,
  result: FineTuneResult,
  pictures: PictureFolder,
  facts: RunFacts,
  say: (text: string) => void,
): Promise<Written> {
  const { model } = result;
  const { imageSize, inputRange } = facts;
  say('folding the BatchNorms');
  const deployed = toDeploy(model);
  try {
    const largestDifference = await compare(model, deployed, pictures.val);
    say('writing the models');
    const metadata = metadataText(model.name, { labels: pictures.classNames, imageSize, inputRange });
    for (const [name, which] of [['tuned', model] as const, ['deploy', deployed] as const]) {
      await which.save(fileIO(path.join(folder, name)));
      // Beside each model too, so that either folder can be taken elsewhere alone.
      await fs.writeFile(path.join(folder, name, 'metadata.json'), metadata);
    }
    await fs.writeFile(path.join(folder, 'metadata.json'), metadata);
    say('writing the report');
    const report = await reportOf(result, pictures, facts);
    await fs.writeFile(path.join(folder, 'report.html'), reportHtml(report));
    await fs.writeFile(path.join(folder, MARK), historyText(report, largestDifference));
    return { bytes: 4 * model.countParams(), deployBytes: 4 * deployed.countParams(), largestDifference };
  } finally {
    deployed.dispose();
  }
}

/** @throws TuneModeError `broken-invariant` where the folded model computes something else. */
export async function compare(model: LayersModel, deployed: LayersModel, pictures: BatchSource): Promise<number> {
  let largest = 0;
  let seen = 0;
  for await (const { xs, ys } of pictures.batches({ epoch: 0, shuffle: false, augment: false })) {
    const outputs = [model, deployed].map((each) => each.predictOnBatch(xs) as Tensor);
    const [expected, found] = await Promise.all(outputs.map((output) => output.data()));
    dispose([xs, ys, ...outputs]);
    expected.forEach((value, index) => {
      largest = Math.max(largest, Math.abs(value - found[index])); // NaN stays NaN, and is refused below
    });
    seen += xs.shape[0];
    if (seen >= COMPARED) break;
  }
  if (!(largest <= TOLERANCE)) {
    throw new TuneModeError(
      'broken-invariant',
      `The folded model's probabilities differ by ${largest} from the tuned model's on ${seen} pictures, more than ${TOLERANCE}; nothing was written. Please report this.`,
    );
  }
  return largest;
}

async function reportOf(result: FineTuneResult, pictures: PictureFolder, facts: RunFacts): Promise<RunReport> {
  const { settings, backend, imageSize } = facts;
  const { history, bestEpoch, validation, blocks } = result;
  const steps = history.slice(1);
  const labels = pictures.classNames;
  const named = <T extends { file: string }>(each: T): T => ({ ...each, file: nameOf(each.file, settings.data) });
  const mean = (of: (record: (typeof steps)[number]) => number | null) =>
    steps.length === 0 ? null : steps.reduce((sum, record) => sum + (of(record) ?? 0), 0) / steps.length;
  return {
    version,
    date: new Date().toISOString(),
    command: settings.line,
    model: settings.model,
    data: settings.data,
    backend,
    mode: settings.mode,
    optimizer: settings.optimizer,
    batchSize: settings.batchSize,
    imageSize,
    seed: settings.seed,
    labels,
    counts: { train: countByClass(pictures.train, pictures), val: countByClass(pictures.val, pictures) },
    head: result.head,
    history,
    bestEpoch,
    ending: result.ending,
    learningRate: result.learningRate,
    rateTest: result.rateTest,
    confusion: validation?.confusion ?? [],
    worst: (await worstPictures(validation?.mistakes ?? [], labels)).map(named),
    time: {
      totalSeconds: history.reduce((sum, { seconds }) => sum + seconds, 0),
      headSeconds: result.headSeconds,
      msPerStep: mean(({ msPerStep }) => msPerStep),
      waiting: mean(({ waiting }) => waiting),
    },
    memory: { peakBytes: result.peakBytes, rssBytes: process.resourceUsage().maxRSS * 1024 },
    blocks: { pairs: blocks.pairs, skipped: blocks.skipped },
    skippedPictures: pictures.skipped.map(named),
  };
}

/** A picture's place in the data folder: what the report says should not depend on where that lies. */
function nameOf(file: string, data: string): string {
  return path.relative(path.resolve(data), file).split(path.sep).join('/');
}

/** The report as data, without the thumbnails. */
function historyText(report: RunReport, deployDifference: number): string {
  const worst = report.worst.map(({ src: _, ...rest }) => rest);
  return `${JSON.stringify({ ...report, worst, deployDifference }, null, 2)}\n`;
}
