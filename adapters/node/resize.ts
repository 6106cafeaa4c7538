import { type Augmentation, MAX_SHIFT, NO_AUGMENTATION } from '../../src/fine-tune/augmentation';
import type { RgbPicture } from './decode';

/**
 * Scales a picture so that it covers `height` × `width`, cuts off what sticks out on both sides equally, and maps
 * 0…255 linearly to `range`. The aspect ratio is kept.
 *
 * Pictures at least twice as large as needed are first averaged over k × k pixels (k the whole part of the scale), so
 * that no source pixel is left out (no aliasing); the rest is bilinear, with pixel centres at half coordinates.
 * Needs at most about 2 `height` × 2 `width` × 3 floats besides the picture.
 *
 * @param out receives `height * width * channels` numbers from `offset` on: rows, columns, then red, green, blue.
 * @param change which window is cut out instead, whether it is mirrored, and its colours, which stay within `range`.
 * @param channels 1 for grey (luminance).
 */
export function resizeCover(
  picture: RgbPicture,
  height: number,
  width: number,
  range: readonly [number, number],
  out: Float32Array,
  offset: number,
  change: Augmentation = NO_AUGMENTATION,
  channels: 1 | 3 = 3,
): void {
  const largest = Math.min(picture.width / width, picture.height / height);
  // A window with fewer pixels than are wanted would be blurred, and a net trained on blurred pictures does worse on
  // sharp ones: such a picture is shifted only.
  const scale = largest / Math.min(change.zoom, Math.max(1, largest)); // source pixels per output pixel
  const k = Math.max(1, Math.floor(scale));
  const across = spanOf(picture.width, width * scale, change.x, k);
  const down = spanOf(picture.height, height * scale, change.y, k);
  const cells = averageCells(picture, across.first, down.first, across.cells, down.cells, k);
  const cellsWide = across.cells;
  const columns = samples(width, scale, across, k);
  const rows = samples(height, scale, down, k);
  if (change.flip) columns.reverse();

  const changesColor = change.brightness !== 0 || change.contrast !== 1 || change.saturation !== 1;
  const factor = (range[1] - range[0]) / 255;
  const rgb = [0, 0, 0];
  let at = offset;
  for (const row of rows) {
    for (const column of columns) {
      for (let c = 0; c < 3; c++) {
        const upper = mix(cells, (row.first * cellsWide + column.first) * 3 + c, column);
        const lower = mix(cells, (row.second * cellsWide + column.first) * 3 + c, column);
        rgb[c] = upper + row.weight * (lower - upper);
      }
      if (changesColor) changeColor(rgb, change);
      if (channels === 1) out[at++] = range[0] + factor * luminance(rgb);
      else for (let c = 0; c < 3; c++) out[at++] = range[0] + factor * rgb[c];
    }
  }
}

/** In place, from 0 for black to 255 for white: saturation, then contrast, then brightness, as for tensors. */
function changeColor(rgb: number[], { brightness, contrast, saturation }: Augmentation): void {
  const grey = luminance(rgb);
  for (let c = 0; c < 3; c++) {
    const saturated = grey + saturation * (rgb[c] - grey);
    const value = 127.5 + contrast * (saturated - 127.5) + 255 * brightness;
    rgb[c] = Math.min(Math.max(value, 0), 255);
  }
}

function luminance(rgb: number[]): number {
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
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

/** Where a window lies along one axis, in source pixels. */
interface Span {
  /** Size of the picture. */
  size: number;
  /** Where the window begins; below 0 where it sticks out. */
  start: number;
  /** The first pixel that is read, and how many cells from there. */
  first: number;
  cells: number;
}

/** @param at 0…1: the window may stick out by `MAX_SHIFT` of itself where the picture leaves it no room to move. */
function spanOf(size: number, window: number, at: number, k: number): Span {
  const room = size - window; // by rounding it may be below 0
  const start = room / 2 + (at - 0.5) * Math.max(room, 2 * MAX_SHIFT * window);
  const first = Math.floor(Math.max(0, start));
  // One cell more than the size needs, since the part may begin within a pixel.
  const cells = Math.min(Math.ceil((Math.min(size, start + window) - first) / k) + 1, Math.ceil((size - first) / k));
  return { size, start, first, cells };
}

/** For each of `count` output pixels: which cells it lies between. Beyond its edges the picture is mirrored. */
function samples(count: number, scale: number, { size, start, first, cells }: Span, k: number): Sample[] {
  return Array.from({ length: count }, (_, i) => {
    const beyond = Math.abs(start + (i + 0.5) * scale);
    const position = ((beyond > size ? 2 * size - beyond : beyond) - first) / k - 0.5;
    const inside = Math.min(Math.max(position, 0), cells - 1);
    const cell = Math.floor(inside);
    return { first: cell, second: Math.min(cell + 1, cells - 1), weight: inside - cell };
  });
}

/**
 * The part of the picture from (x0, y0) on as averages over k × k pixels (fewer at the picture's right and bottom).
 * @returns red, green and blue of each cell, row by row, from 0 to 255.
 */
export function averageCells(
  picture: RgbPicture,
  x0: number,
  y0: number,
  cellsWide: number,
  cellsHigh: number,
  k: number,
): Float32Array {
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
  return data;
}
