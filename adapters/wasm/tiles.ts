/**
 * The layout in which every filter tap of a convolution is one plain matrix product, without a column matrix.
 *
 * A tile takes some output rows of some images. Its *grid* numbers the outputs: row by row, `pitch` wide, so that some
 * positions between the rows belong to no output. x is written channel by channel in the same numbering, padded, one
 * plane for each phase (remainder by the stride) of its rows and columns: plane (a, b) holds x[s·u + a − top, s·v + b − left]
 * at u·pitch + v. Then tap (i, j) of the output at position q reads plane (i mod s, j mod s) at q + ⌊i/s⌋·pitch + ⌊j/s⌋:
 * for all outputs at once, the same plane moved by a constant. Products at positions that are no output must count for
 * nothing: there dy is written as 0.
 */
import type { Axis, ConvGeometry } from './conv-geometry';

export interface TilePlan {
  /** Positions from one row of the grid to the next, and rows from one image to the next. */
  pitch: number;
  pitchRows: number;
  /** Images in the tile, and output rows of each; more than one image only where the rows are all of an image. */
  images: number;
  rows: number;
  /** Positions of the grid. */
  positions: number;
  /** Phases that some tap reads, along each axis: phase numbers 0 … n − 1. */
  rowPhases: number;
  columnPhases: number;
  /** The furthest that a plane is moved. */
  reach: number;
  /** Whether the grid has outputs only, so that dy can be used as it lies. */
  dense: boolean;
  /** Whether, moreover, x lies in memory as the grid has it: a 1 × 1 filter with stride 1 and no padding. */
  pointwise: boolean;
}

/** ⌊(taps − 1) / s⌋: rows that a plane has beyond the outputs. */
function halo({ taps, stride }: Axis): number {
  return Math.floor((taps - 1) / stride);
}

/**
 * Zeros after a row serve as zeros before the next one, where there are both: fewer idle positions (27 % of a 7 × 7 map's).
 */
function sharedZeros(axis: Axis): number {
  const extent = axis.out + halo(axis);
  let shared = halo(axis);
  for (let phase = 0; phase < Math.min(axis.stride, axis.taps); phase++) {
    const first = Math.max(0, Math.ceil((axis.before - phase) / axis.stride));
    const end = Math.ceil((axis.size + axis.before - phase) / axis.stride);
    shared = Math.min(shared, first, Math.max(0, extent - end));
  }
  return shared;
}

/** The tile for some images and output rows. */
export function tileOf(g: ConvGeometry, images: number, rows: number): TilePlan {
  const pitch = g.w.out + halo(g.w) - sharedZeros(g.w);
  const pitchRows = rows + halo(g.h) - (rows === g.h.out ? sharedZeros(g.h) : 0);
  const dense = pitch === g.w.out && pitchRows === rows;
  const plain = ({ size, out, taps, stride, before }: Axis) =>
    taps === 1 && stride === 1 && before === 0 && out === size;
  return {
    pitch,
    pitchRows,
    images,
    rows,
    positions: images * pitchRows * pitch,
    rowPhases: Math.min(g.h.stride, g.h.taps),
    columnPhases: Math.min(g.w.stride, g.w.taps),
    reach: halo(g.h) * pitch + halo(g.w),
    dense,
    pointwise: dense && plain(g.h) && plain(g.w),
  };
}

/**
 * The largest tile within a budget: several images, or one, or a band of rows of one; one row at least.
 * @param budget About how many numbers the planes and the grid of dy may take together.
 */
export function largestTile(g: ConvGeometry, budget: number): TilePlan {
  const image = tileOf(g, 1, g.h.out);
  const numbersPerPosition = image.rowPhases * image.columnPhases * g.inChannels + g.outChannels;
  const positions = budget / numbersPerPosition;
  const images = Math.min(g.batch, Math.floor(positions / image.positions));
  if (images >= 1) return tileOf(g, images, g.h.out);
  const rows = Math.floor(positions / image.pitch) - halo(g.h);
  return tileOf(g, 1, Math.min(g.h.out, Math.max(1, rows)));
}

/** Where the plane that tap (i, j) reads begins, already moved; planes are [phase, channel, position]. */
export function tapStart(plan: TilePlan, g: ConvGeometry, i: number, j: number): number {
  const plane = (i % g.h.stride) * plan.columnPhases + (j % g.w.stride);
  const move = Math.floor(i / g.h.stride) * plan.pitch + Math.floor(j / g.w.stride);
  return plane * g.inChannels * plan.positions + move;
}

/** Writes x of the output rows from `top` on, of the images from `n` on. Positions outside x must be 0 already. */
export function fillPlanes(
  planes: Float32Array,
  x: Float32Array,
  plan: TilePlan,
  g: ConvGeometry,
  n: number,
  top: number,
): void {
  const { inChannels: channels, h, w } = g;
  const step = w.stride * channels;
  for (let a = 0; a < plan.rowPhases; a++) {
    for (let b = 0; b < plan.columnPhases; b++) {
      const plane = (a * plan.columnPhases + b) * channels * plan.positions;
      const v0 = Math.max(0, Math.ceil((w.before - b) / w.stride));
      const v1 = Math.min(w.out + halo(w), Math.ceil((w.size + w.before - b) / w.stride));
      for (let image = 0; image < plan.images; image++) {
        for (let u = 0; u < plan.rows + halo(h); u++) {
          const r = (top + u) * h.stride + a - h.before;
          if (r < 0 || r >= h.size) continue;
          const from = (((n + image) * h.size + r) * w.size + v0 * w.stride + b - w.before) * channels;
          const to = plane + (image * plan.pitchRows + u) * plan.pitch;
          // One channel of the row after another: reads stay within the row's cache lines, writes are in order.
          for (let c = 0; c < channels; c++) {
            const start = to + c * plan.positions;
            for (let v = v0, p = from + c; v < v1; v++, p += step) planes[start + v] = x[p];
          }
        }
      }
    }
  }
}

/** Writes the tile's rows of dy into its grid [position, channel]. Positions that are no output must be 0 already. */
export function fillGrid(
  grid: Float32Array,
  dy: Float32Array,
  plan: TilePlan,
  g: ConvGeometry,
  n: number,
  top: number,
): void {
  const width = g.w.out * g.outChannels;
  for (let image = 0; image < plan.images; image++) {
    for (let r = 0; r < plan.rows; r++) {
      const from = ((n + image) * g.h.out + top + r) * width;
      grid.set(dy.subarray(from, from + width), (image * plan.pitchRows + r) * plan.pitch * g.outChannels);
    }
  }
}
