import { io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../src/errors';
import type { Platform } from './platform';

/** @throws TuneModeError `invalid-option` for what cannot save. */
export function saveHandlerOf(platform: Platform, target: string | io.IOHandler): Required<Pick<io.IOHandler, 'save'>> {
  const handler = typeof target === 'string' ? platform.target(target).handler : target;
  if (typeof handler?.save === 'function') return handler as Required<Pick<io.IOHandler, 'save'>>;
  throw new TuneModeError(
    'invalid-option',
    `save: expected a place or an IOHandler that can save; found ${JSON.stringify(target)}.`,
  );
}

/** Saves a model with what is known about its pictures. */
export function saveTo(
  platform: Platform,
  model: LayersModel,
  target: string | io.IOHandler,
  metadata: object,
): Promise<io.SaveResult> {
  const handler = saveHandlerOf(platform, target);
  return model.save(
    io.withSaveHandler((artifacts) =>
      handler.save({ ...artifacts, userDefinedMetadata: { ...artifacts.userDefinedMetadata, ...metadata } }),
    ),
  );
}
