/**
 * coco-ssd's detectors as `@tensorflow-models/coco-ssd` has them, with their trainable part as a layers model: the
 * backbone and the predictors of boxes and classes. What comes before (pictures resized in a loop) and after (boxes
 * decoded, the best ones chosen) stays the graph's and that package's.
 */

import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import { dispose, io, reshape, type Tensor, type Tensor2D, tidy, zeros } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import * as cocoSsdPackage from '@tensorflow-models/coco-ssd';
import { edgeName, type Graph } from '../adapters/graph-model/graph';
import { liftGraph } from '../adapters/graph-model/lift';
import type { LiftedModel } from '../adapters/graph-model/lifted';
import { readGraph } from '../adapters/graph-model/read';
import { type CalibrationData, restoreBatchNorm } from '../adapters/graph-model/restore';
import { toGraphModel, type WriteBackOptions } from '../adapters/graph-model/write-back';
import { TuneModeError } from '../src/errors';
import { disposeModel } from './layers';
import { checkLoadOptions, type LoadOptions } from './options';
import type { PictureInput } from './pixels';
import type { Platform } from './platform';
import { type ModelSource, resolveSource } from './source';

export type CocoSsdBase = 'lite_mobilenet_v2' | 'mobilenet_v1' | 'mobilenet_v2';

export interface CocoSsdOptions extends LoadOptions {
  /** Default 'lite_mobilenet_v2'. */
  base?: CocoSsdBase;
  /** Where the model is, instead of the package's own place. */
  modelUrl?: ModelSource;
  /**
   * Pictures as `features` takes them, for the statistics of the restored BatchNorms. Default: generated ones.
   */
  calibration?: CalibrationData;
}

/** A thing found in a picture. */
export interface DetectedObject {
  /** x and y of the upper left corner, width, height, in pixels. */
  bbox: [number, number, number, number];
  class: string;
  score: number;
}

/** A detector with a trainable part. */
export interface CocoSsd {
  readonly base: CocoSsdBase;
  /**
   * The trainable part, in Tune mode: pictures [batch, 300, 300, 3] of 0…255, resized → raw box encodings [batch, anchors,
   * 4] (ty, tx, th, tw) and class logits [batch, anchors, 91], the first of them the background's.
   */
  readonly features: LayersModel;
  /** The boxes that the encodings are relative to: [anchors, 4], ymin, xmin, ymax, xmax in shares of the picture. */
  readonly anchors: Tensor2D;
  readonly lifted: LiftedModel;
  /**
   * As in `@tensorflow-models/coco-ssd`, with the weights that `features` has now.
   * @param maxNumBoxes Default 20.
   * @param minScore Default 0.5.
   */
  detect(picture: PictureInput, maxNumBoxes?: number, minScore?: number): Promise<DetectedObject[]>;
  /**
   * The graph with the weights as they are, for that package: `load({ base, modelUrl: io.fromMemory(artifacts) })`.
   * @throws TuneModeError as `toGraphModel` of 'tfjs-tune-mode/graph-model'.
   */
  toGraphModel(options?: Pick<WriteBackOptions, 'weights'>): Promise<io.ModelArtifacts>;
  /** Frees the model, the anchors and the graph. */
  dispose(): void;
}

const BASES: readonly CocoSsdBase[] = ['lite_mobilenet_v2', 'mobilenet_v1', 'mobilenet_v2'];

/** Where the parts of a detector meet, as tensors of the graph. */
interface Seams {
  boxes: string;
  logits: string;
  anchors: string;
  outputs: string[];
}

/** What the package's detector asks of its graph. */
interface DetectorGraph {
  executeAsync(batch: Tensor): Promise<Tensor[]>;
  dispose(): void;
}

/** The package's detector, with the fields that its types call private. */
type PackageDetector = Pick<cocoSsdPackage.ObjectDetection, 'detect'> & { model: DetectorGraph; modelPath: string };

/** What the entries' `loadCocoSsd` do. */
export async function loadCocoSsdOn(platform: Platform, options: CocoSsdOptions = {}): Promise<CocoSsd> {
  const where = 'loadCocoSsd';
  checkLoadOptions(where, options, ['base', 'modelUrl', 'calibration']);
  const { base = 'lite_mobilenet_v2', modelUrl, calibration } = options;
  if (!BASES.includes(base)) {
    throw new TuneModeError(
      'invalid-option',
      `${where}: 'base' must be one of ${BASES.map((name) => `'${name}'`).join(', ')}; found ${JSON.stringify(base)}.`,
    );
  }
  const detector = packageDetector(base);
  const source = resolveSource(platform, { where, isFolder: true }, modelUrl ?? detector.modelPath, options);
  const artifacts = await source.load();
  const graph = await readGraph(where, io.fromMemory(artifacts));
  const seams = seamsOf(graph);
  const bare = liftGraph(graph, { outputs: [seams.boxes, seams.logits] });
  let lifted: LiftedModel;
  try {
    lifted = await restoreBatchNorm(bare, calibration, { inputRange: [0, 255] });
  } finally {
    disposeModel(bare.model);
  }
  let rest: GraphModel | undefined;
  try {
    rest = await loadGraphModel(io.fromMemory(artifacts));
    return new LoadedCocoSsd(base, lifted, await anchorsOf(rest, seams), rest, seams, detector);
  } catch (error) {
    disposeModel(lifted.model);
    rest?.dispose();
    throw error;
  }
}

