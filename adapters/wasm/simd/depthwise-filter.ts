/**
 * Filter gradient of a depthwise convolution with multiplier 1, dw [kh, kw, channels] += for x [images, h, w, channels]
 * and dy [images, h′, w′, channels]:
 *
 *   dw[i, j, k] = Σ_{n,r,c} x[n, r·sh + i − top, c·sw + j − left, k] · dy[n, r, c, k]
 *
 * A band of rows of dy, small enough for the cache, is walked once for every eight channels and three taps of a row: two
 * loads of dy and six of x for six products of four, summed in registers. Sums go to dw at a band's end.
 */

/** Bytes of x and dy in a band: about half of the smallest first-level cache in use. */
const BAND_BYTES = 16 * 1024;

export function depthwiseBackpropFilter(
  x: usize,
  dy: usize,
  dw: usize,
  images: i32,
  h: i32,
  w: i32,
  channels: i32,
  outH: i32,
  outW: i32,
  kh: i32,
  kw: i32,
  sh: i32,
  sw: i32,
  top: i32,
  left: i32,
): void {
  const pixel = (<usize>channels) << 2;
  const rowBytes = (<u64>min(sh, h) * w + outW) * channels * 4;
  const band = max(1, <i32>(<u64>BAND_BYTES / max<u64>(1, rowBytes)));
  for (let image = 0; image < images; image++) {
    for (let from = 0; from < outH; from += band) {
      const to = min(outH, from + band);
      for (let i = 0; i < kh; i++) {
        // Rows of dy whose tap row i lies inside x.
        const r0 = max(from, top - i <= 0 ? 0 : (top - i + sh - 1) / sh);
        const reach = h - 1 + top - i;
        const r1 = reach < 0 ? r0 : min(to, reach / sh + 1);
        if (r0 >= r1) continue;
        const xStart = x + (<usize>image * h + (r0 * sh + i - top)) * w * pixel;
        const dyStart = dy + (<usize>image * outH + r0) * outW * pixel;
        const xRow = <usize>sh * w * pixel;
        let j = 0;
        for (; j + 3 <= kw; j += 3) {
          const dwTap = dw + <usize>(i * kw + j) * pixel;
          let k: usize = 0;
          for (; k + 32 <= pixel; k += 32) {
            threeTaps(xStart + k, xRow, dyStart + k, dwTap + k, pixel, r1 - r0, w, outW, j, sw, left);
          }
          for (; k < pixel; k += 4) {
            for (let t = 0; t < 3; t++) {
              oneTap(
                xStart + k,
                xRow,
                dyStart + k,
                dwTap + <usize>t * pixel + k,
                pixel,
                r1 - r0,
                w,
                outW,
                j + t,
                sw,
                left,
              );
            }
          }
        }
        for (; j < kw; j++) {
          const dwTap = dw + <usize>(i * kw + j) * pixel;
          let k: usize = 0;
          for (; k + 16 <= pixel; k += 16) {
            fourChannels(xStart + k, xRow, dyStart + k, dwTap + k, pixel, r1 - r0, w, outW, j, sw, left);
          }
          for (; k < pixel; k += 4) {
            oneTap(xStart + k, xRow, dyStart + k, dwTap + k, pixel, r1 - r0, w, outW, j, sw, left);
          }
        }
      }
    }
  }
}

/** The first output column whose tap j lies inside x, and the one after the last. */
function firstInside(j: i32, sw: i32, left: i32, outW: i32): i32 {
  return min(outW, left - j <= 0 ? 0 : (left - j + sw - 1) / sw);
}

function endInside(j: i32, w: i32, sw: i32, left: i32, outW: i32): i32 {
  const reach = w - 1 + left - j;
  return reach < 0 ? 0 : min(outW, reach / sw + 1);
}

