/** The `finetune` command's way through a run: load, take the folder, train, write, rename. */
import { enableProdMode } from '@tensorflow/tfjs-core';
import { fileIO, loadPictureFolder, type PictureFolder, useBestBackend } from '../../adapters/node';
import { type LoadedModel, loadModel } from '../../adapters/node/load-model';
import { TuneModeError } from '../../src';
import { type FineTuneResult, fineTune } from '../../src/fine-tune';
import type { Output } from '../command';
import type { FinetuneSettings } from '../commands/finetune';
import { heedInterruption } from '../interruption';
import { pictureFormOf } from '../picture-form';
import { ProgressLine } from '../progress';
import { checkSameRun, RunFolder } from '../run-folder';
import { checkClasses, fingerprintOf } from './data';
import { restoreOnPictures, writeGraph } from './graph';
import { epochLine, showProgress } from './show';
import { summary } from './summary';
import { thaw } from './thaw';
import { type RunFacts, writeResult } from './write-result';

export async function finetune(settings: FinetuneSettings, output: Output): Promise<number | undefined> {
  // Without it tfjs advises, on stderr, to install its native backend.
  enableProdMode();
  const folder = await RunFolder.open(settings.out, settings);
  try {
    return await runIn(folder, settings, output);
  } catch (error) {
    if (!settings.resume && (await folder.hasCheckpoint())) {
      output.err(`Stopped by an error; the run is kept. Once that is mended, go on with:\n  ${settings.line} --resume`);
    }
    throw error;
  } finally {
    await folder.close();
  }
}

async function runIn(folder: RunFolder, settings: FinetuneSettings, output: Output): Promise<number | undefined> {
  const progress = new ProgressLine(output);
  const interruption = heedInterruption(() => progress.note('Stopping after this step; once more stops at once.'));
  let pictures: PictureFolder | undefined;
  try {
    const choice = await useBestBackend({ backend: settings.backend, threads: settings.threads });
    const { backend } = choice;
    const computing = (choice.threads ?? 1) > 1 ? `${backend}, ${choice.threads} threads` : backend;
    if (settings.threads !== undefined && settings.threads !== (choice.threads ?? 1)) progress.note(choice.why);
    const loaded = await loadModel(settings.model);
    const frozen = thaw(loaded.model);
    if (frozen > 0)
      progress.note(
        `${frozen} layer${frozen === 1 ? '' : 's'} frozen in the model's file will train too; --unfreeze limits it.`,
      );
    const input = pictureFormOf(loaded, settings);
    pictures = await loadPictureFolder(settings.data, {
      ...input,
      batchSize: settings.batchSize,
      validationSplit: settings.validationSplit,
      seed: settings.seed,
      ...(settings.keepHead && loaded.metadata.labels ? { classNames: loaded.metadata.labels } : {}),
      skip: (await folder.readSettings<Kept>())?.skipped,
      onSkip: ({ file, reason }) => progress.note(`Skipped '${file}': ${reason}.`),
    });
    checkClasses(settings.data, pictures);
    const kept = new KeptSettings(folder, await fingerprintOf(loaded, pictures, { ...input, backend }));
    if (settings.resume) await kept.check();
    progress.note(startLine(pictures, settings, computing));
    progress.note(`Black and white are ${input.inputRange.join(' and ')}${rangeSource(loaded, settings)}.`);
    if (settings.keepHead && !loaded.metadata.labels) {
      const order = pictures.classNames.map((name) => `'${name}'`).join(', ');
      progress.note(`The model names no classes: its outputs are taken to be ${order}, in this order.`);
    }

    const restored = loaded.lifted && (await restoreOnPictures(loaded.lifted, pictures, input, progress));
    const sizes = new SetSizes();
    const result = await fineTune(restored?.model ?? loaded.model, pictures, {
      ...trainingOptions(settings),
      inputRange: input.inputRange,
      checkpoint: fileIO(folder.checkpoint),
      resume: settings.resume,
      signal: interruption.signal,
      onProgress: (now) => showProgress(progress, now),
      onEpochEnd: async (record) => {
        if (record.epoch === 0) await kept.write(pictures as PictureFolder);
        sizes.check(pictures as PictureFolder);
        progress.clear();
        if (settings.json) output.out(JSON.stringify(record));
        progress.note(epochLine(record, settings.epochs));
      },
    });
    progress.clear();
    if (result.ending === 'interrupted') {
      output.err(await stoppedMessage(folder, settings, result));
      return interruption.exitCode();
    }
    const facts: RunFacts = { settings, backend: computing, imageSize: input.imageSize, inputRange: input.inputRange };
    const written = await writeResult(folder.result, result, pictures, facts, (text) => progress.show(text, 1, ''));
    const graph = loaded.lifted &&
      restored && { notWritten: await writeGraph(folder.result, { lifted: loaded.lifted, restored }, result.model) };
    progress.clear();
    await folder.commit();
    const text = summary(settings, result, pictures, { ...written, graph });
    // With --json, stdout is for the epochs alone.
    if (settings.json) output.err(text);
    else output.out(text);
    return result.ending === 'diverged' ? diverged(result, output) : undefined;
  } finally {
    progress.clear();
    interruption.end();
    await pictures?.close();
  }
}

