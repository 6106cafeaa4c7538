import { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../src/errors';

/**
 * What tfjs itself saves to a place with.
 * @throws TuneModeError `invalid-option`.
 */
export function tfjsSaveHandler(place: string): io.IOHandler {
  const [handler] = io.getSaveHandlers(place);
  if (handler !== undefined) return handler;
  throw new TuneModeError(
    'invalid-option',
    `save: nothing here can save to '${place}'. Expected an http(s) URL or an IOHandler; in Node also a folder; in a page ` +
      "also 'indexeddb://name', 'localstorage://name' or 'downloads://name'.",
  );
}
