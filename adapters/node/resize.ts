import type { RgbPicture } from './decode';

/**
 * Scales a picture so that it covers `height` × `width`, cuts off what sticks out on both sides equally, and maps
 * 0…255 linearly to `range`. The aspect ratio is kept.
 *
 * Pictures at least twice as large as needed are first averaged over k × k pixels (k the whole part of the scale), so
 * that no source pixel is left out (no aliasing); the rest is bilinear, with pixel centres at half coordinates.
 * Needs at most about 2 `height` × 2 `width` × 3 floats besides the picture.
 *
 * @param out receives `height * width * 3` numbers from `offset` on: rows, columns, then red, green, blue.
 */
export function resizeCover(
  picture: RgbPicture,
  height: number,
  width: number,
  range: readonly [number, number],
  out: Float32Array,
  offset: number,
): void {
  const scale = Math.min(picture.width / width, picture.height / height); // source pixels per output pixel
  const k = Math.max(1, Math.floor(scale));
  const left = (picture.width - width * scale) / 2;
  const top = (picture.height - height * scale) / 2;
  const cells = averageCells(picture, Math.floor(left), Math.floor(top), width * scale, height * scale, k);
  const columns = samples(width, scale, left, k, cells.width);
  const rows = samples(height, scale, top, k, cells.height);

  const factor = (range[1] - range[0]) / 255;
  let at = offset;
  for (const row of rows) {
    for (const column of columns) {
      for (let c = 0; c < 3; c++) {
        const upper = mix(cells.data, (row.first * cells.width + column.first) * 3 + c, column);
        const lower = mix(cells.data, (row.second * cells.width + column.first) * 3 + c, column);
        out[at++] = range[0] + factor * (upper + row.weight * (lower - upper));
      }
    }
  }
}

/** Two neighbouring cells and how much of the second is taken. */
interface Sample {
  first: number;
  second: number;
  weight: number;
}

function mix(data: Float32Array, at: number, { first, second, weight }: Sample): number {
  const value = data[at];
  return value + weight * (data[at + (second - first) * 3] - value);
}

/** For each of `count` output pixels: which cells it lies between. */
function samples(count: number, scale: number, start: number, k: number, cellCount: number): Sample[] {
  return Array.from({ length: count }, (_, i) => {
    const position = (start - Math.floor(start) + (i + 0.5) * scale) / k - 0.5;
    const inside = Math.min(Math.max(position, 0), cellCount - 1);
    const first = Math.floor(inside);
    return { first, second: Math.min(first + 1, cellCount - 1), weight: inside - first };
  });
}

/** The part of the picture from (x0, y0) on as averages over k × k pixels (fewer at the picture's right and bottom). */
function averageCells(picture: RgbPicture, x0: number, y0: number, width: number, height: number, k: number) {
  // One cell more than the size needs, since the part may begin within a pixel.
  const cellsWide = Math.min(Math.ceil(width / k) + 1, Math.ceil((picture.width - x0) / k));
  const cellsHigh = Math.min(Math.ceil(height / k) + 1, Math.ceil((picture.height - y0) / k));
  const data = new Float32Array(cellsWide * cellsHigh * 3);
  for (let cy = 0; cy < cellsHigh; cy++) {
    const yEnd = Math.min(y0 + (cy + 1) * k, picture.height);
    for (let y = y0 + cy * k; y < yEnd; y++) {
      for (let cx = 0; cx < cellsWide; cx++) {
        const to = (cy * cellsWide + cx) * 3;
        const xEnd = Math.min(x0 + (cx + 1) * k, picture.width);
        for (let x = x0 + cx * k; x < xEnd; x++) {
          const from = (y * picture.width + x) * 3;
          data[to] += picture.data[from];
          data[to + 1] += picture.data[from + 1];
          data[to + 2] += picture.data[from + 2];
        }
      }
    }
    for (let cx = 0; cx < cellsWide; cx++) {
      const pixels = (yEnd - (y0 + cy * k)) * (Math.min(x0 + (cx + 1) * k, picture.width) - (x0 + cx * k));
      const to = (cy * cellsWide + cx) * 3;
      for (let c = 0; c < 3; c++) data[to + c] /= pixels;
    }
  }
  return { width: cellsWide, height: cellsHigh, data };
}
