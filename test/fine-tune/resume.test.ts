import type { FineTuneOptions } from '../../src/fine-tune';
import { useBackend } from '../helpers/backends';
import { ANOTHER, comparable, type Outcome, run } from './stopped-runs';
import { memoryIO } from './toy';

/** Calls of `onProgress` before and from the first one whose stop leaves a checkpoint: it takes effect at the next one. */
const indicesOf = ({ phases }: Outcome, wanted: 'before' | 'after') => {
  const first = phases.indexOf('train') - 1;
  return phases.map((_, index) => index).filter((index) => (wanted === 'after') === index >= first);
};

describe.each([
  ['wasm', 'adam', undefined],
  ['wasm', 'sgd', 0.05],
  ['cpu', 'rmsprop', 0.01],
] as const)('%s, %s, rate %p', (backend, optimizer, learningRate) => {
  const options: FineTuneOptions = { optimizer, ...(learningRate === undefined ? {} : { learningRate }) };
  let whole: Outcome;
  /** By the call of `onProgress` at which the signal came: what came of it, and where the checkpoint is. */
  const stops: { stopped: Outcome; io: ReturnType<typeof memoryIO> }[] = [];
  beforeAll(async () => {
    await useBackend(backend);
    whole = await run(options);
    for (const index of whole.phases.keys()) {
      const io = memoryIO();
      stops.push({ stopped: await run({ ...options, checkpoint: io }, index), io });
    }
  });

  test('a checkpoint changes nothing', async () => {
    const io = memoryIO();
    expect(comparable(await run({ ...options, checkpoint: io }))).toEqual(comparable(whole));
    expect(whole.ending).toBe('finished');
    expect(io.saved).toHaveLength(3); // before the first epoch, and after each
  });

  // FAILS AT PRESENT in the range test: the batch that was read before the signal was asked for is not disposed.
  test('stopped at any call: no tensor is left but the new head’s two', () => {
    const left = stops.map(({ stopped }, index) => [index, whole.phases[index], stopped.left]);
    expect(left.filter(([, , count]) => count !== 2)).toEqual([]);
  });

  test('stopped at any call before the first step: no checkpoint, and it begins anew', async () => {
    const indices = indicesOf(whole, 'before');
    expect(new Set(indices.map((index) => whole.phases[index])).size).toBe(learningRate === undefined ? 4 : 3);
    for (const index of indices) {
      const { stopped, io } = stops[index];
      expect([index, stopped.ending, io.saved.length]).toEqual([index, 'interrupted', 0]);
      expect(stopped.validation).toBeNull();
      expect(stopped.curve).toEqual(whole.curve.slice(0, stopped.curve.length));
      // Nothing of the stopped run is there for the next one, so that one of each phase is enough.
      if (index > 0 && whole.phases[index] === whole.phases[index - 1]) continue;
      expect(comparable(await run({ ...options, checkpoint: io, resume: true }))).toEqual(comparable(whole));
    }
  });

  test('stopped at any call from the first step on, it goes on as one run', async () => {
    const indices = indicesOf(whole, 'after');
    expect(indices).toHaveLength(9); // the one before, and (2 steps + 2 batches of validation) · 2
    const wrong: [number, string][] = [];
    for (const index of indices) {
      const { stopped, io } = stops[index];
      // The last call has nothing after it that could be left out.
      const isLast = index === whole.phases.length - 1;
      expect([index, stopped.ending]).toEqual([index, isLast ? 'finished' : 'interrupted']);
      const before = stopped.curve.length;
      expect(stopped.curve).toEqual(whole.curve.slice(0, before));
      const own = memoryIO(io.saved.at(-1));
      const resumed = await run({ ...options, checkpoint: own, resume: true }, undefined, ANOTHER);
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

  test('the rate of every epoch is that of one run, too', async () => {
    const rates = ({ curve }: Outcome) => curve.map(({ learningRate }) => learningRate);
    for (const index of indicesOf(whole, 'after')) {
      const own = memoryIO(stops[index].io.saved.at(-1));
      const resumed = await run({ ...options, checkpoint: own, resume: true }, undefined, ANOTHER);
      expect([index, whole.phases[index], ...rates(resumed)]).toEqual([index, whole.phases[index], ...rates(whole)]);
    }
  });
});
