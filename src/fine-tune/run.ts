/** The phases of a run in their order: head, learning rate, epochs; what is kept of them, and how it goes on. */
import { dispose, type io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import { setMode } from '../modes';
import type { TuneReport } from '../report';
import { breathe } from './breathe';
import { checkTrainable } from './check-trainable';
import { type Checkpoint, loadCheckpoint, type RunState, saveCheckpoint } from './checkpoint';
import type { BatchSource } from './data';
import { type SeededDropout, seedDropout } from './dropout';
import { type Evaluation, evaluate } from './evaluate';
import type { Ending, EpochRecord, FineTuneResult } from './history';
import { disposeOptimizer, makeOptimizer, readOptimizer, setLearningRate, writeOptimizer } from './optimizer';
import type { Progress, ResolvedFineTuneOptions } from './options';
import type { Prepared } from './prepare';
import { progressOf } from './progress';
import { findLearningRate } from './range-test';
import { learningRateAt } from './schedule';
import { compile, NO_STEPS, trainStep, weigh } from './steps';
import { computeFeatures, trainHead } from './train-head';
import { unfreeze } from './unfreeze';
import { hasFiniteWeights, restoreSnapshot, type Snapshot, takeSnapshot } from './weights';

/** Thrown inside to leave a phase when the signal says so; never leaves `go`. */
class Interrupted extends Error {}

/** A checkpoint is also written within an epoch that takes longer than this. */
const CHECKPOINT_EVERY_MS = 120_000;

/** One fine-tuning, from the head to the best epoch. */
export class Run {
  private readonly best: { weights: Snapshot } = { weights: [] };
  private state: RunState = {
    epoch: 0,
    sums: NO_STEPS,
    spent: { steps: [], waiting: 0 },
    history: [],
    bestEpoch: 0,
    learningRate: 0,
    rateTest: null,
    headSeconds: 0,
    peakBytes: null,
  };
  private dropout!: SeededDropout;
  private refreeze: () => void = () => {};
  private blocks!: TuneReport;

  readonly model: LayersModel;
  private readonly train: BatchSource;
  private readonly val: BatchSource;

  constructor(
    private readonly prepared: Prepared,
    private readonly options: ResolvedFineTuneOptions,
  ) {
    ({ model: this.model, train: this.train, val: this.val } = prepared);
  }

  /** Gives the layers their own dropout and `trainable` back. */
  close(): void {
    this.dropout?.undo();
    this.refreeze();
  }

  async go(): Promise<FineTuneResult> {
    const { mode, recompute, optimizer: name, seed, resume, checkpoint } = this.options;
    this.blocks = setMode(this.model, mode, { recompute });
    if (this.options.unfreeze !== undefined) this.refreeze = unfreeze(this.model, this.options.unfreeze, this.blocks);
    this.dropout = seedDropout(this.model, seed);
    await checkTrainable(this.model, this.prepared.shape);
    let ending: Ending = 'finished';
    let training = false;
    let optimizer = makeOptimizer(name, this.options.learningRate ?? 1);
    try {
      const kept = resume && checkpoint ? await this.goOn(checkpoint) : undefined;
      if (kept) {
        this.state = kept.state;
        this.best.weights = kept.best;
        restoreSnapshot(this.model, kept.weights);
      } else {
        await this.begin();
      }
      optimizer = this.renew(optimizer, this.state.learningRate);
      if (kept) await writeOptimizer(optimizer, kept.optimizer);
      compile(this.model, optimizer);
      training = true;
      if (!kept) await this.save(optimizer);
      ending = await this.epochs(optimizer);
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      ending = 'interrupted';
      if (training) await this.save(optimizer);
    } finally {
      disposeOptimizer(optimizer);
    }
    if (this.best.weights.length > 0) restoreSnapshot(this.model, this.best.weights);
    return this.result(ending);
  }

  private goOn(checkpoint: io.IOHandler): Promise<Checkpoint | undefined> {
    return loadCheckpoint(checkpoint, this.model, async ({ trainBatches }) => {
      // Which pictures can be read, and so how many batches there are, may only be known after a whole pass.
      if (trainBatches !== this.train.size) {
        await computeFeatures(null, this.train, (done) => this.report('features', done, this.train.size));
      }
      return this.settings();
    });
  }

  private renew(optimizer: ReturnType<typeof makeOptimizer>, rate: number) {
    disposeOptimizer(optimizer);
    return makeOptimizer(this.options.optimizer, rate);
  }

  /** What a checkpoint must agree on with the run that goes on with it. */
  private settings(): Record<string, unknown> {
    const { mode, epochs, learningRate, optimizer, keepHead, dropout, labelSmoothing, augment, patience, seed } =
      this.options;
    const given = { mode, epochs, learningRate, optimizer, unfreeze: this.options.unfreeze, keepHead };
    const { batchSize, inputRange } = this.options;
    const rest = { dropout, labelSmoothing, augment, patience, seed, batchSize, inputRange };
    const data = {
      classNames: [...this.prepared.classNames],
      trainBatches: this.train.size,
      valBatches: this.val.size,
    };
    // Through JSON, as it will be read.
    return JSON.parse(JSON.stringify({ ...given, ...rest, ...data, input: this.prepared.shape }));
  }

  /** The head, its evaluation as epoch 0, and the learning rate. */
  private async begin(): Promise<void> {
    const { dropout, labelSmoothing, seed, augment, optimizer } = this.options;
    const start = performance.now();
    const { head } = this.prepared;
    const features = await computeFeatures(head?.features ?? null, this.train, (done) =>
      this.report('features', done, this.train.size),
    );
    this.checkEveryClass(features.perClass);
    if (head !== null) {
      await trainHead(head.dense, features, { dropout, labelSmoothing, seed }, (done, of) =>
        this.report('head', done, of),
      );
    }
    const { loss, accuracy } = await this.validate();
    if (!Number.isFinite(loss)) {
      throw new TuneModeError(
        'invalid-data',
        `The model '${this.model.name}' gives no finite numbers for these pictures (validation loss ${loss}): ` +
          'its weights are damaged, or the input range is another one than it was trained with.',
      );
    }
    const seconds = (performance.now() - start) / 1000;
    this.state.headSeconds = seconds;
    await this.record({
      epoch: 0,
      loss: null,
      accuracy: null,
      valLoss: loss,
      valAccuracy: accuracy,
      learningRate: null,
      seconds,
      picturesPerSecond: null,
      msPerStep: null,
      waiting: null,
    });
    if (this.options.learningRate !== undefined) {
      this.state.learningRate = this.options.learningRate;
      return;
    }
    const found = await findLearningRate(this.model, this.train, { optimizer, labelSmoothing, augment }, (step, of) =>
      this.report('learning-rate', step, of),
    );
    this.state.learningRate = found.learningRate;
    this.state.rateTest = found.points;
  }

  /** Which pictures can be read is only known now. */
  private checkEveryClass(pictures: readonly number[]): void {
    const missing = this.prepared.classNames.filter((_, label) => pictures[label] === 0).map((name) => `'${name}'`);
    if (missing.length > 0) {
      throw new TuneModeError(
        'invalid-data',
        `fineTune: 'train' has no readable picture of ${missing.join(', ')}. Every class needs at least one.`,
      );
    }
  }

  private async epochs(optimizer: ReturnType<typeof makeOptimizer>): Promise<Ending> {
    const { epochs, patience } = this.options;
    while (this.state.epoch < epochs) {
      if (this.state.epoch - this.lastGain() >= patience) return 'early-stop';
      const start = performance.now();
      const rate = await this.steps(optimizer);
      if (rate === null) return 'diverged';
      const { sums, spent } = this.state;
      const training = spent.steps.reduce((sum, ms) => sum + ms, 0) + spent.waiting;
      const { loss, accuracy } = await this.validate();
      // Kernels that clip (wasm's relu6) turn NaN into a number, so that the loss alone does not tell.
      if (!Number.isFinite(loss) || !(await hasFiniteWeights(this.model))) return 'diverged';
      const epoch = this.state.epoch + 1;
      this.state.epoch = epoch;
      await this.record({
        epoch,
        loss: sums.loss / sums.pictures,
        accuracy: sums.right / sums.pictures,
        valLoss: loss,
        valAccuracy: accuracy,
        learningRate: rate,
        seconds: (performance.now() - start) / 1000,
        picturesPerSecond: (1000 * sums.pictures) / training,
        msPerStep: median(spent.steps),
        waiting: spent.waiting / training,
      });
      this.state.sums = NO_STEPS;
      this.state.spent = { steps: [], waiting: 0 };
      await this.save(optimizer);
    }
    return 'finished';
  }

  /** The rest of the epoch that has begun. @returns the last step's rate, or null where the loss is no number any more. */
  private async steps(optimizer: ReturnType<typeof makeOptimizer>): Promise<number | null> {
    const { epochs, augment, labelSmoothing } = this.options;
    const { epoch } = this.state;
    const size = this.train.size;
    let skip = this.state.sums.steps;
    // Of the last step that was taken; there may be none left, after a stop while validating.
    let rate = learningRateAt(epoch * size + Math.max(0, skip - 1), epochs * size, this.state.learningRate);
    let saved = performance.now();
    let asked = performance.now();
    for await (const batch of this.train.batches({ epoch, shuffle: true, augment })) {
      if (skip > 0) {
        // Already trained on before the run was stopped; read again, so that what follows is the same.
        skip--;
        dispose([batch.xs, batch.ys]);
        asked = performance.now();
        continue;
      }
      const begun = performance.now();
      this.state.spent.waiting += begun - asked;
      const step = epoch * size + this.state.sums.steps;
      rate = learningRateAt(step, epochs * size, this.state.learningRate);
      setLearningRate(optimizer, rate);
      this.dropout.step = step;
      const train = () => trainStep(this.model, batch, labelSmoothing);
      // The second step of the run is weighed: in the first one the optimizer's moments are made.
      const weighed = step === 1 ? await weigh(train) : { result: await train(), peakBytes: this.state.peakBytes };
      this.state.peakBytes = weighed.peakBytes;
      const { loss, accuracy, pictures } = weighed.result;
      if (!Number.isFinite(loss)) return null;
      const { sums } = this.state;
      this.state.sums = {
        steps: sums.steps + 1,
        pictures: sums.pictures + pictures,
        loss: sums.loss + loss * pictures,
        right: sums.right + accuracy * pictures,
      };
      this.state.spent.steps.push(performance.now() - begun);
      await this.report('train', this.state.sums.steps, size);
      if (performance.now() - saved > CHECKPOINT_EVERY_MS) {
        await this.save(optimizer);
        saved = performance.now();
      }
      asked = performance.now();
    }
    return rate;
  }

  private validate(): Promise<Evaluation> {
    return evaluate(this.model, this.val, (done) => this.report('validate', done, this.val.size));
  }

  /** Notes an epoch, and its weights where it is the best one. */
  private async record(record: EpochRecord): Promise<void> {
    const { history } = this.state;
    history.push(record);
    const best = history.find(({ epoch }) => epoch === this.state.bestEpoch) ?? record;
    const better =
      record.valAccuracy > best.valAccuracy ||
      (record.valAccuracy === best.valAccuracy && record.valLoss < best.valLoss);
    if (record === best || better) {
      this.state.bestEpoch = record.epoch;
      this.best.weights = await takeSnapshot(this.model);
    }
    await this.options.onEpochEnd?.(record);
  }

  /** The last epoch that was the best one until then, in accuracy or in loss. */
  private lastGain(): number {
    const { history } = this.state;
    const firstBest = (of: (record: EpochRecord) => number) =>
      history.reduce((best, record) => (of(record) < of(best) ? record : best)).epoch;
    return Math.max(
      firstBest(({ valLoss }) => valLoss),
      firstBest(({ valAccuracy }) => -valAccuracy),
    );
  }

  private async save(optimizer: ReturnType<typeof makeOptimizer>): Promise<void> {
    const { checkpoint } = this.options;
    if (checkpoint === undefined) return;
    const kept: Checkpoint = {
      settings: this.settings(),
      state: this.state,
      weights: await takeSnapshot(this.model),
      best: this.best.weights,
      optimizer: await readOptimizer(optimizer),
    };
    await saveCheckpoint(checkpoint, this.model, kept);
  }

  /** Tells how far the run is; leaves it when it is to stop. */
  private async report(phase: Progress['phase'], step: number, steps: number): Promise<void> {
    await breathe();
    if (this.options.signal?.aborted) throw new Interrupted();
    const { onProgress, epochs } = this.options;
    onProgress?.(progressOf(this.state, epochs, this.train.size, { phase, step, steps }));
  }

  private async result(ending: Ending): Promise<FineTuneResult> {
    const { history, bestEpoch, learningRate, rateTest, headSeconds, peakBytes } = this.state;
    return {
      model: this.model,
      head: this.prepared.description,
      history,
      bestEpoch,
      ending,
      ...(ending === 'diverged' ? { advisedLearningRate: Number((learningRate / 10).toPrecision(2)) } : {}),
      learningRate,
      rateTest,
      validation: ending === 'interrupted' ? null : await evaluate(this.model, this.val),
      blocks: this.blocks,
      headSeconds,
      peakBytes,
    };
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
