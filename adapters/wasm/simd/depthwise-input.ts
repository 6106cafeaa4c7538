/**
 * Input gradient of a depthwise convolution with multiplier 1: dx [images, h, w, channels] from dy [images, h′, w′,
 * channels] and filter [kh, kw, channels]:
 *
 *   dx[n, r, c, k] = Σ_{i,j} dy[n, (r + top − i)/sh, (c + left − j)/sw, k] · filter[i, j, k]   over whole quotients inside dy
 *
 * Row by row: a row of dx is written by the first row of taps that reaches it and added to by the others, while it stays
 * in the cache. Columns of equal remainder by the stride see the same taps, and neighbours among them neighbouring pixels
 * of dy, so no zeros stand between the rows and columns of dy and none are multiplied.
 */

export function depthwiseBackpropInput(
  dy: usize,
  filter: usize,
  dx: usize,
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
  const dxRowBytes = <usize>w * pixel;
  const dyRowBytes = <usize>outW * pixel;
  for (let image = 0; image < images; image++) {
    for (let r = 0; r < h; r++) {
      const dxRow = dx + (<usize>image * h + r) * dxRowBytes;
      let fresh = true;
      for (let i = remainder(r + top, sh); i < kh; i += sh) {
        const y = (r + top - i) / sh;
        if (r + top < i) break;
        if (y >= outH) continue;
        const dyRow = dy + (<usize>image * outH + y) * dyRowBytes;
        for (let phase = 0; phase < sw && phase < w; phase++) {
          rowPhase(dyRow, filter + <usize>(i * kw) * pixel, dxRow, phase, w, channels, outW, kw, sw, left, fresh);
        }
        fresh = false;
      }
      if (fresh) memory.fill(dxRow, 0, dxRowBytes);
    }
  }
}

/** From 0 to by − 1, also where padding that crops makes n negative. */
function remainder(n: i32, by: i32): i32 {
  const rest = n % by;
  return rest < 0 ? rest + by : rest;
}

/** Columns phase, phase + sw, … of one row of dx, for one row of taps. */
function rowPhase(
  dyRow: usize,
  taps: usize,
  dxRow: usize,
  phase: i32,
  w: i32,
  channels: i32,
  outW: i32,
  kw: i32,
  sw: i32,
  left: i32,
  fresh: bool,
): void {
  const pixel = (<usize>channels) << 2;
  const step = <usize>sw * pixel;
  const to = dxRow + <usize>phase * pixel;
  const count = (w - phase + sw - 1) / sw;
  // Column u of the phase meets, under tap j0 + t·sw, pixel q0 + u − t of dy.
  const j0 = remainder(phase + left, sw);
  const q0 = (phase + left - j0) / sw;
  const tapStep = <usize>sw * pixel;
  let t = 0;
  let first = fresh;
  for (let j = j0; j < kw; ) {
    const three = j + 2 * sw < kw;
    const tap = taps + <usize>j * pixel;
    let k: usize = 0;
    if (three) {
      for (; k + 16 <= pixel; k += 16) {
        threeTaps(dyRow + k, tap + k, tapStep, to + k, pixel, step, q0 - t, count, outW, first);
      }
      for (; k < pixel; k += 4) {
        oneTap(dyRow + k, tap + k, to + k, pixel, step, q0 - t, count, outW, first);
        oneTap(dyRow + k, tap + tapStep + k, to + k, pixel, step, q0 - t - 1, count, outW, false);
        oneTap(dyRow + k, tap + 2 * tapStep + k, to + k, pixel, step, q0 - t - 2, count, outW, false);
      }
      j += 3 * sw;
      t += 3;
    } else {
      for (; k + 16 <= pixel; k += 16) {
        fourChannels(dyRow + k, tap + k, to + k, pixel, step, q0 - t, count, outW, first);
      }
      for (; k < pixel; k += 4) oneTap(dyRow + k, tap + k, to + k, pixel, step, q0 - t, count, outW, first);
      j += sw;
      t++;
    }
    first = false;
  }
  if (!first) return;
  for (let u = 0; u < count; u++) memory.fill(to + <usize>u * step, 0, pixel);
}

