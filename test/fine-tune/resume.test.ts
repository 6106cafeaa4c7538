/** A run that is stopped anywhere and goes on is the same run: the same curve, the same weights, bit for bit. */
import * as tf from '@tensorflow/tfjs-core';
import { type BatchSource, type FineTuneOptions, fineTune, type Progress } from '../../src/fine-tune';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { curve, disposeLayers, disposeToy, memoryIO, refusal, tinyNet, toy } from './toy';

const SMALL = { train: 6, val: 4, size: 8 };
const GIVEN: FineTuneOptions = {
  epochs: 2,
  batchSize: 3,
  dropout: 0.2,
  labelSmoothing: 0.1,
  patience: 99,
  augment: true,
  seed: 3,
};

interface Outcome {
  ending: string;
  curve: ReturnType<typeof curve>;
  weights: Record<string, number[]>;
  validation: unknown;
  bestEpoch: number;
  learningRate: number;
  rateTest: unknown;
  phases: Progress['phase'][];
  /** Tensors more than before the run. */
  left: number;
}

/** @param stopAt at which call of `onProgress` the signal comes, from 0. */
async function run(options: FineTuneOptions, stopAt = Number.POSITIVE_INFINITY, seed = 1): Promise<Outcome> {
  const [source, data] = [tinyNet(seed), toy(SMALL)];
  const before = tf.memory().numTensors;
  const controller = new AbortController();
  const phases: Progress['phase'][] = [];
  const result = await fineTune(source, data, {
    ...GIVEN,
    ...options,
    signal: controller.signal,
    onProgress: ({ phase }) => {
      if (phases.length === stopAt) controller.abort();
      phases.push(phase);
    },
  });
  const left = tf.memory().numTensors - before;
  const { ending, validation, bestEpoch, learningRate, rateTest } = result;
  const outcome = {
    ending,
    validation,
    bestEpoch,
    learningRate,
    rateTest,
    phases,
    left,
    curve: curve(result),
    weights: weightValues(result.model),
  };
  disposeLayers(source, result.model);
  disposeToy(data);
  return outcome;
}

/** The rate of an epoch has a test of its own. */
const comparable = ({ curve, weights, validation, bestEpoch, learningRate, rateTest, ending }: Outcome) => ({
  ending,
  curve: curve.map(({ learningRate: _, ...rest }) => rest),
  weights,
  validation,
  bestEpoch,
  learningRate,
  rateTest,
});

/** Calls of `onProgress` before and from the first one whose stop leaves a checkpoint: it takes effect at the next one. */
const indicesOf = ({ phases }: Outcome, wanted: 'before' | 'after') => {
  const first = phases.indexOf('train') - 1;
  return phases.map((_, index) => index).filter((index) => (wanted === 'after') === index >= first);
};

// A net that never saw these weights goes on: all must come from the checkpoint.
const ANOTHER = 99;

