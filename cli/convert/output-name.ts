/** Names that promise something else than what is written there. */
import type { ConvertTarget } from '../../adapters/convert/options';

/**
 * @param to undefined where the name decides, as `convert` does.
 * @returns what is wrong, or undefined.
 */
export function checkOutputName(path: string, to: ConvertTarget | undefined): string | undefined {
  const looksLikeH5 = /\.(h5|hdf5)$/i.test(path);
  if (/\.keras$/i.test(path)) {
    return `'${path}' looks like a .keras file, which is not written; name an .h5 file, which Keras reads too, or a folder`;
  }
  if (to === 'h5' || (to === undefined && looksLikeH5)) return undefined;
  if (looksLikeH5) return `'${path}' looks like a file for Keras, and a folder is written; name a folder`;
  if (/\.json$/i.test(path))
    return `'${path}' looks like a file, and a folder with a model.json is written; name a folder`;
  return undefined;
}
