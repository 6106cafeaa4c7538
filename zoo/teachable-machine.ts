/** Image models of Teachable Machine: loaded, asked, fine-tuned, and saved in their own form. */
import {
  div,
  expandDims,
  type io,
  mul,
  sub,
  sum,
  type Tensor,
  type Tensor4D,
  tensor1d,
  tidy,
} from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { parseMetadata } from '../adapters/picture-metadata';
import { checkModel } from '../src/check-model';
import { TuneModeError } from '../src/errors';
import { type FineTuneData, type FineTuneOptions, type FineTuneResult, fineTune } from '../src/fine-tune';
import { disposeAllBut } from '../src/fine-tune/prepare';
import type { TuneReport } from '../src/report';
import { checkPictures } from './check-pictures';
import { loadHttpText } from './http-model';
import { disposeModel, type LayersOptions, loadTuned } from './layers';
import { checkLoadOptions } from './options';
import type { PictureInput } from './pixels';
import type { Platform } from './platform';
import { saveTo } from './save';
import { isHttp, type ModelSource, type ResolvedSource, resolveSource } from './source';
import { middleSquare } from './square';
import { formOf, savedMetadata, type TeachableForm, type TeachableMetadata } from './teachable-metadata';
import { type Prediction, topClasses } from './top-classes';

/** An image model of Teachable Machine. */
export interface TeachableMachine {
  /** In Tune mode. After `fineTune` it is another object. */
  readonly model: LayersModel;
  /** Class names in the order of the model's outputs. */
  readonly labels: readonly string[];
  /** Side of the square pictures that the model takes. */
  readonly imageSize: number;
  readonly report: TuneReport;
  /** The metadata.json as it was loaded or saved last. */
  readonly metadata: Readonly<TeachableMetadata>;
  /**
   * What is in a picture, by the numbers that Teachable Machine's own library gives: its middle square, resized.
   * @param topk how many classes. Default: all.
   * @returns the likeliest class first.
   * @throws TuneModeError `invalid-data` for what is no picture; `model-disposed`.
   */
  predict(picture: PictureInput, topk?: number): Promise<Prediction[]>;
  /**
   * Improves the model on pictures in its size, of the same classes or of others; from then on `predict` and `save` use
   * the result and the data's class names. Black is −1 and white 1 in tensors, as in `loadPictureFolder`'s.
   * @throws TuneModeError as `fineTune` of 'tfjs-tune-mode/fine-tune'; the model is then as it was before.
   */
  fineTune(data: FineTuneData, options?: FineTuneOptions): Promise<FineTuneResult>;
  /**
   * Saves it as Teachable Machine exports it: model.json, weights, and metadata.json with labels and picture size. Where
   * only a model can be kept (`indexeddb://`, an IOHandler), the metadata is part of it.
   * @param target in Node a folder; in a page `indexeddb://name`, `localstorage://name` or `downloads://model`; an IOHandler.
   * @throws TuneModeError `invalid-option`, `model-disposed`; what the IOHandler throws.
   */
  save(target: string | io.IOHandler): Promise<io.SaveResult>;
  /** Frees the model. */
  dispose(): void;
}

const METADATA_JSON = 'metadata.json';

/** What the entries' `loadTeachableMachine` do. */
export async function loadTeachableMachineOn(
  platform: Platform,
  modelUrl: ModelSource,
  metadataUrl?: string | TeachableMetadata,
  options: LayersOptions = {},
): Promise<TeachableMachine> {
  const where = 'loadTeachableMachine';
  checkLoadOptions(where, options, ['strict', 'tune']);
  const source = resolveSource(platform, { where, isFolder: true }, modelUrl, options);
  const { model, report } = await loadTuned(where, source, options);
  try {
    const { metadata, file } = await findMetadata(platform, source, model, metadataUrl, options);
    return new LoadedMachine(platform, model, report, metadata, formOf(model, metadata, file));
  } catch (error) {
    disposeModel(model);
    throw error;
  }
}

interface Found {
  metadata: TeachableMetadata;
  /** Names it in messages. */
  file: string;
}