describe.each([
  ['wasm', 'adam', undefined],
  ['wasm', 'sgd', 0.05],
  ['cpu', 'rmsprop', 0.01],
] as const)('%s, %s, rate %p', (backend, optimizer, learningRate) => {
  const options: FineTuneOptions = { optimizer, ...(learningRate === undefined ? {} : { learningRate }) };
  let whole: Outcome;
  beforeAll(async () => {
    await useBackend(backend);
    whole = await run(options);
  });

  test('a checkpoint changes nothing', async () => {
    const io = memoryIO();
    expect(comparable(await run({ ...options, checkpoint: io }))).toEqual(comparable(whole));
    expect(whole.ending).toBe('finished');
    expect(io.saved).toHaveLength(3); // before the first epoch, and after each
  });

  // FAILS AT PRESENT in the range test: the batch that was read before the signal was asked for is not disposed.
  test('stopped at any call: no tensor is left but the new head’s two', async () => {
    const wrong: [string, number][] = [];
    for (const [index, phase] of whole.phases.entries()) {
      // The head's epochs are all alike.
      if (phase === 'head' && index % 10 > 0) continue;
      const { left } = await run(options, index);
      if (left !== 2) wrong.push([`${phase} ${index}`, left]);
    }
    expect(wrong).toEqual([]);
  });

  test('stopped at any call before the first step: no checkpoint, and it begins anew', async () => {
    const wrong: number[] = [];
    const indices = indicesOf(whole, 'before');
    for (const index of indices) {
      const io = memoryIO();
      const stopped = await run({ ...options, checkpoint: io }, index);
      const isFirst = index === 0 || whole.phases[index] !== whole.phases[index - 1];
      let fine = stopped.ending === 'interrupted' && io.saved.length === 0 && stopped.validation === null;
      if (isFirst) {
        const anew = await run({ ...options, checkpoint: io, resume: true });
        fine &&= JSON.stringify(comparable(anew)) === JSON.stringify(comparable(whole));
      }
      if (!fine) wrong.push(index);
    }
    expect(wrong).toEqual([]);
    expect(new Set(indices.map((index) => whole.phases[index])).size).toBe(learningRate === undefined ? 4 : 3);
  });

  test('stopped at any call from the first step on, it goes on as one run', async () => {
    const indices = indicesOf(whole, 'after');
    expect(indices).toHaveLength(9); // the one before, and (2 steps + 2 batches of validation) · 2
    const wrong: [number, string][] = [];
    for (const index of indices) {
      const io = memoryIO();
      const stopped = await run({ ...options, checkpoint: io }, index);
      // The last call has nothing after it that could be left out.
      const isLast = index === whole.phases.length - 1;
      expect([index, stopped.ending]).toEqual([index, isLast ? 'finished' : 'interrupted']);
      expect(stopped.curve).toEqual(whole.curve.slice(0, stopped.curve.length));
      const resumed = await run({ ...options, checkpoint: io, resume: true }, undefined, ANOTHER);
      if (JSON.stringify(comparable(resumed)) !== JSON.stringify(comparable(whole)))
        wrong.push([index, whole.phases[index]]);
    }
    expect(wrong).toEqual([]);
  });

  test('stopped twice and more often, it goes on as one run', async () => {
    const wrong: string[] = [];
    // By calls of each part; those of a resumed run are fewer, so that any number may be beyond its end.
    const first = whole.phases.indexOf('train');
    for (const stops of [
      [0, 0],
      [1, 0],
      [1, 1],
      [2, 1],
      [3, 2],
      [0, 0, 0, 0, 0, 0, 0],
    ]) {
      const io = memoryIO();
      await run({ ...options, checkpoint: io }, first + stops[0]);
      for (const stop of stops.slice(1)) await run({ ...options, checkpoint: io, resume: true }, stop, ANOTHER);
      const resumed = await run({ ...options, checkpoint: io, resume: true }, undefined, ANOTHER + 1);
      if (JSON.stringify(comparable(resumed)) !== JSON.stringify(comparable(whole))) wrong.push(stops.join());
    }
    expect(wrong).toEqual([]);
  });

  // FAILS AT PRESENT: stopped while validating, the epoch's rate is the peak of the schedule, not that of its last step.
  test('the rate of every epoch is that of one run, too', async () => {
    const rates = ({ curve }: Outcome) => curve.map(({ learningRate }) => learningRate);
    for (const index of indicesOf(whole, 'after')) {
      const io = memoryIO();
      await run({ ...options, checkpoint: io }, index);
      const resumed = await run({ ...options, checkpoint: io, resume: true }, undefined, ANOTHER);
      expect([index, whole.phases[index], ...rates(resumed)]).toEqual([index, whole.phases[index], ...rates(whole)]);
    }
  });
});

