/** The options that all functions of the root entry share. */
import { checkOptionNames, TuneModeError } from './errors';
import type { AnalysisOptions } from './walker/find';

/**
 * - `include`: called for every block found; blocks for which it returns false stay in Eval mode. Default: all are taken.
 * - `fuseActivation`: whether a block also computes the activation after its BN, so that the activation's input need not
 *   be kept for the backward pass. Default true.
 * - `recompute`: whether outputs that are cheap to compute anew (of depthwise convs, and of pointwise ones that have at least
 *   four times as many channels as their input) are not kept for the backward pass but computed once more in it. The same
 *   gradients, less memory, somewhat more time. Default false.
 */
export interface TuneOptions extends AnalysisOptions {}

/**
 * @throws TuneModeError `invalid-option`.
 */
export function checkTuneOptions(where: string, options: TuneOptions | undefined): void {
  checkOptionNames(where, options, ['include', 'fuseActivation', 'recompute']);
  const { include, fuseActivation, recompute } = options ?? {};
  if (include !== undefined && typeof include !== 'function') {
    throw new TuneModeError(
      'invalid-option',
      `${where}: 'include' must be a function that takes a block and returns true or false, found ${typeof include}.`,
    );
  }
  for (const [name, value] of Object.entries({ fuseActivation, recompute })) {
    if (value === undefined || typeof value === 'boolean') continue;
    throw new TuneModeError(
      'invalid-option',
      `${where}: '${name}' must be true or false, found ${JSON.stringify(value)}.`,
    );
  }
}
