/** A model over http: its model.json and the weight files that it names, from the cache or the server. */
import { io } from '@tensorflow/tfjs-core';
import { parseModelJson } from '../adapters/model-json';
import { concatenated } from '../adapters/node/shards';
import { checkManifest } from '../adapters/node/weights-manifest';
import { storedBytes } from '../adapters/weight-specs';
import { TuneModeError } from '../src/errors';
import { type Files, readEntry, writeEntry } from './cache';
import { type Bytes, fetchFile, type Help, type Request } from './download';
import type { LoadOptions } from './options';
import type { Platform } from './platform';

/** Weight files on their way at the same time; browsers open six connections to a server. */
const AT_ONCE = 6;

const MODEL_JSON = 'model.json';

/**
 * @param argument name of the loader's argument or option that a copy of one's own can be given as.
 * @throws TuneModeError `download-failed`, `invalid-model-file`; the signal's reason.
 */
export async function loadHttpModel(
  platform: Platform,
  url: string,
  options: LoadOptions,
  argument: string,
): Promise<io.ModelArtifacts> {
  const { weightPathPrefix } = options;
  // The same model.json with other weights is another model.
  const key = weightPathPrefix === undefined ? url : `${url}\n${weightPathPrefix}`;
  const check = (files: Files) => void checkFiles(files, url);
  // What a converter of names leads to cannot be told from the URL: it is not kept.
  const kept = options.weightUrlConverter === undefined ? options : { ...options, cache: false as const };
  const files = await keptOr(platform, key, argument, kept, check, (help) => download(platform, url, options, help));
  return artifactsOf(files, url);
}

/**
 * One text file over http, kept like a model.
 * @param what names the file in messages.
 * @param check throws for what is not worth keeping.
 * @throws TuneModeError `download-failed`; what `check` throws; the signal's reason.
 */
export async function loadHttpText(
  platform: Platform,
  url: string,
  what: string,
  options: LoadOptions,
  argument: string,
  check: (text: string) => void,
): Promise<string> {
  const textOf = (files: Files) => new TextDecoder().decode(files.get('text'));
  const quiet = { ...options, onProgress: undefined };
  const signal = signalOf(options) ?? new AbortController().signal;
  const files = await keptOr(
    platform,
    url,
    argument,
    quiet,
    (kept) => check(textOf(kept)),
    async (help) => {
      const files = new Map([['text', await fetchFile({ url, what, isText: true, help }, options, signal, () => {})]]);
      check(textOf(files));
      return files;
    },
  );
  return textOf(files);
}

/**
 * What is kept under `key`, if it passes the check; else what `fetch` gives, which is kept from then on.
 * @param fetch has checked what it gives.
 */
async function keptOr(
  platform: Platform,
  key: string,
  argument: string,
  options: LoadOptions,
  check: (files: Files) => void,
  fetch: (help: Help) => Promise<Files>,
): Promise<Files> {
  const { cache, refresh, onProgress } = options;
  signalOf(options)?.throwIfAborted();
  const store = cache === false ? undefined : platform.openStore(cache);
  const kept = store === undefined || refresh ? undefined : await readEntry(store, key);
  if (kept !== undefined && passes(check, kept)) {
    onProgress?.(0);
    onProgress?.(1);
    return kept;
  }
  const missing = store === undefined || refresh ? '' : ' and is not in the cache';
  const files = await fetch({ missing, instead: `pass ${platform.ownCopy} as '${argument}'` });
  if (store !== undefined) await writeEntry(store, key, files);
  return files;
}

function signalOf({ signal, requestInit }: LoadOptions): AbortSignal | undefined {
  return signal ?? requestInit?.signal ?? undefined;
}

function passes(check: (files: Files) => void, files: Files): boolean {
  try {
    check(files);
    return true;
  } catch (error) {
    if (error instanceof TuneModeError) return false;
    throw error;
  }
}

