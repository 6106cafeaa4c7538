/** A model with layers that cannot be built here: its topology is mapped, its weights are copied by name. */
import { TuneModeError } from '../../src/errors';
import type { Converted, Job } from './convert';
import { reporting } from './options';
import type { LayersSource } from './source';
import { readFinite, type StoredWeight } from './stored-weight';
import { type OutgoingWeight, quantizationOf } from './weight-file';
import { writeFolder } from './write-folder';

export async function convertCustom(source: LayersSource, { options, to, work, header }: Job): Promise<Converted> {
  const { mode, quantize, shardSize, signal } = options;
  const refuse = (problem: string): never => {
    throw new TuneModeError(
      'unsupported',
      `'${source.place}' has layers that tfjs-layers does not know, so ${problem}. Register their classes, and use convert() in a program.`,
    );
  };
  if (mode === 'deploy') refuse('it cannot be built here and folded');
  if (to === 'h5') refuse('it cannot be built here and written for Keras');
  const { rawWeights } = source;
  if (rawWeights === undefined) refuse('nothing tells which of its weights is which');
  const weights = (rawWeights as readonly StoredWeight[]).map((weight): OutgoingWeight => {
    const { name, shape, dtype } = weight;
    const stored = quantizationOf(weight, quantize, /depthwise_kernel$/.test(name));
    return { name, shape, dtype, quantize: stored, read: () => readFinite(source.place, weight) };
  });
  const content = {
    format: 'layers-model',
    ...header,
    modelTopology: source.topology,
    userDefinedMetadata: source.userDefinedMetadata,
    trainingConfig: source.trainingConfig,
  };
  return {
    bytes: await writeFolder(work, content, weights, shardSize, reporting(options, 'writing'), signal),
    folded: 0,
    kept: [],
    restored: 0,
    notes: [...source.notes, 'It has layers that tfjs-layers does not know, so it was not run and not compared.'],
    verification: null,
  };
}