/** Three taps of four channels: dx[u] (+)= dy[q + u]·w0 + dy[q + u − 1]·w1 + dy[q + u − 2]·w2. */
function threeTaps(
  dyRow: usize,
  tap: usize,
  tapStep: usize,
  to: usize,
  pixel: usize,
  step: usize,
  q: i32,
  count: i32,
  outW: i32,
  fresh: bool,
): void {
  const w0 = v128.load(tap);
  const w1 = v128.load(tap + tapStep);
  const w2 = v128.load(tap + 2 * tapStep);
  const zero = f32x4.splat(0);
  const first = min(count, max(0, 2 - q));
  const last = max(first, min(count, outW - q));
  let from = dyRow + q * <i32>pixel;
  let u = 0;
  for (; u < count; u++) {
    if (u == first && u < last) {
      let d2 = v128.load(from - 2 * pixel);
      let d1 = v128.load(from - pixel);
      if (fresh) {
        for (; u < last; u++) {
          const d0 = v128.load(from);
          v128.store(to, f32x4.add(f32x4.add(f32x4.mul(d0, w0), f32x4.mul(d1, w1)), f32x4.mul(d2, w2)));
          d2 = d1;
          d1 = d0;
          from += pixel;
          to += step;
        }
      } else {
        for (; u < last; u++) {
          const d0 = v128.load(from);
          v128.store(
            to,
            f32x4.add(f32x4.add(v128.load(to), f32x4.mul(d0, w0)), f32x4.add(f32x4.mul(d1, w1), f32x4.mul(d2, w2))),
          );
          d2 = d1;
          d1 = d0;
          from += pixel;
          to += step;
        }
      }
      if (u >= count) break;
    }
    let sum = fresh ? zero : v128.load(to);
    const c = q + u;
    if (c >= 0 && c < outW) sum = f32x4.add(sum, f32x4.mul(v128.load(from), w0));
    if (c >= 1 && c <= outW) sum = f32x4.add(sum, f32x4.mul(v128.load(from - pixel), w1));
    if (c >= 2 && c <= outW + 1) sum = f32x4.add(sum, f32x4.mul(v128.load(from - 2 * pixel), w2));
    v128.store(to, sum);
    from += pixel;
    to += step;
  }
}

/** One tap of four channels. */
function fourChannels(
  dyRow: usize,
  tap: usize,
  to: usize,
  pixel: usize,
  step: usize,
  q: i32,
  count: i32,
  outW: i32,
  fresh: bool,
): void {
  const w = v128.load(tap);
  const zero = f32x4.splat(0);
  let from = dyRow + q * <i32>pixel;
  for (let u = 0; u < count; u++) {
    const c = q + u;
    if (c >= 0 && c < outW) {
      const term = f32x4.mul(v128.load(from), w);
      v128.store(to, fresh ? term : f32x4.add(v128.load(to), term));
    } else if (fresh) {
      v128.store(to, zero);
    }
    from += pixel;
    to += step;
  }
}

/** One tap of one channel. */
function oneTap(
  dyRow: usize,
  tap: usize,
  to: usize,
  pixel: usize,
  step: usize,
  q: i32,
  count: i32,
  outW: i32,
  fresh: bool,
): void {
  const w = load<f32>(tap);
  let from = dyRow + q * <i32>pixel;
  for (let u = 0; u < count; u++) {
    const c = q + u;
    if (c >= 0 && c < outW) {
      const term = load<f32>(from) * w;
      store<f32>(to, fresh ? term : load<f32>(to) + term);
    } else if (fresh) {
      store<f32>(to, 0);
    }
    from += pixel;
    to += step;
  }
}