describe('on wasm', () => {
  beforeAll(() => useBackend('wasm'));
  const options: FineTuneOptions = { learningRate: 0.01 };

  test('a signal that came before the beginning: nothing is done', async () => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const before = weightValues(source);
    const result = await fineTune(source, data, { ...GIVEN, signal: AbortSignal.abort() });
    expect(result).toMatchObject({ ending: 'interrupted', history: [], validation: null, peakBytes: null });
    expect(weightValues(source)).toEqual(before);
    disposeLayers(source, result.model);
    disposeToy(data);
  });

  test('a stopped run keeps what was reached: the best epoch so far', async () => {
    const whole = await run({ ...options, epochs: 3 });
    const stopAt = whole.phases.lastIndexOf('train');
    const stopped = await run({ ...options, epochs: 3 }, stopAt);
    expect(stopped.ending).toBe('interrupted');
    expect(stopped.curve).toEqual(whole.curve.slice(0, 3));
    expect(stopped.validation).toBeNull();
    const best = [...stopped.curve].sort((a, b) => b.valAccuracy - a.valAccuracy || a.valLoss - b.valLoss)[0];
    expect(stopped.bestEpoch).toBe(best.epoch);
  });

  // FAILS AT PRESENT: validation is null though the run finished and knows it.
  test('a signal at the very end of the last epoch does not take the validation away', async () => {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const controller = new AbortController();
    const onEpochEnd = ({ epoch }: { epoch: number }) => {
      if (epoch === 2) controller.abort();
    };
    const result = await fineTune(source, data, { ...GIVEN, ...options, signal: controller.signal, onEpochEnd });
    expect(result.ending).toBe('finished');
    expect(result.validation?.loss).toBe(result.history[result.bestEpoch].valLoss);
    disposeLayers(source, result.model);
    disposeToy(data);
  });

  test('a finished run is not trained again', async () => {
    const io = memoryIO();
    const whole = await run({ ...options, checkpoint: io });
    const again = await run({ ...options, checkpoint: io, resume: true }, undefined, ANOTHER);
    expect(comparable(again)).toEqual(comparable(whole));
    expect(again.phases).toEqual([]);
    expect(io.saved.length).toBe(3);
  });

  // FAILS AT PRESENT: one more epoch is trained, since patience is only asked for after an epoch.
  test('a run that has stopped early is not trained again', async () => {
    const io = memoryIO();
    const stopping = { ...options, epochs: 6, patience: 1, learningRate: 1e-30, checkpoint: io };
    const whole = await run(stopping);
    expect(whole.ending).toBe('early-stop');
    const again = await run({ ...stopping, resume: true }, undefined, ANOTHER);
    expect(again.curve).toEqual(whole.curve);
    expect(again.ending).toBe('early-stop');
  });

  test('without resume a checkpoint is not looked at, and replaced', async () => {
    const io = memoryIO('no checkpoint at all');
    const found = await run({ ...options, checkpoint: io });
    expect(comparable(found)).toEqual(comparable(await run(options)));
    expect(io.saved).toHaveLength(4);
  });

  test('a process that is killed goes on from any checkpoint that was written', async () => {
    const io = memoryIO();
    const whole = await run({ ...options, epochs: 3, checkpoint: io });
    for (const kept of io.saved) {
      const resumed = await run(
        { ...options, epochs: 3, checkpoint: memoryIO(kept), resume: true },
        undefined,
        ANOTHER,
      );
      expect(comparable(resumed)).toEqual(comparable(whole));
      expect(resumed.curve).toEqual(whole.curve);
    }
  });

  // FAILS AT PRESENT: what was saved changes as the run goes on: its weights are of one epoch, its history of another one.
  test('also from artifacts that a handler keeps as they are, without a copy', async () => {
    const kept: tf.io.ModelArtifacts[] = [];
    const io = (artifacts?: tf.io.ModelArtifacts) => ({
      save: async (given: tf.io.ModelArtifacts) => {
        kept.push(given);
        return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(given) };
      },
      load: async () => artifacts as tf.io.ModelArtifacts,
    });
    const whole = await run({ ...options, checkpoint: io() });
    for (const artifacts of kept.slice()) {
      const resumed = await run({ ...options, checkpoint: io(artifacts), resume: true }, undefined, ANOTHER);
      expect(comparable(resumed)).toEqual(comparable(whole));
    }
  });

  /** As a folder of pictures: only the first whole pass tells that one of them cannot be read. */
  class Discovering implements BatchSource {
    private readonly known: BatchSource;
    private discovered = false;
    constructor(
      data: Parameters<typeof fromTensors>[0],
      private readonly batchSize: number,
    ) {
      this.known = fromTensors(data, batchSize, 0, [-1, 1]);
    }
    get size(): number {
      return this.discovered ? this.known.size : this.known.size + Math.ceil(1 / this.batchSize);
    }
    async *batches(pass: Parameters<BatchSource['batches']>[0]) {
      yield* this.known.batches(pass);
      this.discovered = true;
    }
  }

  // FAILS AT PRESENT: "'trainBatches' was 2 and is 3", since a resumed run has not looked at the pictures.
  test('with pictures that turn out to be unreadable', async () => {
    const io = memoryIO();
    const runs: ReturnType<typeof curve>[] = [];
    for (const [stop, resume] of [
      [false, false],
      [true, false],
      [false, true],
    ]) {
      const [source, data] = [tinyNet(), toy(SMALL)];
      const controller = new AbortController();
      const result = await fineTune(
        source,
        { ...data, train: new Discovering(data.train, 3) },
        {
          ...GIVEN,
          ...options,
          checkpoint: io,
          resume,
          signal: controller.signal,
          onProgress: ({ phase }) => {
            if (stop && phase === 'train') controller.abort();
          },
        },
      );
      runs.push(curve(result));
      disposeLayers(source, result.model);
      disposeToy(data);
    }
    expect(runs[2]).toEqual(runs[0]);
  });

  test('a checkpoint of another run is refused before anything changes', async () => {
    const io = memoryIO();
    await run({ ...options, checkpoint: io });
    const [source, data] = [tinyNet(), toy(SMALL)];
    const before = weightValues(source);
    const error = await refusal(
      fineTune(source, data, { ...GIVEN, ...options, seed: 4, epochs: 7, checkpoint: io, resume: true }),
    );
    expect(error.code).toBe('invalid-data');
    expect(error.message).toContain("'seed' was 3 and is 4");
    expect(error.message).toContain("'epochs' was 2 and is 7");
    expect(weightValues(source)).toEqual(before);
    expect(io.saved).toHaveLength(3);
    disposeLayers(source);
    disposeToy(data);
  });
});
