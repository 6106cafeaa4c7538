import { Buffer } from 'node:buffer';
import zlib from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { TuneModeError } from '../../src/errors';
import type { Orientation } from './exif-orientation';
import { MAX_PIXELS, type PictureHeader, readHeader } from './picture-header';

/** A decoded picture: 8 bits each of red, green and blue for every pixel, row by row. */
export interface RgbPicture {
  width: number;
  height: number;
  /** At least `width * height * 3` bytes. */
  data: Uint8Array;
}

/** A picture as it is stored, which may lie on its side. */
export interface StoredPicture extends RgbPicture {
  orientation: Orientation;
}

/** Enough for every JPEG within `MAX_PIXELS` that subsamples its colours, as cameras do. */
const JPEG_MEMORY_MB = 1024;

/**
 * Decodes a JPEG (baseline or progressive; grey, RGB or CMYK) or PNG (any colour type and depth, interlaced or not).
 * Grey becomes RGB; 16 bits become 8; what is transparent is laid **over white**, as a page shows it.
 * The pixels stay as they are stored: turning them is the caller's business. Colour profiles are ignored.
 * @param bytes the file's bytes; the format is taken from them, not from a name.
 * @throws TuneModeError `invalid-data` with the reason alone ('the file is empty'); callers add which picture it was.
 */
export function decodeRgb(bytes: Uint8Array): StoredPicture {
  const header = readHeader(bytes);
  try {
    const { width, height, data } = header.format === 'jpeg' ? decodeJpeg(bytes) : decodePng(bytes, header);
    return { width, height, data, orientation: header.orientation };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const problem = message.includes('limit exceeded') ? 'it is too large to decode' : 'it is damaged or cut off';
    throw new TuneModeError('invalid-data', `${problem} (${message})`, { cause: error });
  }
}

function decodeJpeg(bytes: Uint8Array): RgbPicture {
  return jpeg.decode(bytes, {
    useTArray: true,
    formatAsRGBA: false,
    maxResolutionInMP: MAX_PIXELS / 1e6,
    maxMemoryUsageInMB: JPEG_MEMORY_MB,
  });
}

function decodePng(bytes: Uint8Array, header: PictureHeader): RgbPicture {
  if (header.interlaced) checkInflatedSize(bytes, header);
  // A view, not a copy; pngjs insists on a Buffer.
  const png = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const { width, height, data } = png;
  // RGBA to RGB in place: the write position never overtakes the read position.
  for (let from = 0, to = 0; from < width * height * 4; from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let c = 0; c < 3; c++) {
      const value = data[from + c];
      data[to + c] = alpha === 255 ? value : Math.round((value * alpha + 255 * (255 - alpha)) / 255);
    }
  }
  return { width, height, data };
}

/**
 * pngjs 7.0.0 inflates an interlaced picture without any limit, so a small file could fill the memory: inflate it here
 * first, with the limit that its header sets (each of the seven passes adds a filter byte per row and rounds up).
 */
function checkInflatedSize(bytes: Uint8Array, header: PictureHeader): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Uint8Array[] = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === 0x49444154) parts.push(bytes.subarray(at + 8, at + 8 + length)); // IDAT
    at += 12 + length;
  }
  const limit = header.rawBytes + 16 * header.height + 1024;
  zlib.inflateSync(Buffer.concat(parts), { maxOutputLength: limit });
}
