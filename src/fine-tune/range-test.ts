/**
 * A learning rate found by a short range test (Smith, arXiv 1506.01186): some steps with a rate that grows by a constant
 * factor, until the loss explodes. A twentieth of that rate is taken. (The rate of the lowest or steepest loss, which
 * others take, says nothing here: the head is trained already, so that the loss has nowhere to fall in so few steps.)
 *
 * Why a twentieth: on ants and bees MobileNet v1 0.25 explodes at 1.4e-3 to 2.5e-3; after ten epochs it had 90.2 and
 * 87.6 % with 2e-4, about a tenth, and 92.8 and 90.8 % with 5e-5 (seeds 0 and 1; the head alone has 88.9 %).
 */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { Batch, BatchSource } from './data';
import type { RatePoint } from './history';
import { disposeOptimizer, makeOptimizer, type OptimizerName, setLearningRate } from './optimizer';
import { compile, trainStep } from './steps';
import { restoreSnapshot, takeSnapshot } from './weights';

const STEPS = 30;
/** Where the test begins and ends: SGD needs rates some hundred times larger than those that scale their steps. */
const RANGE: Record<OptimizerName, readonly [number, number]> = {
  adam: [3e-6, 1e-2],
  rmsprop: [3e-6, 1e-2],
  sgd: [3e-4, 1],
};
/** Weight of the past in the smoothed loss. */
const SMOOTHING = 0.8;
/** How far below the rate that explodes. */
const SAFETY = 20;
/** Beyond this multiple of its lowest value the smoothed loss has exploded. */
const DIVERGED = 2;

export interface RateTest {
  learningRate: number;
  points: RatePoint[];
}

/**
 * The model has its weights back afterwards, also when it fails.
 * @param afterStep called after each step; it may throw to stop.
 */
export async function findLearningRate(
  model: LayersModel,
  pictures: BatchSource,
  { optimizer: name, labelSmoothing, augment }: { optimizer: OptimizerName; labelSmoothing: number; augment: boolean },
  afterStep: (done: number, steps: number) => void | Promise<void> = () => {},
): Promise<RateTest> {
  const before = await takeSnapshot(model);
  const [first, last] = RANGE[name];
  const optimizer = makeOptimizer(name, first);
  const points: RatePoint[] = [];
  let average = 0;
  let lowest = Number.POSITIVE_INFINITY;
  try {
    compile(model, optimizer);
    for await (const batch of endless(pictures, augment)) {
      const step = points.length;
      const learningRate = first * (last / first) ** (step / (STEPS - 1));
      setLearningRate(optimizer, learningRate);
      const { loss } = await trainStep(model, batch, labelSmoothing);
      if (!Number.isFinite(loss)) break;
      average = SMOOTHING * average + (1 - SMOOTHING) * loss;
      const smoothed = average / (1 - SMOOTHING ** (step + 1));
      points.push({ learningRate, loss: smoothed });
      lowest = Math.min(lowest, smoothed);
      await afterStep(points.length, STEPS);
      if (points.length === STEPS || smoothed > DIVERGED * lowest) break;
    }
  } finally {
    restoreSnapshot(model, before);
    disposeOptimizer(optimizer);
  }
  return { learningRate: choose(points, first), points };
}

/** A part of the last rate: the one at which the loss exploded, or the end of the range. Two digits are exact enough. */
export function choose(points: readonly RatePoint[], first: number): number {
  return Number(((points.at(-1)?.learningRate ?? first) / SAFETY).toPrecision(2));
}

/** Epochs one after the other; those of the run itself, so that the test needs no pictures of its own. */
async function* endless(pictures: BatchSource, augment: boolean): AsyncGenerator<Batch, void, undefined> {
  for (let epoch = 0; ; epoch++) yield* pictures.batches({ epoch, shuffle: true, augment });
}
