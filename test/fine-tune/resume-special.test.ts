/** Stopping and going on in special cases: before the start, after the end, after a kill, with odd handlers and pictures. */
import * as tf from '@tensorflow/tfjs-core';
import { type BatchSource, type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { ANOTHER, comparable, GIVEN, run, SMALL } from './stopped-runs';
import { curve, disposeLayers, disposeToy, memoryIO, refusal, tinyNet, toy } from './toy';

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
    expect(again.phases).not.toContain('train');
    expect(io.saved.length).toBe(3);
  });

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
