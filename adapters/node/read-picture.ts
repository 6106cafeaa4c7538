import fs from 'node:fs/promises';
import { TuneModeError } from '../../src/errors';
import { decodeRgb } from './decode';
import type { ResolvedOptions } from './picture-options';
import { resizeCover } from './resize';

/** Larger files are not read: no JPEG or PNG within the limit on pixels needs as much. */
const MAX_FILE_BYTES = 512 * 2 ** 20;

/**
 * Reads, decodes and resizes one picture into `out` from `offset` on (height * width * 3 floats).
 * @returns undefined, or the reason why the picture cannot be read; nothing is thrown for a bad picture.
 */
export async function readPictureInto(
  file: string,
  options: Pick<ResolvedOptions, 'size' | 'inputRange'>,
  out: Float32Array,
  offset: number,
): Promise<string | undefined> {
  try {
    const { size } = await fs.stat(file);
    if (size > MAX_FILE_BYTES) return `the file has ${size} bytes, more than the ${MAX_FILE_BYTES} that are read`;
    const picture = decodeRgb(await fs.readFile(file));
    resizeCover(picture, options.size[0], options.size[1], options.inputRange, out, offset);
    return undefined;
  } catch (error) {
    if (error instanceof TuneModeError) return error.message;
    const code = (error as NodeJS.ErrnoException).code;
    // A system's error (no such file, no permission) is the picture's; anything else is a fault of the program.
    if (typeof code === 'string' && 'syscall' in (error as object)) return `the file cannot be read (${code})`;
    throw error;
  }
}
