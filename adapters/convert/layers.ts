/** A model of layers, converted: read weight by weight, folded where asked for, written weight by weight. */

import fs from 'node:fs/promises';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { inspectDeploy, toDeploy } from '../../src/deploy';
import { TuneModeError } from '../../src/errors';
import type { SkippedReport } from '../../src/report';
import { indexOfNonFinite } from '../finite';
import { kerasLayersOf, writeKerasH5 } from '../keras/files';
import { toKerasConfig } from '../keras/topology';
import { disposeWeights } from '../layers-model';
import { record } from './compare';
import type { Converted, Job } from './convert';
import { shown } from './failures';
import { topologyOf } from './layers-config';
import { reporting } from './options';
import { layersRunner } from './runner';
import { metadataOfSource, sampleOptions } from './sample-options';
import { samplesFor } from './samples';
import type { LayersSource } from './source';
import { verifyLayers } from './verify-result';
import { type OutgoingWeight, quantizationOf } from './weight-file';
import { writeFolder } from './write-folder';

/** Of Keras 2's layout; Keras 3 reads it too, but for models nested in a model. */
const KERAS_VERSION = '2.15.0';

export async function convertLayers(source: LayersSource, job: Job): Promise<Converted> {
  const { options } = job;
  const { signal } = options;
  const model = await source.load(reporting(options, 'reading'), signal);
  const owned = new Owned(model);
  try {
    const runner = layersRunner(source.place, model);
    const samples = options.verify
      ? await samplesFor(source.place, runner, sampleOptions(options, await metadataOfSource(source)))
      : undefined;
    const expected = samples && (await record(runner, samples, signal));
    const deployed = options.mode === 'deploy' ? owned.deploy(model) : undefined;
    const result = deployed?.model ?? model;
    const topology = deployed === undefined ? source.topology : topologyOf(result, source.topology);
    const training = deployed === undefined ? source.trainingConfig : undefined;
    const bytes = await writeModel(result, topology, source.userDefinedMetadata, job, training);
    const verification =
      expected &&
      samples &&
      (await verifyLayers(job, result, runner.outputs, expected, samples, () => owned.dispose()));
    return {
      bytes,
      folded: deployed?.folded ?? 0,
      kept: deployed?.kept ?? [],
      restored: 0,
      notes: source.notes,
      verification: verification ?? null,
    };
  } finally {
    owned.dispose();
  }
}

/** The models that a conversion has made; disposed together, once. */
export class Owned {
  private models: LayersModel[];

  constructor(...models: LayersModel[]) {
    this.models = models;
  }

  add(model: LayersModel): LayersModel {
    this.models.push(model);
    return model;
  }

  deploy(model: LayersModel): { model: LayersModel; folded: number; kept: SkippedReport[] } {
    const { after, before, kept } = inspectDeploy(model);
    return { model: this.add(toDeploy(model)), folded: after.length + before.length, kept };
  }

  dispose(): void {
    const models = this.models;
    this.models = [];
    for (const model of models) disposeWeights(model);
  }
}

/** Writes a model into the place of the job. @returns bytes. */
export async function writeModel(
  model: LayersModel,
  topology: object,
  userDefinedMetadata: object | undefined,
  { options, to, work, place, header }: Job,
  trainingConfig?: object,
): Promise<number> {
  const { quantize, shardSize, signal } = options;
  const writing = reporting(options, 'writing');
  if (to === 'h5') {
    const layers = kerasLayersOf(model);
    const total = layers.reduce((sum, { weights }) => sum + weights.length, 0);
    let done = 0;
    const watched = layers.map(({ name, weights }) => ({
      name,
      weights: weights.map((weight) => ({
        ...weight,
        read: async () => {
          signal?.throwIfAborted();
          writing(++done, total);
          return finite(place, weight.name, await weight.read());
        },
      })),
    }));
    await writeKerasH5(work, { config: toKerasConfig(work, topology), kerasVersion: KERAS_VERSION, layers: watched });
    return (await fs.stat(work)).size;
  }
  const content = { format: 'layers-model', ...header, modelTopology: topology, userDefinedMetadata, trainingConfig };
  return writeFolder(work, content, outgoing(place, model, quantize), shardSize, writing, signal);
}

function outgoing(place: string, model: LayersModel, quantize: Job['options']['quantize']): OutgoingWeight[] {
  const weights = [...new Set(model.weights)];
  const names = weights.map(({ originalName }) => originalName);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new TuneModeError(
      'unsupported',
      `'${place}': two layers have a weight named '${shown(twice)}', and a tfjs model tells its weights by name. ` +
        'Give the layers of nested models names of their own.',
    );
  }
  return weights.map((weight) => {
    const { shape, dtype } = weight.read();
    const plain = { name: weight.originalName, shape, dtype: dtype as OutgoingWeight['dtype'] };
    return {
      ...plain,
      quantize: quantizationOf(plain, quantize, /depthwise_kernel$/.test(plain.name)),
      read: async () => finite(place, plain.name, await weight.read().data()),
    };
  });
}

/** Folding multiplies: what was finite, if only just, may be so no more. */
function finite<T extends ArrayLike<number>>(place: string, name: string, values: T): T {
  const bad = indexOfNonFinite(values);
  if (bad < 0) return values;
  throw new TuneModeError(
    'invalid-model-file',
    `'${place}': the weight '${shown(name)}' would become ${values[bad]} at position ${bad}: its weights are far too large. ` +
      'They are damaged, or their training diverged; copy the model again, or train it anew.',
  );
}
