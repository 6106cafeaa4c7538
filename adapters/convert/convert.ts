/** Any saved model → a tuneable or deployed one. */

import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { version_core } from '@tensorflow/tfjs-core';
import { version } from '../../package.json';
import { TuneModeError } from '../../src/errors';
import { statOrUndefined } from '../node/model-path';
import { convertCustom } from './custom';
import { presentable } from './failures';
import { convertGraph } from './graph';
import { convertLayers } from './layers';
import { openSource } from './open';
import {
  type ConvertOptions,
  type ConvertProgress,
  type ConvertTarget,
  type Resolved,
  resolveConvertOptions,
} from './options';
import { openOutput } from './output-place';
import { type ConvertReport, makeConvertReport } from './report';
import type { Source } from './source';

/** What each way of converting reports. */
export type Converted = Omit<ConvertReport, 'input' | 'output' | 'toString'> & { bytes: number };

/** Where a way of converting writes, and what. */
export interface Job {
  options: Resolved;
  to: ConvertTarget;
  /** An empty folder, or a path where nothing is. */
  work: string;
  /** What is converted, for messages. */
  place: string;
  /** Fields of every model.json that is written. */
  header: { generatedBy: string; convertedBy: string };
}

/**
 * Converts a saved model: a tfjs LayersModel or GraphModel, or a Keras `.h5` or `.keras` file; told apart by content.
 * Needs no Python. The weights are read and written one at a time.
 *
 * ```ts
 * await useBestBackend();
 * const report = await convert('model.keras', 'model-deployed', { mode: 'deploy' });
 * console.log(report.toString());
 * ```
 *
 * Unless `verify` is false, the result is read back and compared with the source before it gets its name: every weight,
 * and the outputs on random inputs and on the pictures given.
 *
 * @param input a file, or the folder of a model.json.
 * @param output a folder, or for Keras a file. It appears whole, or not at all.
 * @throws TuneModeError `not-found`; `invalid-model-file` naming file and place; `unsupported` naming every layer and
 *     argument that tfjs-layers does not have; `invalid-option`, also where the output exists and `force` is not given;
 *     `broken-invariant` where the result computes something else; what `signal` was aborted with. Nothing is written then.
 */
export async function convert(input: string, output: string, options?: ConvertOptions): Promise<ConvertReport> {
  const resolved = resolveConvertOptions('convert', options);
  for (const [name, value] of Object.entries({ input, output })) {
    if (typeof value === 'string' && value !== '') continue;
    throw new TuneModeError('invalid-option', `convert: '${name}' must be a path; found ${JSON.stringify(value)}.`);
  }
  const { onProgress, signal } = resolved;
  let told: { error: unknown } | undefined;
  const telling = (progress: ConvertProgress) => {
    try {
      onProgress?.(progress);
    } catch (error) {
      told = { error };
      throw error;
    }
  };
  try {
    return await convertChecked(input, output, { ...resolved, onProgress: telling });
  } catch (error) {
    throw presentable(error, input, (each) => (signal?.aborted && each === signal.reason) || told?.error === each);
  }
}

async function convertChecked(input: string, output: string, resolved: Resolved): Promise<ConvertReport> {
  const to = resolved.to ?? (/\.(h5|hdf5)$/i.test(output) ? 'h5' : 'layers');
  resolved.signal?.throwIfAborted();
  const source = await openSource(input, resolved);
  try {
    checkRow(source, to, resolved);
    const files = [source.place, resolved.topology].filter((each) => each !== undefined);
    const place = await openOutput(output, to === 'h5' ? 'file' : 'folder', resolved.force, files);
    try {
      const header = { generatedBy: `TensorFlow.js v${version_core}`, convertedBy: `tfjs-tune-mode v${version}` };
      const { bytes, ...found } = await run(source, {
        options: resolved,
        to,
        work: place.work,
        place: source.place,
        header,
      });
      if (to !== 'h5') await copyMetadata(source, place.work);
      resolved.signal?.throwIfAborted();
      await place.commit();
      const { format, producer } = source;
      const mode = to === 'graph' ? 'deploy' : resolved.mode;
      return makeConvertReport({
        input: { path: input, format, producer, bytes: source.bytes },
        output: { path: output, format: to, mode, quantize: resolved.quantize ?? null, bytes },
        ...found,
      });
    } finally {
      await place.discard();
    }
  } finally {
    await source.close();
  }
}

async function run(source: Source, job: Job): Promise<Converted> {
  if (source.kind === 'graph') return convertGraph(source, job);
  return job.options.allowCustom && source.hasCustom ? convertCustom(source, job) : convertLayers(source, job);
}

/** @throws TuneModeError `invalid-option` for what this source cannot become. */
function checkRow(source: Source, to: ConvertTarget, options: Resolved): void {
  const refuse = (problem: string): never => {
    throw new TuneModeError('invalid-option', `convert: ${problem}.`);
  };
  if (source.kind === 'layers') {
    if (to === 'graph') refuse(`'${source.place}' is a model of layers, of which no graph can be made; leave out 'to'`);
    if (options.restore !== undefined) {
      refuse(
        `'restore' is for GraphModels; '${source.place}' is a model of layers, which has the BatchNorms that it has`,
      );
    }
  } else if (to === 'graph') {
    if (options.mode === 'tune' && options.restore !== undefined) {
      refuse(
        "'restore' puts BatchNorms back into a LayersModel; a graph can only be deployed. Leave out 'restore', or 'to'",
      );
    }
  } else if (options.restore !== undefined && options.mode === 'deploy') {
    refuse("'restore' puts BatchNorms back, and mode 'deploy' folds them away again; choose one");
  }
  if (to === 'h5' && options.quantize !== undefined) {
    refuse("Keras reads no quantised weights; leave out 'quantize'");
  }
}

/** Labels and the like that lie beside a model. */
async function copyMetadata(source: Source, folder: string): Promise<void> {
  if (!source.format.startsWith('tfjs')) return;
  const file = path.join(path.dirname(source.place), 'metadata.json');
  if ((await statOrUndefined(file))?.isFile()) await copyFile(file, path.join(folder, 'metadata.json'));
}
