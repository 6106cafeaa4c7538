/** Tiny runs that are stopped by a signal, and what came of them in plain numbers. */
import * as tf from '@tensorflow/tfjs-core';
import { type FineTuneOptions, fineTune, type Progress } from '../../src/fine-tune';
import { weightValues } from '../helpers/models';
import { curve, disposeLayers, disposeToy, tinyNet, toy } from './toy';

export const SMALL = { train: 6, val: 4, size: 8 };
export const GIVEN: FineTuneOptions = {
  epochs: 2,
  batchSize: 3,
  dropout: 0.2,
  labelSmoothing: 0.1,
  patience: 99,
  augment: true,
  seed: 3,
};

export interface Outcome {
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
export async function run(options: FineTuneOptions, stopAt = Number.POSITIVE_INFINITY, seed = 1): Promise<Outcome> {
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

/** All of it that must be the same. The rate of an epoch has a test of its own. */
export const comparable = ({ curve, weights, validation, bestEpoch, learningRate, rateTest, ending }: Outcome) => ({
  ending,
  curve: curve.map(({ learningRate: _, ...rest }) => rest),
  weights,
  validation,
  bestEpoch,
  learningRate,
  rateTest,
});

// A net that never saw these weights goes on: all must come from the checkpoint.
export const ANOTHER = 99;
