import { decodeRgb, type RgbPicture } from './decode';
import { averageCells } from './resize';
import { isSideways, upright } from './upright';

/** A shrunk picture has at least this many times the wanted height and width, so that a window of it is sharp too. */
const SPARE = 2;

/**
 * Decodes a picture, turns it upright, and shrinks it by a whole factor if it is much larger than needed.
 *
 * The shrunk picture has whole numbers of 0…255 again, so that it is the same from the disk as from the decoder:
 * pictures of the first pass are those of all others.
 * @param size [height, width] of what will be made of it.
 * @throws TuneModeError `invalid-data` with the reason alone.
 */
export function decodeShrunk(bytes: Uint8Array, size: readonly [height: number, width: number]): RgbPicture {
  const { orientation, ...stored } = decodeRgb(bytes);
  // Turned last, when there is less to turn.
  const [height, width] = isSideways(orientation) ? [size[1], size[0]] : size;
  const k = Math.floor(Math.min(stored.width / width, stored.height / height) / SPARE);
  return upright(k >= 2 ? averaged(stored, k) : stored, orientation);
}

/** Averages over k × k pixels; what is left over at the edges (less than k pixels) is cut off on both sides equally. */
function averaged(picture: RgbPicture, k: number): RgbPicture {
  const width = Math.floor(picture.width / k);
  const height = Math.floor(picture.height / k);
  const x0 = (picture.width - width * k) >> 1;
  const y0 = (picture.height - height * k) >> 1;
  // A Uint8Array cuts off decimals.
  return { width, height, data: Uint8Array.from(averageCells(picture, x0, y0, width, height, k), Math.round) };
}
