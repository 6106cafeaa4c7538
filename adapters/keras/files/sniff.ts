/** What kind of file it is, by what it begins with. */
import fs from 'node:fs/promises';
import { TuneModeError } from '../../../src/errors';

const HDF5 = Buffer.from([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Of an entry; of an archive without any; of one that was cut for several disks. */
const ZIPS = ['PK\x03\x04', 'PK\x05\x06', 'PK\x07\x08'].map((text) => Buffer.from(text, 'latin1'));

/**
 * Looks at content, not names. HDF5 allows something else before its signature, which then is at 512, 1024, 2048 …
 * @returns `undefined` where it is neither.
 * @throws TuneModeError `not-found`.
 */
export async function sniffKeras(file: string): Promise<'hdf5' | 'zip' | undefined> {
  let handle: fs.FileHandle;
  try {
    handle = await fs.open(file, 'r');
  } catch (error) {
    throw new TuneModeError('not-found', `'${file}' cannot be opened (${(error as NodeJS.ErrnoException).code}).`, {
      cause: error,
    });
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) return undefined;
    const buffer = Buffer.alloc(8);
    for (let at = 0; at + 8 <= stat.size; at = at === 0 ? 512 : at * 2) {
      await handle.read(buffer, 0, 8, at);
      if (buffer.equals(HDF5)) return 'hdf5';
      if (at === 0 && ZIPS.some((zip) => buffer.subarray(0, 4).equals(zip))) return 'zip';
    }
    return undefined;
  } finally {
    await handle.close();
  }
}
