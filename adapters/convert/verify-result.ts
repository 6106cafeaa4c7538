/** Reads back what was written, and compares it with what was meant. */

import type { TypedArray } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { type Comparison, compareRecorded, record, TOLERANCES } from './compare';
import type { Job } from './convert';
import { openSource } from './open';
import { reporting } from './options';
import { comparisonText } from './report';
import { layersRunner } from './runner';
import type { Samples } from './samples';
import type { LayersSource } from './source';
import type { StoredWeight } from './stored-weight';
import type { QuantizationDtype } from './weight-file';

type Recorded = Awaited<ReturnType<typeof record>>;

/**
 * @param model what was written; disposed by `release` once its weights are compared, so that one model is in memory at a time.
 * @throws TuneModeError `broken-invariant`.
 */
export async function verifyLayers(
  job: Job,
  model: LayersModel,
  names: readonly string[],
  expected: Recorded,
  samples: Samples,
  release: () => void,
): Promise<Comparison> {
  const { quantize, signal } = job.options;
  const written = (await openSource(job.work)) as LayersSource;
  try {
    await checkWeights(model, written.match(model), quantize, signal);
    release();
    const runner = layersRunner(job.work, await written.load(reporting(job.options, 'verifying'), signal), true);
    try {
      return compareChecked(job, names, expected, await record(runner, samples, signal), samples);
    } finally {
      runner.dispose();
    }
  } finally {
    await written.close();
  }
}

/** @throws TuneModeError `broken-invariant` where the outputs differ by more than is allowed. */
export function compareChecked(
  { options }: Job,
  names: readonly string[],
  expected: Recorded,
  results: Recorded,
  samples: Samples,
): Comparison {
  const tolerance = options.tolerance ?? TOLERANCES[options.quantize ?? 'float32'];
  const found = compareRecorded(names, expected, results, samples, tolerance);
  if (found.passed) return found;
  const advice =
    options.quantize === undefined
      ? "A model whose sums are very large or cancel may need a wider 'tolerance'."
      : `${options.quantize} is too coarse for this model: take a finer one, or allow more with 'tolerance'.`;
  throw new TuneModeError(
    'broken-invariant',
    `The result computes something else than its source ${comparisonText(found)}. ${advice} Nothing was written.`,
  );
}

async function checkWeights(
  model: LayersModel,
  stored: readonly StoredWeight[],
  quantize: QuantizationDtype | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [index, weight] of model.weights.entries()) {
    signal?.throwIfAborted();
    const found = await stored[index].read();
    const expected = (await weight.read().data()) as TypedArray;
    const isQuantized = stored[index].storedAs !== 'float32' && stored[index].dtype === 'float32';
    const bad = firstDifference(expected, found, isQuantized ? quantize : undefined);
    if (bad < 0) continue;
    throw new TuneModeError(
      'broken-invariant',
      `The weight '${weight.originalName}' was written as ${found[bad]} at position ${bad} instead of ${expected[bad]}. ` +
        'Nothing was written; please report this.',
    );
  }
}

/** Where a weight is not what it should be: off by more than half a step where quantised, at all where not. */
export function firstDifference(
  expected: ArrayLike<number>,
  found: ArrayLike<number>,
  quantize: QuantizationDtype | undefined,
): number {
  if (expected.length !== found.length) return Math.min(expected.length, found.length);
  if (quantize === undefined) {
    for (let i = 0; i < expected.length; i++) if (expected[i] !== found[i]) return i;
    return -1;
  }
  let [least, most] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i];
    if (i === 0 || value < least) least = value;
    if (i === 0 || value > most) most = value;
  }
  // Half a step, and what float32 rounds of level · scale + min; float16: half of its last of 11 bits, or of 2⁻²⁴.
  const levels = quantize === 'uint8' ? 255 : 65535;
  const half =
    quantize === 'float16'
      ? 2 ** -25
      : (most - least) / levels / 2 + Math.max(Math.abs(least), Math.abs(most)) * 2 ** -22;
  const relative = quantize === 'float16' ? 2 ** -11 : 0;
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(expected[i] - found[i]) <= half + relative * Math.abs(expected[i]))) return i;
  }
  return -1;
}
