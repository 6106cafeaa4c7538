/** Where a model comes from: http(s), this machine, a browser's storage, or an IOHandler. */
import { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../src/errors';
import { loadHttpModel } from './http-model';
import type { LoadOptions } from './options';
import type { LocalModel, Platform } from './platform';

/**
 * An http(s) URL of a model.json (or of its folder, ending in '/'); in Node the path of a model's folder or its
 * model.json, or its `file://` URL; in a page a relative URL, `indexeddb://name` or `localstorage://name`; an IOHandler.
 */
export type ModelSource = string | io.IOHandler;

export interface ResolvedSource {
  /** Names the model in messages. */
  name: string;
  /** Of http(s) models. */
  url?: string;
  /** Of models on disk. */
  local?: LocalModel;
  load(): Promise<io.ModelArtifacts>;
}

/** Who asks for a source. */
export interface Asking {
  /** The loader's name, for messages. */
  where: string;
  /** Name of the argument or option that the source was given as. Default 'modelUrl'. */
  argument?: string;
  /** Whether a URL that does not end in .json is that of a folder, also without '/' at its end. Default false. */
  isFolder?: boolean;
}

/**
 * Finds out what a source is; nothing is read before `load`.
 * @throws TuneModeError `invalid-option`; from `load` `not-found`, `invalid-model-file`, `download-failed`; the signal's
 * reason; what an IOHandler throws.
 */
export function resolveSource(
  platform: Platform,
  { where, argument = 'modelUrl', isFolder = false }: Asking,
  source: ModelSource,
  options: LoadOptions = {},
): ResolvedSource {
  if (typeof source !== 'string' || source === '') return fromHandler(where, source, argument);
  const scheme = schemeOf(source);
  const given = isHttp(source) ? source : scheme === undefined ? platform.urlOf(source) : undefined;
  if (given !== undefined) {
    const url = modelJsonUrl(where, given, options.fromTFHub, isFolder);
    return { name: url, url, load: () => loadHttpModel(platform, url, options, argument) };
  }
  const isPath = scheme === undefined || scheme === 'file';
  const local = isPath ? platform.localModel?.(source) : undefined;
  return local ? { name: local.place, local, load: () => local.load() } : fromTfjs(where, source, options);
}

/**
 * The model of a source as an IOHandler, for `loadGraphModel`, `liftGraphModel` or `loadLayersModel`.
 * @throws TuneModeError as `resolveSource`.
 */
export function modelHandler(
  platform: Platform,
  asking: Asking,
  source: ModelSource,
  options: LoadOptions = {},
): io.IOHandler {
  const { load } = resolveSource(platform, asking, source, options);
  return { load };
}

export function isHttp(source: string): boolean {
  return /^https?:\/\//i.test(source);
}

/** A scheme of two letters at least: 'C:' is a drive. */
function schemeOf(source: string): string | undefined {
  return /^([a-z][a-z0-9+.-]+):\/\//i.exec(source)?.[1].toLowerCase();
}

const TF_HUB_HOST = /^https?:\/\/([a-z0-9-]+\.)?tfhub\.dev\//i;

/**
 * The URL of a model.json.
 * @param fromTFHub as in tfjs-converter, `/model.json?tfjs-format=file` is added. Default: for modules on tfhub.dev.
 * @throws TuneModeError `invalid-option`.
 */
export function modelJsonUrl(where: string, given: string, fromTFHub?: boolean, isFolder = false): string {
  let url: URL;
  try {
    url = new URL(given);
  } catch (error) {
    throw new TuneModeError('invalid-option', `${where}: '${given}' is no valid URL.`, { cause: error });
  }
  const isFile = /\.json$/i.test(url.pathname);
  if (fromTFHub ?? (TF_HUB_HOST.test(given) && !isFile)) {
    return isFile ? url.href : `${given.endsWith('/') ? given : `${given}/`}model.json?tfjs-format=file`;
  }
  if (isFolder && !isFile && !url.pathname.endsWith('/')) url.pathname += '/';
  if (url.pathname.endsWith('/')) url.pathname += 'model.json';
  url.hash = '';
  return url.href;
}

function fromHandler(where: string, source: unknown, argument: string): ResolvedSource {
  const handler = source as io.IOHandler | null;
  // It has a `load` too.
  if (typeof handler === 'object' && handler !== null && 'modelSignature' in handler) {
    throw new TuneModeError(
      'not-a-layers-model',
      `${where}: found a GraphModel, which tfjs can only run, not train. liftGraphModel of 'tfjs-tune-mode/graph-model' ` +
        'makes a layers model of it; loadMobileNet and loadCocoSsd do so for the models they are named after.',
    );
  }
  if (typeof handler === 'object' && typeof handler?.load === 'function') {
    return { name: 'the given IOHandler', load: () => handler.load!() };
  }
  const isHandler = typeof (handler as io.IOHandler | null)?.save === 'function';
  const found = isHandler ? 'an IOHandler that cannot load' : (JSON.stringify(source) ?? typeof source);
  throw new TuneModeError(
    'invalid-option',
    `${where}: '${argument}' must be a URL, a path or a tfjs IOHandler; found ${found.slice(0, 80)}.`,
  );
}

/** The schemes that tfjs itself knows. */
function fromTfjs(where: string, source: string, options: LoadOptions): ResolvedSource {
  const [handler] = io.getLoadHandlers(source, options);
  if (handler?.load === undefined) {
    throw new TuneModeError(
      'invalid-option',
      `${where}: nothing here can load '${source}'. Expected http://, https:// or an IOHandler; in Node also a path or ` +
        'file://; in a page also indexeddb:// or localstorage://.',
    );
  }
  const load = () =>
    handler.load!().catch((error: Error) => {
      // As tfjs-core 4.22.0 says it of IndexedDB and of local storage.
      if (!/^Cannot find model|there is no model/.test(error.message)) throw error;
      throw new TuneModeError('not-found', `There is no '${source}'. Expected a model that was saved there.`, {
        cause: error,
      });
    });
  return { name: source, load };
}
