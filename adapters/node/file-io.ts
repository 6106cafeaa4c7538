import { dirname } from 'node:path';
import type { io } from '@tensorflow/tfjs-core';
import { toFilePath } from './model-path';
import { readModel } from './model-reader';
import { writeModel } from './model-writer';

/** Saves under way, by folder: two saves into one folder from one process run one after the other. */
const underWay = new Map<string, Promise<unknown>>();

/**
 * Loads and saves tfjs models (`model.json` and its weight files) without tfjs-node:
 *
 * ```ts
 * const model = await tf.loadLayersModel(fileIO('models/flowers'));
 * await model.save(fileIO('models/flowers-tuned'));
 * ```
 *
 * Loading takes several groups and shards, quantised weights, and a model.json without weights (topology alone).
 * Only files inside the model's folder are read. Saving is atomic: whatever happens, the place holds the old model or
 * the new one, whole. It writes shards of 4 MiB with a hash in their names, and the usual `weightsManifest`, which
 * tfjs reads over http and tfjs-node from disk.
 *
 * @param path a folder, a path ending in `.json`, or a `file://` URL of either. Missing folders are made on saving.
 * @throws TuneModeError `invalid-option` at once for what is no path; from `load`: `not-found`, `invalid-model-file`;
 * from `save`: `unsupported`, `invalid-data`.
 */
export function fileIO(path: string): Required<io.IOHandler> {
  const place = toFilePath(path);
  const folder = place.toLowerCase().endsWith('.json') ? dirname(place) : place;
  return {
    load: () => readModel(place),
    save: (artifacts) => {
      const previous = underWay.get(folder) ?? Promise.resolve();
      const saving = previous.catch(() => undefined).then(() => writeModel(place, artifacts));
      underWay.set(folder, saving);
      const forget = () => {
        if (underWay.get(folder) === saving) underWay.delete(folder);
      };
      saving.then(forget, forget);
      return saving;
    },
  };
}