function packageDetector(base: CocoSsdBase): PackageDetector {
  // Node's ESM sees the package's CommonJS build through its default export.
  const { ObjectDetection } = (
    'ObjectDetection' in cocoSsdPackage
      ? cocoSsdPackage
      : (cocoSsdPackage as { default: typeof cocoSsdPackage }).default
  ) as typeof cocoSsdPackage;
  return new ObjectDetection(base) as unknown as PackageDetector;
}

/** @throws TuneModeError `unsupported` where the graph is no detector of this family. */
function seamsOf(graph: Graph): Seams {
  const inputOf = (pattern: RegExp, what: string): string => {
    const node = graph.nodes.find(({ name }) => pattern.test(name));
    if (node !== undefined && node.inputs.length > 0) return edgeName(node.inputs[0]);
    throw new TuneModeError(
      'unsupported',
      `loadCocoSsd: expected a detector of TensorFlow's object detection API; the graph has no node that takes ${what} ` +
        `(${pattern.source}). Lift it with liftGraphModel of 'tfjs-tune-mode/graph-model', which takes names of tensors.`,
    );
  };
  return {
    logits: inputOf(/^Postprocessor\/convert_scores$/, 'the class logits'),
    boxes: inputOf(/^Postprocessor\/Shape$/, 'the box encodings'),
    anchors: inputOf(/^Postprocessor\/Decode\/get_center_coordinates_and_sizes\/transpose$/, 'the anchors'),
    outputs: graph.outputs,
  };
}

async function anchorsOf(graph: GraphModel, { anchors }: Seams): Promise<Tensor2D> {
  const picture = zeros([1, 300, 300, 3], 'int32');
  try {
    const found = (await graph.executeAsync(picture, anchors)) as Tensor;
    const flat = reshape(found, [-1, 4]) as Tensor2D;
    // A constant of the graph is handed out as it is, and stays the graph's.
    const isConstant = Object.values(graph.weights).flat().includes(found);
    if (!isConstant) found.dispose();
    return flat;
  } finally {
    picture.dispose();
  }
}

class LoadedCocoSsd implements CocoSsd {
  private isDisposed = false;

  constructor(
    readonly base: CocoSsdBase,
    readonly lifted: LiftedModel,
    readonly anchors: Tensor2D,
    private readonly rest: GraphModel,
    private readonly seams: Seams,
    private readonly detector: PackageDetector,
  ) {
    detector.model = { executeAsync: (batch) => this.execute(batch), dispose: () => {} };
  }

  get features(): LayersModel {
    return this.lifted.model;
  }

  async detect(picture: PictureInput, maxNumBoxes?: number, minScore?: number): Promise<DetectedObject[]> {
    this.check('detect');
    return (await this.detector.detect(picture as ImageData, maxNumBoxes, minScore)) as DetectedObject[];
  }

  async toGraphModel(options: Pick<WriteBackOptions, 'weights'> = {}): Promise<io.ModelArtifacts> {
    this.check('toGraphModel');
    return toGraphModel(this.lifted, options);
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    disposeModel(this.lifted.model);
    this.rest.dispose();
    this.anchors.dispose();
  }

  /** The whole detector on a picture: the graph's beginning, the layers model, the graph's end. */
  private async execute(batch: Tensor): Promise<Tensor[]> {
    const { boxes, logits, anchors, outputs } = this.seams;
    const resized = (await this.rest.executeAsync(batch, this.lifted.inputs)) as Tensor | Tensor[];
    let raw: Tensor[] = [];
    try {
      raw = tidy(() => this.features.predict(resized) as Tensor[]);
      const given = { [boxes]: raw[0], [logits]: raw[1], [anchors]: this.anchors };
      // Decoding has no loop, and where there is none tfjs warns if it is asked to run asynchronously.
      return this.rest.execute(given, outputs) as Tensor[];
    } finally {
      dispose([resized, raw]);
    }
  }

  private check(where: string): void {
    if (this.isDisposed) throw new TuneModeError('model-disposed', `${where}: the detector has been disposed.`);
  }
}
