import type { RgbPicture } from './decode';
import type { Orientation } from './exif-orientation';

/** Turns a picture as EXIF asks for. Nothing is copied where it stands upright already. */
export function upright(picture: RgbPicture, orientation: Orientation): RgbPicture {
  if (orientation === 1) return picture;
  const { width: w, height: h, data } = picture;
  const swapped = isSideways(orientation);
  const [width, height] = swapped ? [h, w] : [w, h];
  // Where the upright picture's first pixel is stored, and how far away its right and its lower neighbour are.
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const alongRow = fromRight ? -3 : 3;
  const alongColumn = (fromBottom ? -3 : 3) * w;
  const [right, down] = swapped ? [alongColumn, alongRow] : [alongRow, alongColumn];
  const first = ((fromBottom ? h - 1 : 0) * w + (fromRight ? w - 1 : 0)) * 3;

  const turned = new Uint8Array(width * height * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    let from = first + y * down;
    for (let x = 0; x < width; x++) {
      turned[to++] = data[from];
      turned[to++] = data[from + 1];
      turned[to++] = data[from + 2];
      from += right;
    }
  }
  return { width, height, data: turned };
}

/** Whether turning it swaps width and height. */
export function isSideways(orientation: Orientation): boolean {
  return orientation >= 5;
}
