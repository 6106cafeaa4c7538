import type { Progress } from '../../src/fine-tune';
import { useBackend } from '../helpers/backends';

import { once, SMALL } from './whole-runs';

describe('early stop', () => {
  beforeAll(() => useBackend('wasm'));

  test.each([
    [1, 5, 'early-stop', 1],
    [3, 9, 'early-stop', 3],
    [5, 5, 'finished', 5],
    [9, 4, 'finished', 4],
  ] as const)(
    'patience %i, %i epochs, and nothing ever gets better: %s after epoch %i',
    async (patience, epochs, ending, last) => {
      // A rate below half a unit in the last place of every weight: each step rounds to no step.
      const { result } = await once({ patience, epochs, learningRate: 1e-30 });
      expect(result.ending).toBe(ending);
      expect(result.history.at(-1)?.epoch).toBe(last);
      expect(result.bestEpoch).toBe(0);
    },
  );

  test('not while the loss still falls, though no more pictures are right', async () => {
    const { result } = await once(
      { patience: 1, epochs: 4, learningRate: 0.003, augment: false },
      { size: { ...SMALL, train: 16 } },
    );
    const losses = result.history.map(({ valLoss }) => valLoss);
    // The premise, without which the test would say nothing.
    expect(losses).toEqual([...losses].sort((a, b) => b - a));
    expect(result.ending).toBe('finished');
  });
});

describe('progress', () => {
  beforeAll(() => useBackend('wasm'));

  test('phases in their order, each counted up to its end', async () => {
    const seen: Progress[] = [];
    await once({ learningRate: undefined, onProgress: (progress) => seen.push(progress) });
    const runs: Progress[][] = [];
    for (const progress of seen) {
      if (runs.at(-1)?.[0].phase !== progress.phase) runs.push([]);
      runs.at(-1)?.push(progress);
    }
    expect(runs.map(([{ phase }]) => phase)).toEqual([
      'features',
      'head',
      'validate',
      'learning-rate',
      'train',
      'validate',
      'train',
      'validate',
    ]);
    for (const run of runs) {
      for (const { epochs, steps } of run) expect([epochs, steps]).toEqual([2, run[0].steps]);
      if (run[0].phase === 'learning-rate') continue; // may end early
      expect(run.map(({ step }) => step)).toEqual(Array.from({ length: run[0].steps }, (_, i) => i + 1));
    }
    const epochsOf = (index: number) => [...new Set(runs[index].map(({ epoch }) => epoch))];
    expect([0, 1, 2, 4, 5, 6, 7].map(epochsOf)).toEqual([[0], [0], [0], [1], [1], [2], [2]]);
    for (const { loss, accuracy, secondsLeft } of runs[4]) {
      expect(Number.isFinite(loss) && (accuracy as number) >= 0 && (accuracy as number) <= 1).toBe(true);
      expect(secondsLeft).toBeGreaterThanOrEqual(0);
    }
    expect(runs[6].at(-1)?.loss).toBeGreaterThan(0);
  });

  test('onEpochEnd is told of every epoch and waited for', async () => {
    const log: string[] = [];
    await once({
      onProgress: ({ phase, step }) => log.push(`${phase} ${step}`),
      onEpochEnd: async ({ epoch }) => {
        log.push(`begin ${epoch}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
        log.push(`end ${epoch}`);
      },
    });
    for (const epoch of [0, 1, 2]) {
      expect(log.filter((entry) => entry === `begin ${epoch}`)).toHaveLength(1);
      expect(log[log.indexOf(`begin ${epoch}`) + 1]).toBe(`end ${epoch}`);
    }
    expect(log.at(-1)).toBe('end 2');
  });
});
