/**
 * The input gradient of a strided convolution as ordinary convolutions of stride 1.
 *
 * Along one axis, dx[r] = Σ_i dy[(r + before − i) / s] · w[i] over the taps i for which the quotient is whole: that is,
 * i ≡ r + before (mod s). Rows of equal remainder a form a phase: they see only the taps a, a + s, a + 2s, …, and with
 * u = (r + before − a) / s the phase is the convolution dx[u] = Σ_t dy[u − t] · w[a + s·t] of stride 1. Its taps come in
 * reverse order, as the forward kernels correlate. No zeros are put between the rows of dy and none are multiplied.
 */
import type { Axis } from './conv-geometry';

export interface Phase {
  /** Rows first, first + stride, … of dx: `count` of them. */
  first: number;
  count: number;
  /** Taps of w in the order of the phase's own filter; none where the stride steps over these rows: then dx is 0. */
  taps: number[];
  /** Zeros around dy, and how many of the first rows that come out belong to no row of dx. */
  padBefore: number;
  padAfter: number;
  skip: number;
}

export function phasesOf({ size, out, taps, stride, before }: Axis): Phase[] {
  const phases: Phase[] = [];
  for (let a = 0; a < stride; a++) {
    const first = (((a - before) % stride) + stride) % stride;
    if (first >= size) continue;
    const count = Math.ceil((size - first) / stride);
    const own: number[] = [];
    for (let tap = a; tap < taps; tap += stride) own.unshift(tap);
    const lead = own.length - 1 - (first + before - a) / stride;
    const trail = count - out - lead + own.length - 1;
    // A negative lead or trail: rows of dy that only saw padding. They are convolved with the rest and left aside.
    phases.push({
      first,
      count,
      taps: own,
      padBefore: Math.max(0, lead),
      padAfter: Math.max(0, trail),
      skip: Math.max(0, -lead),
    });
  }
  return phases;
}

/** How many rows the convolution of a phase gives. */
export function phaseRows(phase: Phase, axis: Axis): number {
  return axis.out + phase.padBefore + phase.padAfter - phase.taps.length + 1;
}

/** Whether the phase's convolution is dx itself, row by row. */
export function isWhole(phase: Phase, axis: Axis): boolean {
  return axis.stride === 1 && phase.skip === 0 && phaseRows(phase, axis) === axis.size;
}

/**
 * dx[n, first_h + s_h·u, first_w + s_w·v, ·] = part[n, skip_h + u, skip_w + v, ·].
 * @param part [batch, rows, columns, channels], on the heap.
 */
export function scatterPhase(
  dx: Float32Array,
  part: Float32Array,
  batch: number,
  channels: number,
  [h, w]: [Axis, Axis],
  [p, q]: [Phase, Phase],
): void {
  const rows = phaseRows(p, h);
  const columns = phaseRows(q, w);
  const step = w.stride * channels;
  for (let n = 0; n < batch; n++) {
    for (let u = 0; u < p.count; u++) {
      let from = ((n * rows + p.skip + u) * columns + q.skip) * channels;
      let to = ((n * h.size + p.first + u * h.stride) * w.size + q.first) * channels;
      if (w.stride === 1) {
        dx.set(part.subarray(from, from + q.count * channels), to);
        continue;
      }
      for (let v = 0; v < q.count; v++, to += step, from += channels) {
        for (let c = 0; c < channels; c++) dx[to + c] = part[from + c];
      }
    }
  }
}
