/**
 * Gradient of an activation, read off its output y, and the sums over all rows that a bias needs, in one pass:
 *
 *   dz[r, k] = dy[r, k] · slope(y[r, k])        sums[k] += Σ_r dz[r, k]
 *   slope(y) = 1 for low < y and not y ≥ high, else (p0 + p1·y)(q0 + q1·y); NaN for NaN
 *
 * which covers every activation that a block takes in (the table is in ../activation-gradient.ts). dz may be dy.
 */

/** Rows whose sums are kept in float32 before they are added to the totals in double precision. */
const CHUNK_BYTES: usize = 8 * 1024;

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
  const chunk = max<usize>(8, CHUNK_BYTES / max<usize>(1, pixel));
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
      if (sums != 0) store<f64>(sums + (k << 1), load<f64>(sums + (k << 1)) + sum);
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

/** sums[k] += Σ_r x[r, k], every addition in doubles. */
export function columnSums(x: usize, sums: usize, rows: usize, channels: usize): void {
  const pixel = channels << 2;
  const chunk = max<usize>(8, CHUNK_BYTES / max<usize>(1, pixel));
  for (let done: usize = 0; done < rows; done += chunk) {
    const end = min(rows, done + chunk) * pixel;
    let k: usize = 0;
    for (; k + 16 <= pixel; k += 16) {
      const to = sums + (k << 1);
      let low = v128.load(to);
      let high = v128.load(to, 16);
      for (let at = done * pixel + k; at < end; at += pixel) {
        const v = v128.load(x + at);
        low = f64x2.add(low, f64x2.promote_low_f32x4(v));
        high = f64x2.add(high, f64x2.promote_low_f32x4(upperHalf(v)));
      }
      v128.store(to, low);
      v128.store(to, high, 16);
    }
    for (; k < pixel; k += 4) {
      let sum = load<f64>(sums + (k << 1));
      for (let at = done * pixel + k; at < end; at += pixel) sum += load<f32>(x + at);
      store<f64>(sums + (k << 1), sum);
    }
  }
}

/**
 * Frozen BatchNorm's backward pass: dx[r, k] = dy[r, k]·scale[k], sums[k] += Σ_r dy[r, k],
 * products[k] += Σ_r dy[r, k]·(x[r, k] − mean[k]), the latter two in doubles. dx may be dy, or 0 where it is not wanted.
 */
export function scaledGradient(
  dy: usize,
  x: usize,
  scale: usize,
  mean: usize,
  dx: usize,
  sums: usize,
  products: usize,
  rows: usize,
  channels: usize,
): void {
  const pixel = channels << 2;
  const chunk = max<usize>(8, CHUNK_BYTES / max<usize>(1, pixel));
  for (let done: usize = 0; done < rows; done += chunk) {
    const end = min(rows, done + chunk) * pixel;
    let k: usize = 0;
    for (; k + 16 <= pixel; k += 16) {
      const s = v128.load(scale + k);
      const m = v128.load(mean + k);
      let sum = f32x4.splat(0);
      let product = f32x4.splat(0);
      for (let at = done * pixel + k; at < end; at += pixel) {
        const d = v128.load(dy + at);
        sum = f32x4.add(sum, d);
        product = f32x4.add(product, f32x4.mul(d, f32x4.sub(v128.load(x + at), m)));
        if (dx != 0) v128.store(dx + at, f32x4.mul(d, s));
      }
      addToTotals(sums + (k << 1), sum);
      addToTotals(products + (k << 1), product);
    }
    for (; k < pixel; k += 4) {
      const s = load<f32>(scale + k);
      const m = load<f32>(mean + k);
      let sum: f32 = 0;
      let product: f32 = 0;
      for (let at = done * pixel + k; at < end; at += pixel) {
        const d = load<f32>(dy + at);
        sum += d;
        product += d * (load<f32>(x + at) - m);
        if (dx != 0) store<f32>(dx + at, d * s);
      }
      store<f64>(sums + (k << 1), load<f64>(sums + (k << 1)) + sum);
      store<f64>(products + (k << 1), load<f64>(products + (k << 1)) + product);
    }
  }
}

function addToTotals(to: usize, terms: v128): void {
  v128.store(to, f64x2.add(v128.load(to), f64x2.promote_low_f32x4(terms)));
  v128.store(to, f64x2.add(v128.load(to, 16), f64x2.promote_low_f32x4(upperHalf(terms))), 16);
}

function upperHalf(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** Doubles to floats. */
export function roundTotals(totals: usize, to: usize, count: usize): void {
  for (let k: usize = 0; k < count; k++) store<f32>(to + (k << 2), <f32>load<f64>(totals + (k << 3)));
}
