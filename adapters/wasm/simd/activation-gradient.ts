/**
 * Gradient of an activation, read off its output y, and the sums over all rows that a bias needs, in one pass:
 *
 *   dz[r, k] = dy[r, k] · slope(y[r, k])        sums[k] += Σ_r dz[r, k]
 *   slope(y) = 1 for low < y and not y ≥ high, else (p0 + p1·y)(q0 + q1·y); NaN for NaN
 *
 * which covers every activation that a block takes in (the table is in ../activation-gradient.ts). dz may be dy.
 */
import { addToTotal, addToTotals, rowsInChunk } from './totals';

/** @param sums Doubles [channels], or 0 where they are not wanted. */
export function activationGradient(
  dy: usize,
  y: usize,
  dz: usize,
  sums: usize,
  rows: usize,
  channels: usize,
  low: f32,
  high: f32,
  p0: f32,
  p1: f32,
  q0: f32,
  q1: f32,
): void {
  const pixel = channels << 2;
  const chunk = rowsInChunk(pixel);
  const constant = p1 == 0 && q1 == 0;
  for (let done: usize = 0; done < rows; done += chunk) {
    const end = min(rows, done + chunk) * pixel;
    let k: usize = 0;
    if (constant) {
      for (; k + 32 <= pixel; k += 32) {
        constantSlopes(
          dy + k,
          y + k,
          dz + k,
          sums == 0 ? 0 : sums + (k << 1),
          done * pixel,
          end,
          pixel,
          low,
          high,
          p0 * q0,
        );
      }
    }
    for (; k + 16 <= pixel; k += 16) {
      anySlopes(
        dy + k,
        y + k,
        dz + k,
        sums == 0 ? 0 : sums + (k << 1),
        done * pixel,
        end,
        pixel,
        low,
        high,
        p0,
        p1,
        q0,
        q1,
      );
    }
    for (; k < pixel; k += 4) {
      let sum: f32 = 0;
      for (let at = done * pixel + k; at < end; at += pixel) {
        const v = load<f32>(y + at);
        const w = max<f32>(v, -f32.MAX_VALUE);
        const slope: f32 = v > low && !(v >= high) ? 1 : v == v ? (p0 + p1 * w) * (q0 + q1 * w) : v;
        const d = load<f32>(dy + at) * slope;
        store<f32>(dz + at, d);
        sum += d;
      }
      if (sums != 0) addToTotal(sums + (k << 1), sum);
    }
  }
}

/** Eight channels where the slope outside is one number: the ReLUs. */
function constantSlopes(
  dy: usize,
  y: usize,
  dz: usize,
  sums: usize,
  start: usize,
  end: usize,
  pixel: usize,
  low: f32,
  high: f32,
  outer: f32,
): void {
  const lows = f32x4.splat(low);
  const highs = f32x4.splat(high);
  const outers = f32x4.splat(outer);
  const ones = f32x4.splat(1);
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  for (let at = start; at < end; at += pixel) {
    const v0 = v128.load(y + at);
    const v1 = v128.load(y + at, 16);
    const inside0 = v128.andnot(f32x4.gt(v0, lows), f32x4.ge(v0, highs));
    const inside1 = v128.andnot(f32x4.gt(v1, lows), f32x4.ge(v1, highs));
    // All bits of a NaN's comparison are ones: a NaN once more.
    const slope0 = v128.or(v128.bitselect(ones, outers, inside0), f32x4.ne(v0, v0));
    const slope1 = v128.or(v128.bitselect(ones, outers, inside1), f32x4.ne(v1, v1));
    const d0 = f32x4.mul(v128.load(dy + at), slope0);
    const d1 = f32x4.mul(v128.load(dy + at, 16), slope1);
    v128.store(dz + at, d0);
    v128.store(dz + at, d1, 16);
    sum0 = f32x4.add(sum0, d0);
    sum1 = f32x4.add(sum1, d1);
  }
  if (sums == 0) return;
  addToTotals(sums, sum0);
  addToTotals(sums + 32, sum1);
}

/** Four channels of any activation. */
function anySlopes(
  dy: usize,
  y: usize,
  dz: usize,
  sums: usize,
  start: usize,
  end: usize,
  pixel: usize,
  low: f32,
  high: f32,
  p0: f32,
  p1: f32,
  q0: f32,
  q1: f32,
): void {
  const ones = f32x4.splat(1);
  const leasts = f32x4.splat(-f32.MAX_VALUE);
  let sum = f32x4.splat(0);
  for (let at = start; at < end; at += pixel) {
    const v = v128.load(y + at);
    const inside = v128.andnot(f32x4.gt(v, f32x4.splat(low)), f32x4.ge(v, f32x4.splat(high)));
    // −∞ times 0 would be NaN.
    const w = f32x4.pmax(v, leasts);
    const outer = f32x4.mul(
      f32x4.add(f32x4.splat(p0), f32x4.mul(f32x4.splat(p1), w)),
      f32x4.add(f32x4.splat(q0), f32x4.mul(f32x4.splat(q1), w)),
    );
    const slope = v128.or(v128.bitselect(ones, outer, inside), f32x4.ne(v, v));
    const d = f32x4.mul(v128.load(dy + at), slope);
    v128.store(dz + at, d);
    sum = f32x4.add(sum, d);
  }
  if (sums != 0) addToTotals(sums, sum);
}
