/** The options that all loaders share. */
import { checkOptionNames, TuneModeError } from '../src/errors';

export interface LoadOptions {
  /**
   * Called with 0, then with the share of bytes that have come, then with 1. Without it a download shows itself, in Node
   * and where stderr is a terminal.
   */
  onProgress?: (fraction: number) => void;
  /** For `fetch`: headers, credentials … */
  requestInit?: RequestInit;
  /** Instead of `fetch`. */
  fetchFunc?: typeof fetch;
  /** Where the weight files are. Default: beside the model.json. */
  weightPathPrefix?: string;
  /** Name of a weight file → its URL. */
  weightUrlConverter?: (weightFileName: string) => Promise<string>;
  /** The URL is that of a TF-Hub module: `/model.json?tfjs-format=file` is added. Default: whether it is on tfhub.dev. */
  fromTFHub?: boolean;
  /**
   * Where downloads are kept: a folder in Node, the name of a cache (Cache API) in a page; false for nowhere. Default in
   * Node: the environment's `TFJS_TUNE_MODE_CACHE`, else `tfjs-tune-mode` in the user's folder for caches; in a page
   * 'tfjs-tune-mode'.
   */
  cache?: false | string;
  /** Download again what is kept, for an address whose content changes. Default false. */
  refresh?: boolean;
  /** Stops a download; the loader then rejects with the signal's reason. */
  signal?: AbortSignal;
}

interface Rule {
  ok: (value: unknown) => boolean;
  expected: string;
}
const typed = (type: string, expected: string): Rule => ({ ok: (value) => typeof value === type, expected });

const RULES: Record<keyof LoadOptions, Rule> = {
  onProgress: typed('function', 'a function'),
  requestInit: { ok: (value) => typeof value === 'object' && value !== null, expected: "an object of fetch's options" },
  fetchFunc: typed('function', 'a function like fetch'),
  weightPathPrefix: typed('string', 'a URL'),
  weightUrlConverter: typed('function', 'a function'),
  fromTFHub: typed('boolean', 'true or false'),
  cache: {
    ok: (value) => value === false || (typeof value === 'string' && value !== ''),
    expected: 'a folder (in a page: a name), or false',
  },
  refresh: typed('boolean', 'true or false'),
  signal: {
    ok: (value) => typeof (value as AbortSignal | null)?.aborted === 'boolean',
    expected: 'an AbortSignal',
  },
};

/**
 * @param others names of the options that only this loader has.
 * @throws TuneModeError `invalid-option` naming the option, what was found and what is expected.
 */
export function checkLoadOptions(
  where: string,
  options: LoadOptions | undefined,
  others: readonly string[] = [],
): void {
  checkOptionNames(where, options, [...Object.keys(RULES), ...others]);
  for (const [name, { ok, expected }] of Object.entries(RULES)) {
    const value = options?.[name as keyof LoadOptions];
    if (value === undefined || ok(value)) continue;
    const found = typeof value === 'function' ? 'a function' : JSON.stringify(value);
    throw new TuneModeError('invalid-option', `${where}: '${name}' must be ${expected}; found ${found}.`);
  }
}
