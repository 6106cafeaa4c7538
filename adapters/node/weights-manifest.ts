import type { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { specProblem } from '../weight-specs';

export { bytesNeeded, storedBytes } from '../weight-specs';

const LONGEST_NAME = 100;

/**
 * Checks the `weightsManifest` of a model.json before any of its files is touched.
 * @param where names the file in messages.
 * @throws TuneModeError `invalid-model-file` saying which entry is wrong.
 */
export function checkManifest(manifest: unknown, where: string): io.WeightsManifestConfig {
  const fail = (problem: string) => {
    throw new TuneModeError('invalid-model-file', `'${where}': ${problem}.`);
  };
  if (!Array.isArray(manifest)) fail("'weightsManifest' must be a list of groups");
  const groups = manifest as io.WeightsManifestConfig;
  groups.forEach((group, index) => {
    if (!Array.isArray(group?.paths) || !Array.isArray(group?.weights)) {
      fail(`group ${index} of 'weightsManifest' needs the lists 'paths' and 'weights'`);
    }
    for (const file of group.paths) checkShardPath(file, where);
    for (const [at, spec] of group.weights.entries()) {
      const problem = specProblem(spec);
      const name = typeof spec?.name === 'string' ? `'${spec.name.slice(0, LONGEST_NAME)}'` : `number ${at}`;
      if (problem) fail(`group ${index} of 'weightsManifest', weight ${name}: ${problem}`);
    }
  });
  return groups;
}

/**
 * A manifest may come from anywhere, and what it names is read (and, once replaced, deleted): only files in the
 * model's own folder or below are taken. Whether such a file is a link is the business of whoever made the folder.
 */
function checkShardPath(file: unknown, where: string): void {
  if (!isInsidePath(file)) {
    throw new TuneModeError(
      'invalid-model-file',
      `'${where}': the weight file ${(JSON.stringify(file) ?? 'undefined').slice(0, LONGEST_NAME)} is not inside the model's folder, so it is not read. ` +
        'Expected a relative path without "..".',
    );
  }
}

/** Whether it is a relative path that stays inside, by the rules of POSIX and of Windows alike. */
export function isInsidePath(file: unknown): file is string {
  if (typeof file !== 'string' || file === '' || file.includes('\0')) return false;
  if (/^[\\/]|^[a-z][a-z0-9+.-]*:/i.test(file)) return false;
  return !file.split(/[\\/]/).includes('..');
}
