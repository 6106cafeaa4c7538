import { addToTotal, addToTotals, rowsInChunk } from './totals';

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
  const chunk = rowsInChunk(pixel);
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
      addToTotal(sums + (k << 1), sum);
      addToTotal(products + (k << 1), product);
    }
  }
}
