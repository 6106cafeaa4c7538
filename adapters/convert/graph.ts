/** A GraphModel, converted: lifted to layers, with or without its BatchNorms put back; or folded and written as a graph. */
import { stack, type Tensor } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { breathe } from '../../src/fine-tune/breathe';
import { foldGraph } from '../graph-model/fold-graph';
import type { LiftedModel } from '../graph-model/lifted';
import { restoreBatchNorm } from '../graph-model/restore';
import { encodeConstants } from '../graph-model/weight-encoding';
import { readModel } from '../node/model-reader';
import { loadPicture } from '../node/pictures';
import { type Comparison, record } from './compare';
import type { Converted, Job } from './convert';
import { Owned, writeModel } from './layers';
import { topologyOf } from './layers-config';
import { pictureFilesIn } from './picture-files';
import { endsOf, graphRunner, layersRunner, type Runner } from './runner';
import { metadataOfSource, sampleOptions } from './sample-options';
import { pictureFormOf, type SampleOptions, samplesFor } from './samples';
import type { GraphFileSource } from './source';
import { compareChecked, verifyLayers } from './verify-result';
import { checkRange, quantizationOf } from './weight-file';
import { writeEncoded } from './write-folder';

/** Pictures for the statistics of restored BatchNorms; more change them by less than the choice of pictures does. */
const CALIBRATION_PICTURES = 64;
const AT_ONCE = 8;

export async function convertGraph(source: GraphFileSource, job: Job): Promise<Converted> {
  const { options, to } = job;
  const lifted = await source.lift();
  const owned = new Owned(lifted.model);
  try {
    const samplesGiven = sampleOptions(options, await metadataOfSource(source));
    return to === 'graph'
      ? await toGraph(source, lifted, job, samplesGiven)
      : await toLayers(source, lifted, owned, job, samplesGiven);
  } finally {
    owned.dispose();
  }
}

async function toLayers(
  source: GraphFileSource,
  lifted: LiftedModel,
  owned: Owned,
  job: Job,
  given: SampleOptions,
): Promise<Converted> {
  const { options } = job;
  const expected = options.verify
    ? await recorded(
        await graphRunner(source.place, source.artifacts, endsOf(lifted), 'lifted'),
        source,
        given,
        options.signal,
      )
    : undefined;
  let model = lifted.model;
  let restored = 0;
  const notes: string[] = [];
  if (options.restore !== undefined) {
    options.onProgress?.({ phase: 'restoring', share: 0 });
    const found = await restoreBatchNorm(lifted, calibration(source, lifted, options.restore, given, options.signal));
    model = owned.add(found.model);
    restored = found.restored.convs.filter(({ state }) => state === 'restored').length;
  } else if (options.mode === 'tune' && lifted.products.some(({ form }) => form === 'folded')) {
    notes.push(
      'Its BatchNorms are folded away, so it trains like a deployed model; --restore <pictures> puts them back.',
    );
  }
  notes.push(...leftNotes(lifted));
  const deployed = options.mode === 'deploy' ? owned.deploy(model) : undefined;
  const result = deployed?.model ?? model;
  const bytes = await writeModel(result, topologyOf(result), source.userDefinedMetadata, job);
  const verification =
    expected &&
    (await verifyLayers(job, result, lifted.outputs, expected.values, expected.samples, () => owned.dispose()));
  return {
    bytes,
    folded: deployed?.folded ?? 0,
    kept: deployed?.kept ?? [],
    restored,
    notes,
    verification: verification ?? null,
  };
}

async function toGraph(
  source: GraphFileSource,
  lifted: LiftedModel,
  job: Job,
  given: SampleOptions,
): Promise<Converted> {
  const { options, work, header } = job;
  const { onProgress, quantize, shardSize, signal } = options;
  const { artifacts, constants, folded, kernels } = await foldGraph(lifted).catch((error) => {
    if (!(error instanceof TuneModeError)) throw error;
    throw new TuneModeError('invalid-model-file', `'${source.place}': ${error.message}.`, { cause: error });
  });
  const stored = constants.map(({ name, constant }) => {
    const ops = kernels.get(name);
    const fits = ops && quantizationOf(constant, quantize, ops.has('DepthwiseConv2dNative'));
    if (fits) checkRange(name, constant.values as ArrayLike<number>, fits);
    return { name, constant: { ...constant, quantization: fits && { dtype: fits } } };
  });
  onProgress?.({ phase: 'writing', share: 0 });
  const { weightSpecs, weightData } = encodeConstants(stored as Parameters<typeof encodeConstants>[0], true);
  const { modelTopology, signature, userDefinedMetadata, modelInitializer, initializerSignature } = artifacts;
  const content = {
    format: 'graph-model',
    ...header,
    modelTopology,
    signature,
    userDefinedMetadata,
    modelInitializer,
    initializerSignature,
  };
  const bytes = await writeEncoded(work, content, weightSpecs, new Uint8Array(weightData), shardSize);
  onProgress?.({ phase: 'writing', share: 1 });
  let verification: Comparison | null = null;
  if (options.verify) {
    const ends = endsOf(lifted);
    const before = await recorded(
      await graphRunner(source.place, source.artifacts, ends, 'own'),
      source,
      given,
      signal,
    );
    const after = await graphRunner(work, await readModel(work), ends, 'own');
    try {
      const values = await record(after, before.samples, signal);
      verification = compareChecked(job, lifted.outputs, before.values, values, before.samples);
    } finally {
      after.dispose();
    }
  }
  return { bytes, folded: folded.length, kept: [], restored: 0, notes: [], verification };
}

async function recorded(runner: Runner, source: GraphFileSource, given: SampleOptions, signal?: AbortSignal) {
  try {
    const samples = await samplesFor(source.place, runner, given);
    return { samples, values: await record(runner, samples, signal) };
  } finally {
    runner.dispose();
  }
}

/** The user's pictures, in small batches. */
async function* calibration(
  source: GraphFileSource,
  { model }: LiftedModel,
  folder: string,
  given: SampleOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Tensor> {
  const form = pictureFormOf(source.place, layersRunner(source.place, model), given);
  const files = await pictureFilesIn(folder, CALIBRATION_PICTURES);
  for (let at = 0; at < files.length; at += AT_ONCE) {
    const pictures: Tensor[] = [];
    await breathe();
    signal?.throwIfAborted();
    try {
      for (const file of files.slice(at, at + AT_ONCE)) pictures.push(await loadPicture(file, form));
      const batch = stack(pictures);
      try {
        yield batch;
      } finally {
        batch.dispose();
      }
    } finally {
      for (const picture of pictures) picture.dispose();
    }
  }
}

/** What a model of layers does not have any more. */
function leftNotes({ report, inputs, outputs }: LiftedModel): string[] {
  const left = report.nodes.filter(({ state }) => state === 'left').length;
  const own = report.ownLayers.length;
  return [
    ...(left > 0
      ? [
          `It goes from ${inputs.join(', ')} to ${outputs.join(', ')}; ${left} nodes of the graph before and behind are not part of it.`,
        ]
      : []),
    ...(own > 0
      ? [`It has ${own} layers of this package: a program that loads it has to import 'tfjs-tune-mode/graph-model'.`]
      : []),
  ];
}
