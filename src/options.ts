/** The options that all functions of the root entry share. */
import { checkOptionNames, TuneModeError } from './errors';
import type { AnalysisOptions } from './walker/find';

/**
 * - `include`: called for every block found; blocks for which it returns false stay in Eval mode. Default: all are taken.
 * - `fuseActivation`: whether a block also computes the activation after its BN, so that the activation's input need not
 *   be kept for the backward pass. Default true.
 */
export interface TuneOptions extends AnalysisOptions {}

/**
 * @throws TuneModeError `invalid-option`.
 */
export function checkTuneOptions(where: string, options: TuneOptions | undefined): void {
  checkOptionNames(where, options, ['include', 'fuseActivation']);
  const { include, fuseActivation } = options ?? {};
  if (include !== undefined && typeof include !== 'function') {
    throw new TuneModeError(
      'invalid-option',
      `${where}: 'include' must be a function that takes a block and returns true or false, found ${typeof include}.`,
    );
  }
  if (fuseActivation !== undefined && typeof fuseActivation !== 'boolean') {
    throw new TuneModeError(
      'invalid-option',
      `${where}: 'fuseActivation' must be true or false, found ${JSON.stringify(fuseActivation)}.`,
    );
  }
}
