import fs from 'node:fs/promises';
import { TuneModeError } from '../../src/errors';
import type { Augmentation } from '../../src/fine-tune/augmentation';
import type { RgbPicture } from './decode';
import { type Copies, copyName, keepCopy, readCopy } from './kept-copies';
import { readHeader } from './picture-header';
import { resizeCover } from './resize';
import { decodeShrunk } from './shrink';

/** What is made of a picture. */
export interface PictureForm {
  size: readonly [height: number, width: number];
  inputRange: readonly [black: number, white: number];
  channels: 1 | 3;
}

/** One picture to be read. Plain data, as it may go to another thread. */
export interface PictureRequest extends PictureForm {
  file: string;
  /** How it is changed; not at all by default. */
  change?: Augmentation;
  /** Where copies of large pictures are kept; nowhere by default. */
  copies?: Copies;
}

/** The pixels (height * width * channels), or the reason why there are none. */
export type PictureReading = { pixels: Float32Array<ArrayBuffer> } | { reason: string };

/** Larger files are not read: no JPEG or PNG within the limit on pixels needs as much. */
const MAX_FILE_BYTES = 512 * 2 ** 20;

/** Copies are kept of pictures with more times the pixels of what is made of them; others are decoded fast enough. */
const KEPT_ABOVE = 8;

/** Reads, decodes and resizes one picture. Nothing is thrown for a bad one. */
export async function readPicture(request: PictureRequest): Promise<PictureReading> {
  try {
    return { pixels: formed(await shrunkPicture(request), request, request.change) };
  } catch (error) {
    if (error instanceof TuneModeError) return { reason: error.message };
    const code = (error as NodeJS.ErrnoException).code;
    // A system's error (no such file, no permission) is the picture's; anything else is a fault of the program.
    if (typeof code === 'string' && 'syscall' in (error as object)) {
      return { reason: `the file cannot be read (${code})` };
    }
    throw error;
  }
}

/** A decoded picture in the form that is wanted. */
export function formed(picture: RgbPicture, form: PictureForm, change?: Augmentation): Float32Array<ArrayBuffer> {
  const [height, width] = form.size;
  const pixels = new Float32Array(height * width * form.channels);
  resizeCover(picture, height, width, form.inputRange, pixels, 0, change, form.channels);
  return pixels;
}

async function shrunkPicture({ file, size, copies }: PictureRequest): Promise<RgbPicture> {
  const stats = await fs.stat(file);
  const name = copyName(file, stats);
  const copy = copies && (await readCopy(copies, name));
  if (copy) return copy;
  if (stats.size > MAX_FILE_BYTES) {
    const problem = `the file has ${stats.size} bytes, more than the ${MAX_FILE_BYTES} that are read`;
    throw new TuneModeError('invalid-data', problem);
  }
  const bytes = await fs.readFile(file);
  const picture = decodeShrunk(bytes, size);
  if (copies) {
    const { width, height } = readHeader(bytes);
    if (width * height > KEPT_ABOVE * size[0] * size[1]) await keepCopy(copies, name, picture);
  }
  return picture;
}
