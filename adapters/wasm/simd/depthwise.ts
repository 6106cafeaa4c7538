/**
 * Depthwise convolution with multiplier 1: y [images, h′, w′, channels] from x [images, h, w, channels] and
 * filter [kh, kw, channels], clamped:
 *
 *   y[n, r, c, k] = clamp(bias[k] + Σ_{i,j} x[n, r·sh + i − top, c·sw + j − left, k] · filter[i, j, k])   over pixels inside x
 *
 * Row by row: a row of y is begun by the first row of taps and added to by the others, while it stays in the cache, three
 * taps at a time.
 */

/** @param bias Floats [channels], or 0: none. @param low,high What results are clamped to: −∞ and ∞ for none. */
export function depthwiseConv2d(
  x: usize,
  filter: usize,
  bias: usize,
  y: usize,
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
  low: f32,
  high: f32,
): void {
  const pixel = (<usize>channels) << 2;
  for (let image = 0; image < images; image++) {
    for (let r = 0; r < outH; r++) {
      const yRow = y + (<usize>image * outH + r) * outW * pixel;
      const first = max(0, top - r * sh);
      const end = min(kh, h + top - r * sh);
      if (first >= end) {
        onlyBias(bias, yRow, pixel, outW, low, high);
        continue;
      }
      for (let i = first; i < end; i++) {
        const xRow = x + (<usize>image * h + (r * sh + i - top)) * w * pixel;
        const taps = filter + <usize>(i * kw) * pixel;
        let j = 0;
        while (j < kw) {
          const count = kw - j >= 3 ? 3 : 1;
          const fresh = i == first && j == 0;
          const last = i == end - 1 && j + count == kw;
          const lo: f32 = last ? low : -Infinity;
          const hi: f32 = last ? high : Infinity;
          let k: usize = 0;
          for (; k + 16 <= pixel; k += 16) {
            const start = bias == 0 ? f32x4.splat(0) : v128.load(bias + k);
            if (count == 3) {
              threeTaps(
                xRow + k,
                taps + <usize>j * pixel + k,
                yRow + k,
                pixel,
                w,
                outW,
                j - left,
                sw,
                fresh,
                start,
                lo,
                hi,
              );
            } else {
              fourChannels(
                xRow + k,
                taps + <usize>j * pixel + k,
                yRow + k,
                pixel,
                w,
                outW,
                j - left,
                sw,
                fresh,
                start,
                lo,
                hi,
              );
            }
          }
          for (; k < pixel; k += 4) {
            const start: f32 = bias == 0 ? 0 : load<f32>(bias + k);
            for (let t = 0; t < count; t++) {
              oneChannel(
                xRow + k,
                taps + <usize>(j + t) * pixel + k,
                yRow + k,
                pixel,
                w,
                outW,
                j + t - left,
                sw,
                fresh && t == 0,
                start,
                t == count - 1 ? lo : -Infinity,
                t == count - 1 ? hi : Infinity,
              );
            }
          }
          j += count;
        }
      }
    }
  }
}

function clamp(v: v128, low: v128, high: v128): v128 {
  // pmax(v, low) is v < low ? low : v: one instruction, where max takes eight, and NaN stays NaN.
  return f32x4.pmin(f32x4.pmax(v, low), high);
}

function onlyBias(bias: usize, y: usize, pixel: usize, outW: i32, low: f32, high: f32): void {
  for (let c = 0; c < outW; c++) {
    for (let k: usize = 0; k < pixel; k += 4, y += 4) {
      store<f32>(y, min<f32>(max<f32>(bias == 0 ? 0 : load<f32>(bias + k), low), high));
    }
  }
}