/** All files of a model, its model.json first. Stops all of them as soon as one fails. */
async function download(platform: Platform, url: string, options: LoadOptions, help: Help): Promise<Files> {
  const { onProgress } = options;
  const signal = signalOf(options);
  const display = onProgress === undefined ? platform.showProgress(url) : undefined;
  const progress = new Progress((fraction) => {
    onProgress?.(fraction);
    display?.show(fraction);
  });
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort);
  try {
    const get = (request: Omit<Request, 'help'>) =>
      fetchFile({ ...request, help }, options, stop.signal, (count) => progress.add(count));
    const json = await get({ url, what: 'the model.json of a tfjs model', isText: true });
    const files = new Map([[MODEL_JSON, json]]);
    const groups = checkManifest(jsonOf(json, url).weightsManifest ?? [], url);
    progress.expect(json.length + groups.reduce((sum, { weights }) => sum + (storedBytes(weights) ?? 0), 0));
    const names = groups.flatMap(({ paths }) => paths);
    const contents = await inParallel(names, async (name) => {
      const from = await weightUrl(name, url, options);
      return get({ url: from, what: `the weights '${name}' of '${url}'`, isText: false });
    });
    for (const [i, name] of names.entries()) files.set(name, contents[i]);
    checkFiles(files, url);
    progress.finish();
    return files;
  } catch (error) {
    stop.abort(error); // whatever else is on its way
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    display?.end();
  }
}

/** As tfjs does: beside the model.json, by its URL as it was given (not as it was redirected), with the same query. */
async function weightUrl(name: string, url: string, options: LoadOptions): Promise<string> {
  if (options.weightUrlConverter !== undefined) return options.weightUrlConverter(name);
  const [, folder, query] = /^([^?#]*\/)[^?#]*(\?[^#]*)?/.exec(url) ?? [];
  const prefix = options.weightPathPrefix;
  if (prefix === undefined) return `${folder}${name}${query ?? ''}`;
  return `${prefix.endsWith('/') ? prefix : `${prefix}/`}${name}${query ?? ''}`;
}

/** @returns the results in the order of the items. */
async function inParallel<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const left = items.entries();
  const worker = async () => {
    for (const [index, item] of left) results[index] = await run(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

function jsonOf(content: Bytes | undefined, url: string): io.ModelJSON {
  return parseModelJson(new TextDecoder().decode(content), url);
}

interface Checked {
  json: io.ModelJSON;
  groups: io.WeightsManifestConfig;
}

/** @throws TuneModeError `invalid-model-file`, also for weight files that are shorter or longer than the model.json says. */
function checkFiles(files: Files, url: string): Checked {
  const json = jsonOf(files.get(MODEL_JSON), url);
  const groups = checkManifest(json.weightsManifest ?? [], url);
  for (const [index, { paths, weights }] of groups.entries()) {
    const sizes = paths.map((name) => files.get(name)?.length ?? 0);
    const found = sizes.reduce((sum, size) => sum + size, 0);
    const expected = storedBytes(weights);
    if (expected === undefined || expected === found) continue;
    const held = paths.map((name, i) => `'${name}' has ${sizes[i]}`).join(', ') || 'there is no file';
    throw new TuneModeError(
      'invalid-model-file',
      `'${url}': the weights of group ${index} need ${expected} bytes, but ${found} were found (${held}). ` +
        `The weight files at the server are ${found < expected ? 'cut off' : 'too long'}.`,
    );
  }
  return { json, groups };
}

/** @throws TuneModeError `invalid-model-file`. */
function artifactsOf(files: Files, url: string): Promise<io.ModelArtifacts> {
  const { json, groups } = checkFiles(files, url);
  return io.getModelArtifactsForJSON(json, async () => {
    const parts = groups.flatMap(({ paths }) => paths).map((name) => files.get(name)!.buffer);
    return [groups.flatMap(({ weights }) => weights), concatenated(parts).buffer as ArrayBuffer];
  });
}

/** Shares of a download that only grow, from 0 to 1, each told once. */
class Progress {
  private received = 0;
  private expected = Number.POSITIVE_INFINITY;
  private told = 0;

  constructor(private readonly tell: (fraction: number) => void) {
    tell(0);
  }

  expect(bytes: number): void {
    this.expected = bytes;
  }

  add(bytes: number): void {
    this.received += bytes;
    // 1 is kept for the end: strings among the weights make a model larger than can be foreseen.
    const fraction = Math.min(this.received / this.expected, 0.999);
    if (fraction <= this.told) return;
    this.told = fraction;
    this.tell(fraction);
  }

  finish(): void {
    this.tell(1);
  }
}
