/**
 * MobileNet as `@tensorflow-models/mobilenet` has it, made trainable. Pictures go in, and classes come out, through that
 * package's own code: only the graph behind it is a layers model here.
 */

import { concat, io, log, maximum, reshape, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { type LayersModel, layers, model as makeModel, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import * as mobilenetPackage from '@tensorflow-models/mobilenet';
import type { Graph } from '../adapters/graph-model/graph';
import { liftGraph } from '../adapters/graph-model/lift';
import type { LiftedModel } from '../adapters/graph-model/lifted';
import { readGraph } from '../adapters/graph-model/read';
import { type CalibrationData, restoreBatchNorm } from '../adapters/graph-model/restore';
import { toGraphModel, type WriteBackOptions } from '../adapters/graph-model/write-back';
import { checkModel } from '../src/check-model';
import { TuneModeError } from '../src/errors';
import { type FineTuneData, type FineTuneOptions, type FineTuneResult, fineTune } from '../src/fine-tune';
import { findCut } from '../src/fine-tune/cut';
import { disposeAllBut } from '../src/fine-tune/prepare';
import { inspect } from '../src/modes';
import type { TuneReport } from '../src/report';
import { checkPictures } from './check-pictures';
import { disposeModel, loadTuned } from './layers';
import { checkLoadOptions, type LoadOptions } from './options';
import type { PictureInput } from './pixels';
import type { Platform } from './platform';
import { saveTo } from './save';
import { type ModelSource, resolveSource } from './source';
import { type Prediction, topClasses } from './top-classes';

export interface MobileNetOptions extends LoadOptions {
  /** 1 (default) or 2. */
  version?: 1 | 2;
  /** Width of the net: 0.25, 0.5, 0.75 or 1 (default); version 2 has no 0.25. */
  alpha?: 0.25 | 0.5 | 0.75 | 1;
  /** Where the model is, instead of the package's own place: a GraphModel as TF-Hub has it, or Keras's layers model. */
  modelUrl?: ModelSource;
  /** What black and white are to the model. Default: [0, 1]; with `modelUrl` [−1, 1], as in the package. */
  inputRange?: readonly [number, number];
  /**
   * Pictures, in `inputRange`, for the statistics of the restored BatchNorms: some tens of those to be trained on are
   * best. Default: generated ones.
   */
  calibration?: CalibrationData;
}

/** A trainable MobileNet. */
export interface MobileNet {
  /** Pictures [batch, 224, 224, 3] in `inputRange` → classes, in Tune mode. After `fineTune` it is another object. */
  readonly model: LayersModel;
  readonly report: TuneReport;
  /** Side of the square pictures that the model takes, in pixels. */
  readonly imageSize: number;
  readonly inputRange: readonly [number, number];
  /** Class names after `fineTune`; before it undefined, and `classify` names ImageNet's. */
  readonly labels: readonly string[] | undefined;
  /** The graph and the way back into it; null for a layers model. */
  readonly lifted: LiftedModel | null;
  /**
   * As in `@tensorflow-models/mobilenet`: logits of the 1000 ImageNet classes [batch, 1000], or with `embedding` the
   * features [batch, channels]. After `fineTune` the probabilities of its classes.
   * @param picture or a batch of pictures [batch, 224, 224, 3]; 0…255.
   * @returns a tensor that the caller disposes.
   */
  infer(picture: PictureInput | Tensor, embedding?: boolean): Tensor;
  /**
   * The likeliest classes, best first.
   * @param topk how many. Default 3.
   */
  classify(picture: PictureInput, topk?: number): Promise<Prediction[]>;
  /**
   * Fine-tunes on pictures [224, 224, 3] in `inputRange`; from then on everything uses the result.
   * @throws TuneModeError as `fineTune` of 'tfjs-tune-mode/fine-tune', and `invalid-data` for pictures of another size; the
   *     model is then as it was before.
   */
  fineTune(data: FineTuneData, options?: FineTuneOptions): Promise<FineTuneResult>;
  /** Saves the layers model, to a folder in Node, `indexeddb://…` in a page, or with an IOHandler. */
  save(target: string | io.IOHandler): Promise<io.SaveResult>;
  /**
   * The graph with the weights as they are, for `@tensorflow-models/mobilenet`: `load({ version, alpha, modelUrl:
   * io.fromMemory(artifacts), inputRange })`. After `fineTune` its classes are the graph's: of the package's functions
   * `infer(picture, true)` still fits, the others expect ImageNet's.
   * @throws TuneModeError `unsupported` for a layers model.
   */
  toGraphModel(options?: Pick<WriteBackOptions, 'weights'>): Promise<io.ModelArtifacts>;
  /** Frees the model. */
  dispose(): void;
}

/** That package's table (2.1.1), which it does not export; a test compares the two. */
export const MOBILENET_URLS: Record<string, Record<string, string>> = Object.fromEntries(
  (
    [
      ['1.00', ['0.25', '0.50', '0.75', '1.00'], 1],
      ['2.00', ['0.50', '0.75', '1.00'], 2],
    ] as const
  ).map(([version, alphas, revision]) => [
    version,
    Object.fromEntries(
      alphas.map((alpha) => {
        const name = `mobilenet_v${version[0]}_${alpha.replace('.', '')}_224`;
        return [alpha, `https://tfhub.dev/google/imagenet/${name}/classification/${revision}`];
      }),
    ),
  ]),
);

const IMAGE_SIZE = 224;
/** Classes of the graphs: ImageNet's 1000 behind one for the background. */
const CLASSES = 1000;

/** What the entries' `loadMobileNet` do. */
export async function loadMobileNetOn(platform: Platform, options: MobileNetOptions = {}): Promise<MobileNet> {
  const where = 'loadMobileNet';
  checkLoadOptions(where, options, ['version', 'alpha', 'modelUrl', 'inputRange', 'calibration']);
  const { version = 1, alpha = 1, modelUrl, calibration } = options;
  const inputRange = checkedRange(where, options.inputRange ?? (modelUrl === undefined ? [0, 1] : [-1, 1]));
  const source = resolveSource(platform, { where, isFolder: true }, modelUrl ?? urlOf(version, alpha), options);
  const artifacts = await source.load();
  const isGraph = typeof artifacts?.modelTopology === 'object' && 'node' in (artifacts.modelTopology ?? {});
  const lifted = isGraph ? await restored(where, artifacts, calibration, inputRange) : null;
  const model = lifted?.model ?? (await loadTuned(where, { ...source, load: async () => artifacts }, {})).model;
  try {
    checkShapes(where, model);
    return new LoadedMobileNet(platform, model, lifted, inputRange, await packageNet(version, alpha, inputRange));
  } catch (error) {
    disposeModel(model);
    throw error;
  }
}

/** @throws TuneModeError `invalid-option` naming what there is. */
function urlOf(version: number, alpha: number): string {
  const url = MOBILENET_URLS[Number(version).toFixed(2)]?.[Number(alpha).toFixed(2)];
  if (url !== undefined) return url;
  const found = Object.entries(MOBILENET_URLS).map(
    ([each, alphas]) => `version ${Number(each)} with alpha ${Object.keys(alphas).map(Number).join(', ')}`,
  );
  throw new TuneModeError(
    'invalid-option',
    `loadMobileNet: there is no version ${version} with alpha ${alpha}. There are ${found.join('; ')}.`,
  );
}

function checkedRange(where: string, range: unknown): readonly [number, number] {
  const ok = Array.isArray(range) && range.length === 2 && range.every(Number.isFinite) && range[0] < range[1];
  if (ok) return range as unknown as [number, number];
  throw new TuneModeError(
    'invalid-option',
    `${where}: 'inputRange' must be two numbers, what black and white are; found ${JSON.stringify(range)}.`,
  );
}

async function restored(
  where: string,
  artifacts: io.ModelArtifacts,
  calibration: CalibrationData | undefined,
  inputRange: readonly [number, number],
): Promise<LiftedModel> {
  const bare = liftWhole(where, await readGraph(where, io.fromMemory(artifacts)));
  try {
    return await restoreBatchNorm(bare, calibration, { inputRange });
  } finally {
    disposeModel(bare.model);
  }
}

/** @throws TuneModeError `unsupported` for a graph of which a part cannot be lifted: no MobileNet has one. */
function liftWhole(where: string, graph: Graph): LiftedModel {
  try {
    return liftGraph(graph, { onUnsupported: 'error' });
  } catch (error) {
    if (!(error instanceof TuneModeError) || error.code !== 'unsupported') throw error;
    throw new TuneModeError('unsupported', `${where}: expected a MobileNet. ${error.message}`, { cause: error });
  }
}

function checkShapes(where: string, { inputs, outputs }: LayersModel): void {
  const [, height, width, channels] = inputs[0].shape;
  const fits = [height, width].every((size) => size === null || size === IMAGE_SIZE) && channels === 3;
  const classes = outputs[0].shape.at(-1);
  if (inputs.length === 1 && outputs.length === 1 && fits && (classes === CLASSES || classes === CLASSES + 1)) return;
  throw new TuneModeError(
    'unsupported',
    `${where}: expected a MobileNet, [batch, 224, 224, 3] → [batch, 1000 or 1001]; found ` +
      `[${inputs[0].shape.map((size) => size ?? 'any').join(', ')}] → [${outputs[0].shape.map((size) => size ?? 'any').join(', ')}]. ` +
      'Other models: loadLayers, or liftGraphModel of tfjs-tune-mode/graph-model.',
  );
}

/** What the package's net asks of its graph. */
interface GraphLike {
  predict(batch: Tensor): Tensor;
  execute(batch: Tensor, node: string): Tensor;
  dispose(): void;
}

type PackageNet = mobilenetPackage.MobileNet & { model: GraphLike };

/** The package's net with a graph that only hands its input on: what it computes is ours to say. */
async function packageNet(version: 1 | 2, alpha: number, inputRange: readonly [number, number]): Promise<PackageNet> {
  const size = { size: '-1' };
  const shape = { dim: [size, size, size, size] };
  const graph = {
    versions: {},
    node: [
      { name: 'images', op: 'Placeholder', attr: { dtype: { type: 'DT_FLOAT' }, shape: { shape } } },
      { name: 'same', op: 'Identity', input: ['images'], attr: { T: { type: 'DT_FLOAT' } } },
    ],
  };
  const artifacts = { format: 'graph-model', modelTopology: graph, weightSpecs: [], weightData: new ArrayBuffer(0) };
  const net = (await mobilenetPackage.load({
    version,
    alpha: alpha as mobilenetPackage.MobileNetAlpha,
    modelUrl: io.fromMemory(artifacts),
    inputRange: [...inputRange],
  })) as PackageNet;
  net.model.dispose();
  return net;
}

class LoadedMobileNet implements MobileNet {
  readonly imageSize = IMAGE_SIZE;
  labels: readonly string[] | undefined;
  report: TuneReport;
  private features: LayersModel;
  private isDisposed = false;

  constructor(
    private readonly platform: Platform,
    public model: LayersModel,
    readonly lifted: LiftedModel | null,
    readonly inputRange: readonly [number, number],
    private readonly net: PackageNet,
  ) {
    this.report = inspect(model);
    this.features = featuresOf(model);
  }

  infer(picture: PictureInput | Tensor, embedding = false): Tensor {
    this.check('infer');
    if (!embedding && this.labels === undefined) {
      this.net.model = this.graph((batch) => withBackground(this.model.predict(batch) as Tensor));
      return this.net.infer(picture as Tensor);
    }
    const used = embedding ? this.features : this.model;
    // The package squeezes what it takes for the pooled features.
    this.net.model = this.graph((batch) => spread(used.predict(batch) as Tensor));
    return this.net.infer(picture as Tensor, true);
  }

  async classify(picture: PictureInput, topk = 3): Promise<Prediction[]> {
    this.check('classify');
    const { labels } = this;
    if (labels !== undefined) {
      const probabilities = this.infer(picture);
      try {
        return topClasses('classify', labels, await probabilities.data(), topk);
      } finally {
        probabilities.dispose();
      }
    }
    this.net.model = this.graph((batch) => withBackground(this.model.predict(batch) as Tensor));
    return this.net.classify(picture as ImageData, topk);
  }

  async fineTune(data: FineTuneData, options: FineTuneOptions = {}): Promise<FineTuneResult> {
    this.check('fineTune');
    // The package's code brings every picture to this size.
    await checkPictures(data, this.imageSize, 3);
    const before = this.model;
    const result = await fineTune(before, data, { inputRange: this.inputRange, ...options });
    // Of the old head nobody has a use any more.
    disposeAllBut(before, result.model);
    this.model = result.model;
    this.features = featuresOf(result.model);
    this.report = result.blocks;
    this.labels = [...data.classNames];
    return result;
  }

  save(target: string | io.IOHandler): Promise<io.SaveResult> {
    this.check('save');
    const { inputRange, imageSize, labels } = this;
    return saveTo(this.platform, this.model, target, {
      inputRange,
      imageSize,
      ...(labels === undefined ? {} : { labels }),
    });
  }

  async toGraphModel(options: Pick<WriteBackOptions, 'weights'> = {}): Promise<io.ModelArtifacts> {
    this.check('toGraphModel');
    if (this.lifted !== null) return toGraphModel(this.lifted, { ...options, model: this.model });
    throw new TuneModeError(
      'unsupported',
      'toGraphModel: this MobileNet was loaded as a layers model, so there is no graph to write into. Use save.',
    );
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    disposeModel(this.model);
  }

  private graph(compute: (batch: Tensor) => Tensor): GraphLike {
    return { predict: compute, execute: compute, dispose: () => {} };
  }

  private check(where: string): void {
    if (this.isDisposed) throw new TuneModeError('model-disposed', `${where}: the model has been disposed.`);
    checkModel(where, this.model);
  }
}

/** The pooled features of a classifier. */
function featuresOf(model: LayersModel): LayersModel {
  const { features } = findCut(model);
  const pooled = features.shape.length === 4 ? layers.globalAveragePooling2d({}).apply(features) : features;
  return makeModel({ inputs: model.inputs, outputs: pooled as SymbolicTensor });
}

function spread(values: Tensor): Tensor {
  return reshape(values, [values.shape[0], 1, 1, -1]);
}

/** Logits with a class for the background in front; Keras's model gives probabilities of the 1000 classes alone. */
function withBackground(output: Tensor): Tensor {
  const [batch, classes] = output.shape;
  if (classes !== CLASSES) return output;
  return tidy(() => concat([zeros([batch as number, 1]), log(maximum(output, 1e-30))], 1));
}
