import path from 'node:path';
import type { io } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';

/** Bytes of one value as stored. */
const VALUE_BYTES: Record<string, number> = { float32: 4, int32: 4, bool: 1, complex64: 8 };
const QUANTIZED_BYTES: Record<string, number> = { uint8: 1, uint16: 2, float16: 2 };

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
    for (const spec of group.weights) {
      const problem = specProblem(spec);
      if (problem) fail(`group ${index} of 'weightsManifest', weight '${spec?.name}': ${problem}`);
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
      `'${where}': the weight file ${JSON.stringify(file)} is not inside the model's folder, so it is not read. ` +
        'Expected a relative path without "..".',
    );
  }
}

/** Whether it is a relative path that stays inside, by the rules of POSIX and of Windows alike. */
export function isInsidePath(file: unknown): file is string {
  if (typeof file !== 'string' || file === '' || file.includes('\0')) return false;
  if (path.posix.isAbsolute(file) || path.win32.isAbsolute(file) || /^[a-z][a-z0-9+.-]*:/i.test(file)) return false;
  return !file.split(/[\\/]/).includes('..');
}

function specProblem(spec: io.WeightsManifestEntry | undefined): string | undefined {
  if (typeof spec?.name !== 'string') return "'name' is missing";
  const { shape, dtype, quantization } = spec;
  if (!Array.isArray(shape) || !shape.every((size) => Number.isInteger(size) && size >= 0)) {
    return `'shape' must be a list of sizes, found ${JSON.stringify(shape)}`;
  }
  if (dtype !== 'string' && !(dtype in VALUE_BYTES)) return `unknown dtype ${JSON.stringify(dtype)}`;
  if (quantization === undefined) return undefined;
  if (!(quantization?.dtype in QUANTIZED_BYTES)) return `unknown quantization ${JSON.stringify(quantization)}`;
  if (quantization.dtype !== 'float16' && !(Number.isFinite(quantization.min) && Number.isFinite(quantization.scale))) {
    return `its ${quantization.dtype} quantization needs the numbers 'min' and 'scale'`;
  }
  return undefined;
}

/** Bytes that these weights take, or undefined if there are strings among them, whose length only the data tells. */
export function storedBytes(specs: readonly io.WeightsManifestEntry[]): number | undefined {
  let total = 0;
  for (const { shape, dtype, quantization } of specs) {
    if (dtype === 'string' && !quantization) return undefined;
    const bytes = quantization ? QUANTIZED_BYTES[quantization.dtype] : VALUE_BYTES[dtype];
    total += shape.reduce((product, size) => product * size, bytes);
  }
  return total;
}
