/**
 * Sums over rows, for each channel: kept in float32 for a chunk of rows, then added to totals in double precision, so that
 * the rounding does not grow with the number of rows.
 */

const CHUNK_BYTES: usize = 8 * 1024;

/** Rows of a chunk. @param pixel Bytes of a row. */
export function rowsInChunk(pixel: usize): usize {
  return max<usize>(8, CHUNK_BYTES / max<usize>(1, pixel));
}

/** Four doubles += four floats. */
export function addToTotals(to: usize, terms: v128): void {
  v128.store(to, f64x2.add(v128.load(to), f64x2.promote_low_f32x4(terms)));
  v128.store(to, f64x2.add(v128.load(to, 16), f64x2.promote_low_f32x4(upperHalf(terms))), 16);
}

function upperHalf(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** A double += a float. */
export function addToTotal(to: usize, term: f32): void {
  store<f64>(to, load<f64>(to) + term);
}

/** sums[k] += Σ_r x[r, k], every addition in doubles. */
export function columnSums(x: usize, sums: usize, rows: usize, channels: usize): void {
  const pixel = channels << 2;
  const chunk = rowsInChunk(pixel);
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

/** Doubles to floats. */
export function roundTotals(totals: usize, to: usize, count: usize): void {
  for (let k: usize = 0; k < count; k++) store<f32>(to + (k << 2), <f32>load<f64>(totals + (k << 3)));
}
