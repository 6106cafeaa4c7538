/**
 * c [rows, n] = clamp(a [rows, k] · b [k, n] + bias): a pointwise convolution, forward, or its input gradient.
 *
 * b is packed into panels of eight columns first, k by k, so that the inner loop reads it in order: then registers hold
 * 4 × 8 numbers of c while k passes by, 6 loads for 8 products of four.
 */

/** Floats that `packPanels` writes: columns rounded up to eight. */
export function packedFloats(k: usize, n: usize): usize {
  return k * ((n + 7) & ~7);
}

/**
 * Packs b for `multiply`; missing columns of the last panel are 0.
 * @param rowStride Bytes from b[i, j] to b[i + 1, j]. @param columnStride Bytes from b[i, j] to b[i, j + 1].
 */
export function packPanels(b: usize, rowStride: usize, columnStride: usize, k: usize, n: usize, panels: usize): void {
  for (let j: usize = 0; j < n; j += 8) {
    const width = min<usize>(8, n - j);
    let from = b + j * columnStride;
    let i: usize = 0;
    if (width == 8 && columnStride == 4) {
      for (; i < k; i++, from += rowStride, panels += 32) {
        v128.store(panels, v128.load(from));
        v128.store(panels, v128.load(from, 16), 16);
      }
    } else if (width == 8 && rowStride == 4) {
      for (; i + 4 <= k; i += 4, from += 16, panels += 128) {
        transpose4(from, columnStride, panels);
        transpose4(from + 4 * columnStride, columnStride, panels + 16);
      }
    }
    for (; i < k; i++, from += rowStride, panels += 32) {
      for (let c: usize = 0; c < width; c++) store<f32>(panels + (c << 2), load<f32>(from + c * columnStride));
      for (let c = width; c < 8; c++) store<f32>(panels + (c << 2), 0);
    }
  }
}

/** Four runs of four numbers, `stride` apart, into four rows that are 32 bytes apart. */
function transpose4(from: usize, stride: usize, to: usize): void {
  const a = v128.load(from);
  const b = v128.load(from + stride);
  const c = v128.load(from + 2 * stride);
  const d = v128.load(from + 3 * stride);
  const ab0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
  const ab1 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
  const cd0 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const cd1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(ab0, cd0, 0, 1, 4, 5));
  v128.store(to, v128.shuffle<f32>(ab0, cd0, 2, 3, 6, 7), 32);
  v128.store(to, v128.shuffle<f32>(ab1, cd1, 0, 1, 4, 5), 64);
  v128.store(to, v128.shuffle<f32>(ab1, cd1, 2, 3, 6, 7), 96);
}

/**
 * @param bias Floats [n], or 0: none.
 * @param low,high What results are clamped to: −∞ and ∞ for none.
 */
export function multiply(
  a: usize,
  panels: usize,
  bias: usize,
  c: usize,
  rows: usize,
  k: usize,
  n: usize,
  low: f32,
  high: f32,
): void {
  const aStride = k << 2;
  const cStride = n << 2;
  const lows = f32x4.splat(low);
  const highs = f32x4.splat(high);
  // Some rows of a stay in the first-level cache while all panels pass by them.
  const block = max<usize>(4, (16384 / max<usize>(4, aStride)) & ~3);
  for (let start: usize = 0; start < rows; start += block) {
    const end = min(rows, start + block);
    let panel = panels;
    for (let j: usize = 0; j < n; j += 8, panel += k << 5) {
      const width = min<usize>(8, n - j);
      let bias0 = f32x4.splat(0);
      let bias1 = f32x4.splat(0);
      if (bias != 0) {
        if (width == 8) {
          bias0 = v128.load(bias + (j << 2));
          bias1 = v128.load(bias + (j << 2), 16);
        } else {
          for (let t: usize = 0; t < width; t++) {
            const value = load<f32>(bias + ((j + t) << 2));
            if (t < 4) bias0 = v128.bitselect(f32x4.splat(value), bias0, laneMask(t));
            else bias1 = v128.bitselect(f32x4.splat(value), bias1, laneMask(t - 4));
          }
        }
      }
      let row = start;
      for (; row < end; row += 4) {
        const left = end - row;
        let a0 = a + row * aStride;
        // Rows beyond the end are read as the last one, and not written.
        let a1 = left > 1 ? a0 + aStride : a0;
        let a2 = left > 2 ? a1 + aStride : a1;
        let a3 = left > 3 ? a2 + aStride : a2;
        let c00 = bias0;
        let c01 = bias1;
        let c10 = bias0;
        let c11 = bias1;
        let c20 = bias0;
        let c21 = bias1;
        let c30 = bias0;
        let c31 = bias1;
        for (let b = panel, stop = panel + (k << 5); b < stop; b += 32) {
          const b0 = v128.load(b);
          const b1 = v128.load(b, 16);
          const s0 = v128.load_splat<f32>(a0);
          c00 = f32x4.add(c00, f32x4.mul(s0, b0));
          c01 = f32x4.add(c01, f32x4.mul(s0, b1));
          const s1 = v128.load_splat<f32>(a1);
          c10 = f32x4.add(c10, f32x4.mul(s1, b0));
          c11 = f32x4.add(c11, f32x4.mul(s1, b1));
          const s2 = v128.load_splat<f32>(a2);
          c20 = f32x4.add(c20, f32x4.mul(s2, b0));
          c21 = f32x4.add(c21, f32x4.mul(s2, b1));
          const s3 = v128.load_splat<f32>(a3);
          c30 = f32x4.add(c30, f32x4.mul(s3, b0));
          c31 = f32x4.add(c31, f32x4.mul(s3, b1));
          a0 += 4;
          a1 += 4;
          a2 += 4;
          a3 += 4;
        }
        let to = c + row * cStride + (j << 2);
        store8(to, c00, c01, lows, highs, width);
        if (left > 1) store8((to += cStride), c10, c11, lows, highs, width);
        if (left > 2) store8((to += cStride), c20, c21, lows, highs, width);
        if (left > 3) store8(to + cStride, c30, c31, lows, highs, width);
      }
    }
  }
}

function laneMask(lane: usize): v128 {
  return i32x4.eq(i32x4(0, 1, 2, 3), i32x4.splat(<i32>lane));
}

function store8(to: usize, first: v128, second: v128, lows: v128, highs: v128, width: usize): void {
  // pmax(v, low) is v < low ? low : v: one instruction, where max takes eight, and NaN stays NaN.
  first = f32x4.pmin(f32x4.pmax(first, lows), highs);
  second = f32x4.pmin(f32x4.pmax(second, lows), highs);
  if (width == 8) {
    v128.store(to, first);
    v128.store(to, second, 16);
    return;
  }
  let rest = first;
  if (width >= 4) {
    v128.store(to, first);
    to += 16;
    rest = second;
  }
  const left = width & 3;
  if (left > 0) store<f32>(to, f32x4.extract_lane(rest, 0));
  if (left > 1) store<f32>(to, f32x4.extract_lane(rest, 1), 4);
  if (left > 2) store<f32>(to, f32x4.extract_lane(rest, 2), 8);
}