/** Taps at pixels c·sw + offset, + 1 and + 2 of four channels. */
function threeTaps(
  xRow: usize,
  tap: usize,
  y: usize,
  pixel: usize,
  w: i32,
  outW: i32,
  offset: i32,
  sw: i32,
  fresh: bool,
  start: v128,
  low: f32,
  high: f32,
): void {
  const w0 = v128.load(tap);
  const w1 = v128.load(tap + pixel);
  const w2 = v128.load(tap + 2 * pixel);
  const lows = f32x4.splat(low);
  const highs = f32x4.splat(high);
  const step = <usize>sw * pixel;
  // Columns from `first` to `last` see all three pixels.
  const first = min(outW, offset >= 0 ? 0 : (sw - 1 - offset) / sw);
  const last = max(first, w - 3 - offset < 0 ? 0 : min(outW, (w - 3 - offset) / sw + 1));
  let at = xRow + offset * <i32>pixel;
  let c = 0;
  for (; c < outW; c++) {
    if (c == first && c < last) {
      if (sw == 1) {
        let x0 = v128.load(at);
        let x1 = v128.load(at + pixel);
        for (; c < last; c++) {
          const x2 = v128.load(at + 2 * pixel);
          const sum = fresh ? start : v128.load(y);
          const terms = f32x4.add(f32x4.add(f32x4.mul(x0, w0), f32x4.mul(x1, w1)), f32x4.mul(x2, w2));
          v128.store(y, clamp(f32x4.add(sum, terms), lows, highs));
          x0 = x1;
          x1 = x2;
          at += pixel;
          y += pixel;
        }
      } else {
        for (; c < last; c++) {
          const sum = fresh ? start : v128.load(y);
          const terms = f32x4.add(
            f32x4.add(f32x4.mul(v128.load(at), w0), f32x4.mul(v128.load(at + pixel), w1)),
            f32x4.mul(v128.load(at + 2 * pixel), w2),
          );
          v128.store(y, clamp(f32x4.add(sum, terms), lows, highs));
          at += step;
          y += pixel;
        }
      }
      if (c >= outW) break;
    }
    let sum = fresh ? start : v128.load(y);
    const p = c * sw + offset;
    if (p >= 0 && p < w) sum = f32x4.add(sum, f32x4.mul(v128.load(at), w0));
    if (p >= -1 && p < w - 1) sum = f32x4.add(sum, f32x4.mul(v128.load(at + pixel), w1));
    if (p >= -2 && p < w - 2) sum = f32x4.add(sum, f32x4.mul(v128.load(at + 2 * pixel), w2));
    v128.store(y, clamp(sum, lows, highs));
    at += step;
    y += pixel;
  }
}

/** The tap at pixel c·sw + offset of four channels. */
function fourChannels(
  xRow: usize,
  tap: usize,
  y: usize,
  pixel: usize,
  w: i32,
  outW: i32,
  offset: i32,
  sw: i32,
  fresh: bool,
  start: v128,
  low: f32,
  high: f32,
): void {
  const w0 = v128.load(tap);
  const lows = f32x4.splat(low);
  const highs = f32x4.splat(high);
  let at = xRow + offset * <i32>pixel;
  for (let c = 0, p = offset; c < outW; c++, p += sw) {
    let sum = fresh ? start : v128.load(y);
    if (p >= 0 && p < w) sum = f32x4.add(sum, f32x4.mul(v128.load(at), w0));
    v128.store(y, clamp(sum, lows, highs));
    at += <usize>sw * pixel;
    y += pixel;
  }
}

/** The same of one channel. */
function oneChannel(
  xRow: usize,
  tap: usize,
  y: usize,
  pixel: usize,
  w: i32,
  outW: i32,
  offset: i32,
  sw: i32,
  fresh: bool,
  start: f32,
  low: f32,
  high: f32,
): void {
  const w0 = load<f32>(tap);
  let at = xRow + offset * <i32>pixel;
  for (let c = 0, p = offset; c < outW; c++, p += sw) {
    let sum = fresh ? start : load<f32>(y);
    if (p >= 0 && p < w) sum += load<f32>(at) * w0;
    store<f32>(y, min<f32>(max<f32>(sum, low), high));
    at += <usize>sw * pixel;
    y += pixel;
  }
}