/** The metadata that was given, or the file beside the model, or what the model itself was saved with. */
async function findMetadata(
  platform: Platform,
  { name, url, local }: ResolvedSource,
  model: LayersModel,
  given: string | TeachableMetadata | undefined,
  options: LayersOptions,
): Promise<Found> {
  if (typeof given === 'object' && given !== null) return { metadata: given, file: 'the given metadata' };
  if (given !== undefined && (typeof given !== 'string' || given === '')) {
    throw new TuneModeError(
      'invalid-option',
      `loadTeachableMachine: 'metadataUrl' must be a URL, a path or an object with 'labels'; found ${JSON.stringify(given)}.`,
    );
  }
  const place = given ?? (url === undefined ? undefined : new URL(METADATA_JSON + new URL(url).search, url).href);
  const file = place ?? `${METADATA_JSON}' beside '${name}`;
  const text = place === undefined ? await local?.readBeside(METADATA_JSON) : await readText(platform, place, options);
  if (text !== undefined) return { metadata: parseMetadata(text, file) as unknown as TeachableMetadata, file };
  const own = model.getUserDefinedMetadata() as TeachableMetadata | undefined;
  if (given === undefined && own?.labels !== undefined) return { metadata: own, file: `the metadata in '${name}` };
  throw new TuneModeError(
    'not-found',
    `There is no '${file}', which has the class names. Give its place as 'metadataUrl', or an object with 'labels'.`,
  );
}

async function readText(platform: Platform, place: string, options: LayersOptions): Promise<string | undefined> {
  const url = isHttp(place) ? place : platform.urlOf(place);
  if (url === undefined) return platform.readText?.(place);
  const what = 'the metadata.json of a Teachable Machine model';
  return loadHttpText(platform, url, what, options, 'metadataUrl', (text) => void parseMetadata(text, url));
}

class LoadedMachine implements TeachableMachine {
  private isDisposed = false;

  constructor(
    private readonly platform: Platform,
    public model: LayersModel,
    public report: TuneReport,
    public metadata: TeachableMetadata,
    private form: TeachableForm,
  ) {}

  get labels(): readonly string[] {
    return this.form.labels;
  }

  get imageSize(): number {
    return this.form.imageSize;
  }

  async predict(picture: PictureInput, topk = this.labels.length): Promise<Prediction[]> {
    this.check('predict');
    const output = tidy(() => this.model.predict(prepared(picture, this.form)) as Tensor);
    try {
      return topClasses('predict', this.labels, await output.data(), topk);
    } finally {
      output.dispose();
    }
  }

  async fineTune(data: FineTuneData, options?: FineTuneOptions): Promise<FineTuneResult> {
    this.check('fineTune');
    // Its library knows no other size than the metadata's.
    const { imageSize, grayscale } = this.form;
    await checkPictures(data, imageSize, grayscale ? 1 : 3);
    const before = this.model;
    const result = await fineTune(before, data, options);
    // Of the old head nobody has a use any more.
    disposeAllBut(before, result.model);
    this.model = result.model;
    this.report = result.blocks;
    this.form = { ...this.form, labels: [...data.classNames] };
    return result;
  }

  async save(target: string | io.IOHandler): Promise<io.SaveResult> {
    this.check('save');
    const metadata = savedMetadata(this.metadata, this.form);
    const result = await saveTo(this.platform, this.model, target, metadata);
    if (typeof target === 'string') {
      await this.platform.target(target).writeBeside?.(METADATA_JSON, `${JSON.stringify(metadata, null, 2)}\n`);
    }
    this.metadata = metadata;
    return result;
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    disposeModel(this.model);
  }

  private check(where: string): void {
    if (this.isDisposed) throw new TuneModeError('model-disposed', `${where}: the model has been disposed.`);
    checkModel(where, this.model);
  }
}

/** Luminance, as `@teachablemachine/image` weights it. */
const GREY = [0.2989, 0.587, 0.114];

/** float32 [1, size, size, channels]: x / 127 − 1. White is a little above 1, as it is in Teachable Machine's training. */
function prepared(picture: PictureInput, { imageSize, grayscale }: TeachableForm): Tensor4D {
  const square = middleSquare('predict', picture, imageSize);
  const channels = square.shape[2];
  if (channels !== 3 && !(grayscale && channels === 1)) {
    throw new TuneModeError('invalid-data', `predict: expected a picture with 3 channels; found ${channels}.`);
  }
  const coloured = grayscale && channels === 3 ? sum(mul(square, tensor1d(GREY)), -1, true) : square;
  return expandDims(sub(div(coloured, 127), 1), 0) as Tensor4D;
}