/** A wrong range only shows in a lower accuracy, so a guess is said to be one. */
function rangeSource({ metadata }: LoadedModel, { inputRange }: FinetuneSettings): string {
  if (inputRange !== undefined) return '';
  return metadata.inputRange ? ', as the model says' : ' (assumed; --input-range sets it)';
}

function trainingOptions(settings: FinetuneSettings) {
  const { mode, epochs, batchSize, learningRate, optimizer, unfreeze, recompute, keepHead, augment, seed } = settings;
  return { mode, epochs, batchSize, learningRate, optimizer, unfreeze, recompute, keepHead, augment, seed };
}

function startLine({ train, val, classNames }: PictureFolder, { mode }: FinetuneSettings, backend: string): string {
  return `${classNames.length} classes, ${train.count} pictures to train on, ${val.count} to validate; ${mode} mode on ${backend}.`;
}

async function stoppedMessage(folder: RunFolder, settings: FinetuneSettings, { history }: FineTuneResult) {
  if (!(await folder.hasCheckpoint())) return 'Stopped before the first epoch; nothing was kept.';
  return `Stopped after epoch ${history.at(-1)?.epoch ?? 0}; everything is kept. Go on with:\n  ${settings.line} --resume`;
}

function diverged({ advisedLearningRate, bestEpoch }: FineTuneResult, { err }: Output): number {
  err(
    `error: the loss is no number any more, so the run was stopped; the result is that of epoch ${bestEpoch}. ` +
      `Try --learning-rate ${advisedLearningRate}.`,
  );
  return 1;
}

/** Epochs are compared with one another: that means nothing once pictures have vanished in between. */
class SetSizes {
  private before?: { train: number; val: number };

  /** To be called after each epoch; the first time all pictures have been read once. */
  check({ train, val }: PictureFolder): void {
    const now = { train: train.count, val: val.count };
    this.before ??= now;
    const vanished = this.before.train + this.before.val - now.train - now.val;
    if (vanished > 0) {
      throw new TuneModeError(
        'invalid-data',
        `${vanished} picture${vanished === 1 ? '' : 's'} could be read before and cannot any more. Put them back, or begin anew with --force.`,
      );
    }
  }
}

interface Kept {
  run: Record<string, unknown>;
  skipped: { file: string; reason: string }[];
}

/** What is written down beside the checkpoint, so that only the same run goes on with it. */
class KeptSettings {
  constructor(
    private readonly folder: RunFolder,
    private readonly run: Record<string, unknown>,
  ) {}

  async check(): Promise<void> {
    const before = await this.folder.readSettings<Kept>();
    if (before) checkSameRun(before.run, this.run);
  }

  async write({ skipped }: PictureFolder): Promise<void> {
    await this.folder.writeSettings({ run: this.run, skipped: [...skipped] } satisfies Kept);
  }
}
