/**
 * c [m, n] += aᵀ · b for a [rows, m] and b [rows, n]: the filter gradient of a convolution, where the rows are positions.
 *
 * Registers hold 4 × 8 numbers of c while the rows of a chunk pass by: 6 loads for 8 products of four. A chunk of a and b
 * together stays in the cache while all of c's tiles take it in; its sums are added to c at its end, so that no number is
 * the sum of more than a chunk's terms and as many chunks (float32 rounding grows with both).
 */

/** Bytes of a and b in a chunk. Measured from 16 to 256 KiB on MobileNet's shapes: flat from 32 to 128. */
const CHUNK_BYTES: usize = 64 * 1024;

/**
 * @param aStride Bytes from one row of a to the next; rows may overlap. The same for b and c.
 */
export function addTransposedProduct(
  a: usize,
  aStride: usize,
  b: usize,
  bStride: usize,
  c: usize,
  cStride: usize,
  rows: usize,
  m: usize,
  n: usize,
): void {
  const chunk = max<usize>(16, CHUNK_BYTES / ((m + n) << 2));
  for (let done: usize = 0; done < rows; done += chunk) {
    const count = min<usize>(chunk, rows - done);
    let i: usize = 0;
    for (; i + 4 <= m; i += 4) {
      const from = a + (i << 2);
      const to = c + i * cStride;
      let j: usize = 0;
      for (; j + 8 <= n; j += 8) tile4x8(from, aStride, b + (j << 2), bStride, to + (j << 2), cStride, count);
      if (j + 4 <= n) {
        tile4x4(from, aStride, b + (j << 2), bStride, to + (j << 2), cStride, count);
        j += 4;
      }
      for (; j < n; j++) tile4x1(from, aStride, b + (j << 2), bStride, to + (j << 2), cStride, count);
    }
    for (; i < m; i++) {
      const from = a + (i << 2);
      const to = c + i * cStride;
      let j: usize = 0;
      for (; j + 16 <= n; j += 16) tile1x16(from, aStride, b + (j << 2), bStride, to + (j << 2), count);
      for (; j + 4 <= n; j += 4) tile1x4(from, aStride, b + (j << 2), bStride, to + (j << 2), count);
      for (; j < n; j++) tile1x1(from, aStride, b + (j << 2), bStride, to + (j << 2), count);
    }
    a += count * aStride;
    b += count * bStride;
  }
}

function tile4x8(a: usize, aStride: usize, b: usize, bStride: usize, c: usize, cStride: usize, rows: usize): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  for (let row: usize = 0; row < rows; row++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load_splat<f32>(a);
    c00 = f32x4.add(c00, f32x4.mul(a0, b0));
    c01 = f32x4.add(c01, f32x4.mul(a0, b1));
    const a1 = v128.load_splat<f32>(a, 4);
    c10 = f32x4.add(c10, f32x4.mul(a1, b0));
    c11 = f32x4.add(c11, f32x4.mul(a1, b1));
    const a2 = v128.load_splat<f32>(a, 8);
    c20 = f32x4.add(c20, f32x4.mul(a2, b0));
    c21 = f32x4.add(c21, f32x4.mul(a2, b1));
    const a3 = v128.load_splat<f32>(a, 12);
    c30 = f32x4.add(c30, f32x4.mul(a3, b0));
    c31 = f32x4.add(c31, f32x4.mul(a3, b1));
    a += aStride;
    b += bStride;
  }
  v128.store(c, f32x4.add(v128.load(c), c00));
  v128.store(c, f32x4.add(v128.load(c, 16), c01), 16);
  c += cStride;
  v128.store(c, f32x4.add(v128.load(c), c10));
  v128.store(c, f32x4.add(v128.load(c, 16), c11), 16);
  c += cStride;
  v128.store(c, f32x4.add(v128.load(c), c20));
  v128.store(c, f32x4.add(v128.load(c, 16), c21), 16);
  c += cStride;
  v128.store(c, f32x4.add(v128.load(c), c30));
  v128.store(c, f32x4.add(v128.load(c, 16), c31), 16);
}

function tile4x4(a: usize, aStride: usize, b: usize, bStride: usize, c: usize, cStride: usize, rows: usize): void {
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  for (let row: usize = 0; row < rows; row++) {
    const b0 = v128.load(b);
    c0 = f32x4.add(c0, f32x4.mul(v128.load_splat<f32>(a), b0));
    c1 = f32x4.add(c1, f32x4.mul(v128.load_splat<f32>(a, 4), b0));
    c2 = f32x4.add(c2, f32x4.mul(v128.load_splat<f32>(a, 8), b0));
    c3 = f32x4.add(c3, f32x4.mul(v128.load_splat<f32>(a, 12), b0));
    a += aStride;
    b += bStride;
  }
  v128.store(c, f32x4.add(v128.load(c), c0));
  c += cStride;
  v128.store(c, f32x4.add(v128.load(c), c1));
  c += cStride;
  v128.store(c, f32x4.add(v128.load(c), c2));
  c += cStride;
  v128.store(c, f32x4.add(v128.load(c), c3));
}

/** Four rows of one column of c. */
function tile4x1(a: usize, aStride: usize, b: usize, bStride: usize, c: usize, cStride: usize, rows: usize): void {
  let sums = f32x4.splat(0);
  for (let row: usize = 0; row < rows; row++) {
    sums = f32x4.add(sums, f32x4.mul(v128.load(a), v128.load_splat<f32>(b)));
    a += aStride;
    b += bStride;
  }
  store<f32>(c, load<f32>(c) + f32x4.extract_lane(sums, 0));
  c += cStride;
  store<f32>(c, load<f32>(c) + f32x4.extract_lane(sums, 1));
  c += cStride;
  store<f32>(c, load<f32>(c) + f32x4.extract_lane(sums, 2));
  c += cStride;
  store<f32>(c, load<f32>(c) + f32x4.extract_lane(sums, 3));
}

function tile1x16(a: usize, aStride: usize, b: usize, bStride: usize, c: usize, rows: usize): void {
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  for (let row: usize = 0; row < rows; row++) {
    const a0 = v128.load_splat<f32>(a);
    c0 = f32x4.add(c0, f32x4.mul(a0, v128.load(b)));
    c1 = f32x4.add(c1, f32x4.mul(a0, v128.load(b, 16)));
    c2 = f32x4.add(c2, f32x4.mul(a0, v128.load(b, 32)));
    c3 = f32x4.add(c3, f32x4.mul(a0, v128.load(b, 48)));
    a += aStride;
    b += bStride;
  }
  v128.store(c, f32x4.add(v128.load(c), c0));
  v128.store(c, f32x4.add(v128.load(c, 16), c1), 16);
  v128.store(c, f32x4.add(v128.load(c, 32), c2), 32);
  v128.store(c, f32x4.add(v128.load(c, 48), c3), 48);
}

function tile1x4(a: usize, aStride: usize, b: usize, bStride: usize, c: usize, rows: usize): void {
  let sums = f32x4.splat(0);
  for (let row: usize = 0; row < rows; row++) {
    sums = f32x4.add(sums, f32x4.mul(v128.load_splat<f32>(a), v128.load(b)));
    a += aStride;
    b += bStride;
  }
  v128.store(c, f32x4.add(v128.load(c), sums));
}

function tile1x1(a: usize, aStride: usize, b: usize, bStride: usize, c: usize, rows: usize): void {
  let sum: f32 = 0;
  for (let row: usize = 0; row < rows; row++) {
    sum += load<f32>(a) * load<f32>(b);
    a += aStride;
    b += bStride;
  }
  store<f32>(c, load<f32>(c) + sum);
}
