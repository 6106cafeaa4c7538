/** Whether two models compute the same. */
import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { breathe } from '../../src/fine-tune/breathe';
import type { Runner } from './runner';
import type { Samples } from './samples';
import type { QuantizationDtype } from './weight-file';

/**
 * The largest allowed |Δ| of an output, in shares of its largest value.
 * float32: a fold rounds each weight once, and layers pass that on; 1e-6 to 1e-5 are seen with 50 blocks, 3e-4 behind a
 * softmax that is undecided; a wrong fold is off by 1e-2 or more. Quantised: what a net makes of weights that are off by half a step is its own affair, so this
 * only finds results that have nothing to do with the source; that each weight is off by no more is checked apart.
 */
export const TOLERANCES: Record<QuantizationDtype | 'float32', number> = {
  float32: 1e-3,
  float16: 0.25,
  uint16: 0.25,
  uint8: 0.5,
};

export interface OutputComparison {
  name: string;
  maxDifference: number;
  meanDifference: number;
  /** The largest |value| of the first model's output. */
  largestValue: number;
}

export interface Comparison {
  random: number;
  pictures: number;
  outputs: OutputComparison[];
  /** Largest |Δ| of all outputs. */
  maxDifference: number;
  /** Mean |Δ| over all values of all outputs. */
  meanDifference: number;
  /** The largest `maxDifference / largestValue`, which the tolerance is about. */
  relativeDifference: number;
  /** Of the outputs that are classes: in how many samples the same one is the best (on pictures, where there are any); null for other models. */
  top1: { agreed: number; of: number } | null;
  tolerance: number;
  passed: boolean;
}

interface Recorded {
  kind: 'random' | 'pictures';
  outputs: { shape: number[]; values: Float32Array }[];
}

/** What a model gives on all samples, kept as numbers. */
export async function record(runner: Runner, samples: Samples, signal?: AbortSignal): Promise<Recorded[]> {
  const recorded: Recorded[] = [];
  for await (const { kind, inputs } of samples.batches()) {
    try {
      await breathe(); // a signal may have come
      signal?.throwIfAborted();
      recorded.push({ kind, outputs: await valuesOf(await runner.run(inputs)) });
    } finally {
      dispose(inputs);
    }
  }
  await breathe();
  signal?.throwIfAborted();
  return recorded;
}

async function valuesOf(tensors: Tensor[]): Promise<Recorded['outputs']> {
  try {
    const outputs: Recorded['outputs'] = [];
    for (const each of tensors) outputs.push({ shape: each.shape, values: Float32Array.from(await each.data()) });
    return outputs;
  } finally {
    dispose(tensors);
  }
}

/** @throws TuneModeError `invalid-data` where the outputs of both cannot be compared. */
export function compareRecorded(
  names: readonly string[],
  expected: readonly Recorded[],
  found: readonly Recorded[],
  samples: Pick<Samples, 'random' | 'pictures'>,
  tolerance: number,
): Comparison {
  const sums = names.map((name) => ({ name, max: 0, sum: 0, count: 0, largest: 0 }));
  const onPictures = samples.pictures > 0;
  const top1 = { agreed: 0, of: 0 };
  expected.forEach(({ kind, outputs }, index) => {
    outputs.forEach((a, output) => {
      const b = found[index].outputs[output];
      if (b === undefined || a.shape.join() !== b.shape.join()) {
        throw new TuneModeError(
          'invalid-data',
          `The models cannot be compared: output '${names[output]}' is [${a.shape.join(', ')}] of one and ` +
            `${b === undefined ? 'missing' : `[${b.shape.join(', ')}]`} of the other.`,
        );
      }
      addDifferences(sums[output], a.values, b.values);
      if (a.shape.length === 2 && a.shape[1] >= 2 && outputs.length === 1 && (kind === 'pictures') === onPictures) {
        for (let row = 0; row < a.shape[0]; row++) {
          const part = (values: Float32Array) => values.subarray(row * a.shape[1], (row + 1) * a.shape[1]);
          top1.of++;
          if (best(part(a.values)) === best(part(b.values))) top1.agreed++;
        }
      }
    });
  });
  // A source that is 0 everywhere gives no scale; then the difference itself counts.
  const relative = sums.map(({ max, largest }) => max / (largest > 1e-6 ? largest : 1));
  const count = sums.reduce((total, each) => total + each.count, 0);
  const relativeDifference = largestOf(relative);
  return {
    random: samples.random,
    pictures: samples.pictures,
    outputs: sums.map(({ name, max, sum, count: values, largest }) => ({
      name,
      maxDifference: max,
      meanDifference: values === 0 ? 0 : sum / values,
      largestValue: largest,
    })),
    maxDifference: largestOf(sums.map(({ max }) => max)),
    meanDifference: count === 0 ? 0 : sums.reduce((total, { sum }) => total + sum, 0) / count,
    relativeDifference,
    top1: top1.of > 0 ? top1 : null,
    tolerance,
    passed: relativeDifference <= tolerance, // NaN does not pass
  };
}

function addDifferences(
  into: { max: number; sum: number; count: number; largest: number },
  a: Float32Array,
  b: Float32Array,
): void {
  let { max, sum, largest } = into;
  for (let i = 0; i < a.length; i++) {
    // The same infinity, or NaN, of both is no difference.
    const difference = a[i] === b[i] || (Number.isNaN(a[i]) && Number.isNaN(b[i])) ? 0 : Math.abs(a[i] - b[i]);
    sum += difference;
    if (!(difference <= max)) max = difference; // NaN stays
    if (Math.abs(a[i]) > largest && Number.isFinite(a[i])) largest = Math.abs(a[i]);
  }
  Object.assign(into, { max, sum, largest, count: into.count + a.length });
}

function largestOf(values: readonly number[]): number {
  return values.reduce((most, value) => (value > most || Number.isNaN(value) ? value : most), 0);
}

function best(values: Float32Array): number {
  let at = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[at]) at = i;
  return at;
}
