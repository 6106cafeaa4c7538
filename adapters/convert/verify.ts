/** Two saved models, of any format, on the same inputs. */

import { checkOptionNames, TuneModeError } from '../../src/errors';
import { disposeWeights } from '../layers-model';
import { type Comparison, compareRecorded, record, TOLERANCES } from './compare';
import { presentable } from './failures';
import { openSource } from './open';
import { resolveConvertOptions } from './options';
import { endsOf, graphRunner, layersRunner, type Runner } from './runner';
import { metadataOfSource, sampleOptions } from './sample-options';
import { inputsText, type SampleOptions, samplesFor } from './samples';
import type { Source } from './source';

export interface VerifyOptions extends SampleOptions {
  /** Largest difference of an output, in shares of its largest value. Default 1e-3. */
  tolerance?: number;
  signal?: AbortSignal;
}

/**
 * Runs two saved models on the same random inputs, and on pictures where a folder is given. One of them is in memory at a
 * time.
 * @returns what differs; `passed` says whether it is within the tolerance.
 * @throws TuneModeError `not-found`, `invalid-model-file`, `unsupported`; `invalid-data` where inputs or outputs of both
 *     are not alike.
 */
export async function verifyModels(a: string, b: string, options: VerifyOptions = {}): Promise<Comparison> {
  checkOptionNames('verifyModels', options, ['tolerance', 'pictures', 'imageSize', 'inputRange', 'signal']);
  resolveConvertOptions('verifyModels', options); // convert has them all
  const { signal } = options;
  try {
    return await verifyChecked(a, b, options);
  } catch (error) {
    throw presentable(error, `${a}' and '${b}`, (each) => signal?.aborted === true && each === signal.reason);
  }
}

async function verifyChecked(a: string, b: string, options: VerifyOptions): Promise<Comparison> {
  const { tolerance = TOLERANCES.float32, signal } = options;
  const sources: Source[] = [];
  try {
    for (const path of [a, b]) sources.push(await openSource(path));
    const bothGraphs = sources.every(({ kind }) => kind === 'graph');
    const from = bothGraphs ? 'own' : 'lifted';
    const first = await runnerOf(sources[0], from);
    try {
      // One at a time: either may have its batch size written into it.
      const samples = await samplesFor(
        a,
        { ...first, oneAtATime: true },
        sampleOptions(options, await metadataOfSource(sources[0])),
      );
      const expected = await record(first, samples, signal);
      first.dispose();
      const second = await runnerOf(sources[1], from);
      try {
        checkAlike(a, b, first, second);
        const found = await record(second, samples, signal);
        return compareRecorded(first.outputs, expected, found, samples, tolerance);
      } finally {
        second.dispose();
      }
    } finally {
      first.dispose();
    }
  } finally {
    for (const source of sources) await source.close();
  }
}

async function runnerOf(source: Source, from: 'own' | 'lifted'): Promise<Runner> {
  if (source.kind === 'layers') return once(layersRunner(source.place, await source.load(), true));
  const lifted = await source.lift();
  try {
    return once(await graphRunner(source.place, source.artifacts, endsOf(lifted), from));
  } finally {
    disposeWeights(lifted.model);
  }
}

function once(runner: Runner): Runner {
  let isOpen = true;
  return {
    ...runner,
    dispose: () => {
      if (isOpen) runner.dispose();
      isOpen = false;
    },
  };
}

function checkAlike(a: string, b: string, first: Runner, second: Runner): void {
  const fits =
    first.inputs.length === second.inputs.length &&
    first.inputs.every(({ shape }, index) => {
      const other = second.inputs[index].shape;
      return (
        shape.length === other.length &&
        shape.every((size, axis) => size === null || other[axis] === null || size === other[axis])
      );
    });
  if (!fits) {
    throw new TuneModeError(
      'invalid-data',
      `'${a}' takes ${inputsText(first)}, and '${b}' takes ${inputsText(second)}: they cannot be compared.`,
    );
  }
  if (first.outputs.length !== second.outputs.length) {
    throw new TuneModeError(
      'invalid-data',
      `'${a}' has ${first.outputs.length} outputs (${first.outputs.slice(0, 3).join(', ')} …), and '${b}' has ` +
        `${second.outputs.length} (${second.outputs.slice(0, 3).join(', ')} …): they cannot be compared.`,
    );
  }
}