/** Taps j, j + 1, j + 2 of eight channels. */
function threeTaps(
  xRow: usize,
  xRowStride: usize,
  dyRow: usize,
  dw: usize,
  pixel: usize,
  rows: i32,
  w: i32,
  outW: i32,
  j: i32,
  sw: i32,
  left: i32,
): void {
  const step = <usize>sw * pixel;
  // Later taps are inside from an earlier column on, and leave earlier.
  const start = firstInside(j + 2, sw, left, outW);
  const first = firstInside(j, sw, left, outW);
  const last = max(first, endInside(j + 2, w, sw, left, outW));
  const end = endInside(j, w, sw, left, outW);
  const first1 = firstInside(j + 1, sw, left, outW);
  const end1 = endInside(j + 1, w, sw, left, outW);
  const end2 = endInside(j + 2, w, sw, left, outW);
  let s00 = f32x4.splat(0);
  let s01 = f32x4.splat(0);
  let s10 = f32x4.splat(0);
  let s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0);
  let s21 = f32x4.splat(0);
  const second = pixel;
  const third = pixel << 1;
  for (let row = 0; row < rows; row++) {
    // At column c the first of the three taps reads pixel c·sw + j − left, which may lie before the row.
    let at = xRow + (j - left) * <i32>pixel + start * <i32>step;
    let from = dyRow + <usize>start * pixel;
    for (let c = start; c < end; c++) {
      if (c == first && c < last) {
        for (; c < last; c++) {
          const d0 = v128.load(from);
          const d1 = v128.load(from, 16);
          s00 = f32x4.add(s00, f32x4.mul(d0, v128.load(at)));
          s01 = f32x4.add(s01, f32x4.mul(d1, v128.load(at, 16)));
          s10 = f32x4.add(s10, f32x4.mul(d0, v128.load(at + second)));
          s11 = f32x4.add(s11, f32x4.mul(d1, v128.load(at + second, 16)));
          s20 = f32x4.add(s20, f32x4.mul(d0, v128.load(at + third)));
          s21 = f32x4.add(s21, f32x4.mul(d1, v128.load(at + third, 16)));
          at += step;
          from += pixel;
        }
        if (c >= end) break;
      }
      const d0 = v128.load(from);
      const d1 = v128.load(from, 16);
      if (c >= first) {
        s00 = f32x4.add(s00, f32x4.mul(d0, v128.load(at)));
        s01 = f32x4.add(s01, f32x4.mul(d1, v128.load(at, 16)));
      }
      if (c >= first1 && c < end1) {
        s10 = f32x4.add(s10, f32x4.mul(d0, v128.load(at + second)));
        s11 = f32x4.add(s11, f32x4.mul(d1, v128.load(at + second, 16)));
      }
      if (c < end2) {
        s20 = f32x4.add(s20, f32x4.mul(d0, v128.load(at + third)));
        s21 = f32x4.add(s21, f32x4.mul(d1, v128.load(at + third, 16)));
      }
      at += step;
      from += pixel;
    }
    xRow += xRowStride;
    dyRow += <usize>outW * pixel;
  }
  v128.store(dw, f32x4.add(v128.load(dw), s00));
  v128.store(dw, f32x4.add(v128.load(dw, 16), s01), 16);
  dw += pixel;
  v128.store(dw, f32x4.add(v128.load(dw), s10));
  v128.store(dw, f32x4.add(v128.load(dw, 16), s11), 16);
  dw += pixel;
  v128.store(dw, f32x4.add(v128.load(dw), s20));
  v128.store(dw, f32x4.add(v128.load(dw, 16), s21), 16);
}

/** Tap j of four channels. */
function fourChannels(
  xRow: usize,
  xRowStride: usize,
  dyRow: usize,
  dw: usize,
  pixel: usize,
  rows: i32,
  w: i32,
  outW: i32,
  j: i32,
  sw: i32,
  left: i32,
): void {
  const step = <usize>sw * pixel;
  const first = firstInside(j, sw, left, outW);
  const end = endInside(j, w, sw, left, outW);
  let sums = f32x4.splat(0);
  for (let row = 0; row < rows; row++) {
    let at = xRow + (j - left) * <i32>pixel + first * <i32>step;
    let from = dyRow + <usize>first * pixel;
    for (let c = first; c < end; c++) {
      sums = f32x4.add(sums, f32x4.mul(v128.load(from), v128.load(at)));
      at += step;
      from += pixel;
    }
    xRow += xRowStride;
    dyRow += <usize>outW * pixel;
  }
  v128.store(dw, f32x4.add(v128.load(dw), sums));
}

/** Tap j of one channel. */
function oneTap(
  xRow: usize,
  xRowStride: usize,
  dyRow: usize,
  dw: usize,
  pixel: usize,
  rows: i32,
  w: i32,
  outW: i32,
  j: i32,
  sw: i32,
  left: i32,
): void {
  const step = <usize>sw * pixel;
  const first = firstInside(j, sw, left, outW);
  const end = endInside(j, w, sw, left, outW);
  let sum: f32 = 0;
  for (let row = 0; row < rows; row++) {
    let at = xRow + (j - left) * <i32>pixel + first * <i32>step;
    let from = dyRow + <usize>first * pixel;
    for (let c = first; c < end; c++) {
      sum += load<f32>(from) * load<f32>(at);
      at += step;
      from += pixel;
    }
    xRow += xRowStride;
    dyRow += <usize>outW * pixel;
  }
  store<f32>(dw, load<f32>(dw) + sum);
}
