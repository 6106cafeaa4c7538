/**
 * Every reason for which this package refuses to go on. A closed union: switch over it.
 *
 * - `not-a-layers-model`: the argument is no tfjs-layers `LayersModel` (a `GraphModel`, a path, `undefined` …).
 * - `not-a-graph-model`: the argument is no tfjs `GraphModel`, and leads to none.
 * - `model-not-built`: the model has no inputs or outputs yet (a `Sequential` without layers or `inputShape`).
 * - `model-disposed`: the model's weights have been disposed.
 * - `invalid-mode`: not one of `'train'`, `'eval'`, `'tune'`.
 * - `invalid-option`: an unknown option name, or a value of the wrong type or range.
 * - `broken-invariant`: a check after a rewrite failed; the model was put back as it was. A bug in this package.
 * - `unknown-backend`: a backend was asked for by a name that does not exist.
 * - `backend-unavailable`: a backend exists but cannot be started here.
 * - `unsupported`: a computation that this package cannot do right, refused rather than done wrong.
 * - `out-of-memory`: a tensor does not fit into the backend's memory any more.
 * - `not-found`: a file or folder does not exist.
 * - `download-failed`: a server cannot be reached, or answers with something else than the file that was asked for.
 * - `invalid-model-file`: a model file that cannot be read: what is wrong, and where.
 * - `invalid-data`: pictures or a data set that cannot be used.
 */
export type TuneModeErrorCode =
  | 'not-a-layers-model'
  | 'not-a-graph-model'
  | 'model-not-built'
  | 'model-disposed'
  | 'invalid-mode'
  | 'invalid-option'
  | 'broken-invariant'
  | 'unknown-backend'
  | 'backend-unavailable'
  | 'unsupported'
  | 'out-of-memory'
  | 'not-found'
  | 'download-failed'
  | 'invalid-model-file'
  | 'invalid-data';

/** The one error class of this package: a `code` to branch on and a message that says what was found, what was expected, what to do. */
export class TuneModeError extends Error {
  readonly code: TuneModeErrorCode;

  constructor(code: TuneModeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TuneModeError';
    this.code = code;
  }
}

/**
 * Refuses option names that nobody reads, so that a typing mistake never passes silently.
 * @throws TuneModeError `invalid-option` naming the unknown options and the valid ones.
 */
export function checkOptionNames(where: string, options: object | undefined, valid: readonly string[]): void {
  if (options === undefined) return;
  if (options === null || typeof options !== 'object') {
    throw new TuneModeError('invalid-option', `${where}: options must be an object, found ${JSON.stringify(options)}.`);
  }
  const unknown = Object.keys(options).filter((name) => !valid.includes(name));
  if (unknown.length > 0) {
    const named = unknown.map((name) => `'${name}'`).join(', ');
    throw new TuneModeError(
      'invalid-option',
      `${where}: unknown option ${named}. Valid options: ${valid.map((name) => `'${name}'`).join(', ')}.`,
    );
  }
}
