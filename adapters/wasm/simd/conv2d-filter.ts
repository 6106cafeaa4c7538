/**
 * Filter gradient of a 2D convolution, dw [kh, kw, in, out] += for x [images, h, w, in] and dy [images, h′, w′, out]:
 *
 *   dw[i, j, ·, ·] = Σ_{n,r,c} x[n, r·sh + i − top, c·sw + j − left, ·]ᵀ · dy[n, r, c, ·]
 *
 * For one row of dy and one row i of taps, the numbers of x that all taps of the row meet at output c lie next to each
 * other: kw·in of them, begun sw·in further for every c. So this is one product aᵀ·b with overlapping rows of a: no
 * column matrix, nothing copied. Outputs at the left and right edge see some of the taps only: a product of fewer columns.
 */
import { addTransposedProduct } from './transposed-product';

export function conv2dBackpropFilter(
  x: usize,
  dy: usize,
  dw: usize,
  images: i32,
  h: i32,
  w: i32,
  channels: i32,
  outH: i32,
  outW: i32,
  filters: i32,
  kh: i32,
  kw: i32,
  sh: i32,
  sw: i32,
  top: i32,
  left: i32,
): void {
  const pixel = (<usize>channels) << 2;
  const output = (<usize>filters) << 2;
  if (kh == 1 && kw == 1 && sh == 1 && sw == 1 && top == 0 && left == 0 && h == outH && w == outW) {
    addTransposedProduct(x, pixel, dy, output, dw, output, <usize>images * h * w, channels, filters);
    return;
  }
  // Outputs from `first` to `last` see every tap of a row.
  const first = min(outW, max(0, (left + sw - 1) / sw));
  const last = max(first, min(outW, w + left - kw < 0 ? 0 : (w + left - kw) / sw + 1));
  for (let image = 0; image < images; image++) {
    for (let r = 0; r < outH; r++) {
      const dyRow = dy + (<usize>image * outH + r) * outW * output;
      for (let i = 0; i < kh; i++) {
        const row = r * sh + i - top;
        if (row < 0 || row >= h) continue;
        const xRow = x + (<usize>image * h + row) * w * pixel;
        const to = dw + <usize>(i * kw) * pixel * filters;
        if (first < last) {
          const from = xRow + <usize>(first * sw - left) * pixel;
          addTransposedProduct(
            from,
            <usize>sw * pixel,
            dyRow + <usize>first * output,
            output,
            to,
            output,
            last - first,
            kw * channels,
            filters,
          );
        }
        for (let c = 0; c < outW; c++) {
          if (c >= first && c < last) continue;
          const start = c * sw - left;
          const from = max(0, -start);
          const end = min(kw, w - start);
          if (from >= end) continue;
          addTransposedProduct(
            xRow + <usize>(start + from) * pixel,
            pixel,
            dyRow + <usize>c * output,
            output,
            to + <usize>from * pixel * filters,
            output,
            1,
            (end - from) * channels,
            filters,
          );
        }
      }
    }
  }
}
