/** tfjs-tune-mode/zoo in a page: models that people have, ready to be trained. */

import { browserPlatform } from './browser-platform';
import { type CocoSsd, type CocoSsdOptions, loadCocoSsdOn } from './coco-ssd';
import { type LayersOptions, type LoadedLayers, loadLayersOn } from './layers';
import { loadMobileNetOn, type MobileNet, type MobileNetOptions } from './mobilenet';
import type { ModelSource } from './source';
import { loadTeachableMachineOn, type TeachableMachine } from './teachable-machine';
import type { TeachableMetadata } from './teachable-metadata';

export type { CocoSsd, CocoSsdBase, CocoSsdOptions, DetectedObject } from './coco-ssd';
export type { LayersOptions, LoadedLayers } from './layers';
export type { MobileNet, MobileNetOptions } from './mobilenet';
export type { LoadOptions } from './options';
export type { PictureInput } from './pixels';
export type { ModelSource } from './source';
export type { TeachableMachine } from './teachable-machine';
export type { TeachableMetadata } from './teachable-metadata';
export type { Prediction } from './top-classes';

/**
 * Loads any Keras layers model and puts it in Tune mode:
 *
 * ```ts
 * const { model, report } = await loadLayers('https://example.com/mobilenet/model.json');
 * console.log(report.toString());
 * ```
 *
 * What comes over http(s) is kept, and not downloaded again (see `LoadOptions.cache` and `refresh`).
 *
 * @param urlOrHandler an http(s) URL (relative ones too), `indexeddb://name`, `localstorage://name`, or an IOHandler.
 * @throws TuneModeError `invalid-option`; `not-found`, `download-failed`; `invalid-model-file` (also for weights that are
 * no finite numbers); `not-a-layers-model` for a GraphModel. The reason of `options.signal`, once it is aborted. Nothing
 * is left over then.
 */
export function loadLayers(urlOrHandler: ModelSource, options?: LayersOptions): Promise<LoadedLayers> {
  return loadLayersOn(browserPlatform, urlOrHandler, options);
}

/**
 * Loads an image model of Teachable Machine, its nested Sequential included, and puts it in Tune mode:
 *
 * ```ts
 * const machine = await loadTeachableMachine('https://teachablemachine.withgoogle.com/models/abc/');
 * await machine.fineTune({ classNames, train: { xs, ys }, val });
 * console.log(await machine.predict(document.querySelector('img'), 3));
 * await machine.save('indexeddb://improved');
 * ```
 *
 * What comes over http(s) is kept; where a model was exported to the same address again, `refresh` gets the new one.
 *
 * @param modelUrl the URL of an export, or of its model.json; `indexeddb://name`; an IOHandler.
 * @param metadataUrl URL of its metadata.json, or an object with the `labels`. Default: the file beside the
 * model.json, or what `save` has put into the model.
 * @throws TuneModeError as `loadLayers`; `not-found` where there are no labels.
 */
export function loadTeachableMachine(
  modelUrl: ModelSource,
  metadataUrl?: string | TeachableMetadata,
  options?: LayersOptions,
): Promise<TeachableMachine> {
  return loadTeachableMachineOn(browserPlatform, modelUrl, metadataUrl, options);
}

/**
 * Loads MobileNet as `@tensorflow-models/mobilenet` does, with the same options and defaults, made trainable: its graph
 * lifted to a layers model, its BatchNorms restored, in Tune mode.
 *
 * ```ts
 * const net = await loadMobileNet({ version: 1, alpha: 0.25 });
 * console.log(await net.classify(picture));
 * await net.fineTune(data);
 * const tuned = await net.toGraphModel(); // for the package itself: load({ modelUrl: tf.io.fromMemory(tuned) … })
 * ```
 *
 * @throws TuneModeError as `loadLayers`; `unsupported` for a model that is no MobileNet; `invalid-data` for calibration
 * data that do not fit. Nothing is left over then.
 */
export function loadMobileNet(options?: MobileNetOptions): Promise<MobileNet> {
  return loadMobileNetOn(browserPlatform, options);
}

/**
 * Loads a detector as `@tensorflow-models/coco-ssd` does, with the same options and defaults, and its trainable part as a
 * layers model in Tune mode: `features`, pictures → raw box encodings and class logits.
 *
 * ```ts
 * const detector = await loadCocoSsd();
 * console.log(await detector.detect(picture));
 * ```
 *
 * @throws TuneModeError as `loadLayers`; `unsupported` for a graph that is no such detector; `invalid-data` for
 * calibration data that do not fit. Nothing is left over then.
 */
export function loadCocoSsd(options?: CocoSsdOptions): Promise<CocoSsd> {
  return loadCocoSsdOn(browserPlatform, options);
}
