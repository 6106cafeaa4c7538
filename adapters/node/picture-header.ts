import { TuneModeError } from '../../src/errors';
import { exifOrientation, type Orientation } from './exif-orientation';

/** What the first bytes of a picture say about it. */
export interface PictureHeader {
  format: 'jpeg' | 'png';
  /** Pixels. */
  width: number;
  height: number;
  /** PNG only: bytes of the pixels before compression, without the filter bytes; 0 for JPEG. */
  rawBytes: number;
  /** PNG only: whether it is stored in seven passes (Adam7). */
  interlaced: boolean;
  /** How the stored pixels are to be turned; 1 where nothing says so. Width and height are those that are stored. */
  orientation: Orientation;
}

/** Larger pictures are refused: decoding one needs up to 12 bytes per pixel, and a header may claim anything. */
export const MAX_PIXELS = 64e6;

/** deflate cannot compress better than this, so a PNG that claims more is broken (or a trap). */
const MAX_DEFLATE_RATIO = 1032;

/** Formats that often lie about in picture folders under the wrong extension. */
const FOREIGN: readonly { name: string; text: string; at: number }[] = [
  { name: 'a WebP picture', text: 'WEBP', at: 8 },
  { name: 'a GIF picture', text: 'GIF8', at: 0 },
  { name: 'a BMP picture', text: 'BM', at: 0 },
  { name: 'a TIFF picture', text: 'II*\0', at: 0 },
  { name: 'a TIFF picture', text: 'MM\0*', at: 0 },
  { name: 'an AVIF picture', text: 'ftypavif', at: 4 },
  { name: 'a HEIC picture', text: 'ftyphei', at: 4 },
  { name: 'a HEIC picture', text: 'ftypmif1', at: 4 },
  { name: 'a text file (HTML, XML or SVG)', text: '<', at: 0 },
];

/**
 * Reads format and size from the bytes themselves (never from a file's name), before anything is allocated.
 * @throws TuneModeError `invalid-data` for other formats, broken headers and sizes that are zero, above `MAX_PIXELS`
 * or impossible for so few bytes.
 */
export function readHeader(bytes: Uint8Array): PictureHeader {
  if (bytes.length === 0) throw bad('the file is empty');
  const isPng = startsWith(bytes, '\x89PNG\r\n\x1a\n', 0);
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  if (!isPng && !isJpeg) {
    const foreign = FOREIGN.find(({ text, at }) => startsWith(bytes, text, at));
    throw bad(`it is ${foreign ? foreign.name : 'neither a JPEG nor a PNG picture'}; convert it to JPEG or PNG`);
  }
  const header = isPng ? pngHeader(bytes) : jpegHeader(bytes);
  const { width, height } = header;
  if (width === 0 || height === 0) throw bad(`its header says ${width} × ${height} pixels`);
  if (width * height > MAX_PIXELS) {
    throw bad(`its header says ${width} × ${height} pixels; at most ${MAX_PIXELS / 1e6} million pixels are decoded`);
  }
  // The least a JPEG can spend is one bit for each 8 × 8 block.
  const leastBytes = isPng ? header.rawBytes / MAX_DEFLATE_RATIO : (width * height) / 64 / 8;
  if (bytes.length < leastBytes) {
    throw bad(`its header says ${width} × ${height} pixels, which cannot be stored in ${bytes.length} bytes`);
  }
  return header;
}

function pngHeader(bytes: Uint8Array): PictureHeader {
  if (bytes.length < 29 || !startsWith(bytes, 'IHDR', 12)) throw bad('its PNG header is cut off or broken');
  const width = uint32(bytes, 16);
  const height = uint32(bytes, 20);
  const channels = [1, 0, 3, 1, 2, 0, 4][bytes[25]] ?? 0;
  if (channels === 0) throw bad(`its PNG header has the unknown colour type ${bytes[25]}`);
  const rawBytes = Math.ceil((width * channels * bytes[24]) / 8) * height;
  return { format: 'png', width, height, rawBytes, interlaced: bytes[28] === 1, orientation: pngOrientation(bytes) };
}

/** From the chunk eXIf, which may stand anywhere. */
function pngOrientation(bytes: Uint8Array): Orientation {
  for (let at = 8; at + 12 <= bytes.length; at += 12 + uint32(bytes, at)) {
    if (startsWith(bytes, 'eXIf', at + 4)) return exifOrientation(bytes.subarray(at + 8, at + 8 + uint32(bytes, at)));
  }
  return 1;
}

/** Walks the segments up to the frame header (SOF), which holds the size; EXIF's comes before it. */
function jpegHeader(bytes: Uint8Array): PictureHeader {
  let orientation: Orientation = 1;
  let at = 2;
  while (at + 9 < bytes.length) {
    if (bytes[at] !== 0xff) throw bad('its JPEG header is broken');
    const marker = bytes[at + 1];
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (marker === 0xff) {
      at += 1; // a fill byte
    } else if (isFrame) {
      if (marker > 0xc2) throw bad('it is a lossless, hierarchical or arithmetic-coded JPEG, which is not supported');
      if (bytes[at + 4] !== 8) throw bad(`it has ${bytes[at + 4]} bits per sample; only 8 are supported`);
      const height = (bytes[at + 5] << 8) | bytes[at + 6];
      const width = (bytes[at + 7] << 8) | bytes[at + 8];
      return { format: 'jpeg', width, height, rawBytes: 0, interlaced: false, orientation };
    } else {
      const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
      const isExif = marker === 0xe1 && startsWith(bytes, 'Exif\0\0', at + 4);
      if (isExif && orientation === 1) orientation = exifOrientation(bytes.subarray(at + 10, end));
      at = end;
    }
  }
  throw bad('it is a JPEG cut off before its size');
}

function bad(reason: string): TuneModeError {
  return new TuneModeError('invalid-data', reason);
}

function startsWith(bytes: Uint8Array, text: string, at: number): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[at + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

function uint32(bytes: Uint8Array, at: number): number {
  return bytes[at] * 2 ** 24 + ((bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]);
}
