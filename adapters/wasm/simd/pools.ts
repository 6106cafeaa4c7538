/**
 * Pooling over [images, d, h, w, channels] → [images, d′, h′, w′, channels]; 2D is depth 1. NaN is no maximum, as on the
 * cpu backend; of equal maxima the first in the window counts.
 */

/** What `maxPool` writes where a window holds no number larger than −∞: no position. */
const NOWHERE: i32 = -1;

/**
 * The maximum of each window into `y`, or, with `dy`, its gradient: dx (zeroed by the caller) at the place of each maximum
 * += dy.
 * @param y,dy,dx Addresses; y is 0 for the gradient, dy and dx for the values.
 */
export function maxPool(
  x: usize,
  y: usize,
  dy: usize,
  dx: usize,
  images: i32,
  d: i32,
  h: i32,
  w: i32,
  channels: i32,
  outD: i32,
  outH: i32,
  outW: i32,
  kd: i32,
  kh: i32,
  kw: i32,
  sd: i32,
  sh: i32,
  sw: i32,
  front: i32,
  top: i32,
  left: i32,
): void {
  const pixel = (<usize>channels) << 2;
  let output: usize = 0;
  for (let image = 0; image < images; image++) {
    for (let od = 0; od < outD; od++) {
      const d0 = max(0, od * sd - front);
      const d1 = min(d, od * sd - front + kd);
      for (let oh = 0; oh < outH; oh++) {
        const h0 = max(0, oh * sh - top);
        const h1 = min(h, oh * sh - top + kh);
        for (let ow = 0; ow < outW; ow++, output += pixel) {
          const w0 = max(0, ow * sw - left);
          const w1 = min(w, ow * sw - left + kw);
          let k: usize = 0;
          for (; k + 16 <= pixel; k += 16) {
            let largest = f32x4.splat(-Infinity);
            let places = i32x4.splat(NOWHERE);
            for (let i = d0; i < d1; i++) {
              for (let j = h0; j < h1; j++) {
                let place = ((image * d + i) * h + j) * w + w0;
                let at = x + <usize>place * pixel + k;
                for (let l = w0; l < w1; l++, place++, at += pixel) {
                  const v = v128.load(at);
                  const larger = f32x4.gt(v, largest);
                  largest = v128.bitselect(v, largest, larger);
                  places = v128.bitselect(i32x4.splat(place), places, larger);
                }
              }
            }
            if (y != 0) v128.store(y + output + k, largest);
            else {
              const from = dy + output + k;
              scatter(dx + k, i32x4.extract_lane(places, 0), pixel, from);
              scatter(dx + k + 4, i32x4.extract_lane(places, 1), pixel, from + 4);
              scatter(dx + k + 8, i32x4.extract_lane(places, 2), pixel, from + 8);
              scatter(dx + k + 12, i32x4.extract_lane(places, 3), pixel, from + 12);
            }
          }
          for (; k < pixel; k += 4) {
            let largest: f32 = -Infinity;
            let found = NOWHERE;
            for (let i = d0; i < d1; i++) {
              for (let j = h0; j < h1; j++) {
                let place = ((image * d + i) * h + j) * w + w0;
                for (let l = w0; l < w1; l++, place++) {
                  const v = load<f32>(x + <usize>place * pixel + k);
                  if (v > largest) {
                    largest = v;
                    found = place;
                  }
                }
              }
            }
            if (y != 0) store<f32>(y + output + k, largest);
            else scatter(dx + k, found, pixel, dy + output + k);
          }
        }
      }
    }
  }
}

/** The gradient of mean pooling: dx (zeroed by the caller) += dy / kd·kh·kw, for each number that a window sees. */
export function averagePoolGradient(
  dy: usize,
  dx: usize,
  images: i32,
  d: i32,
  h: i32,
  w: i32,
  channels: i32,
  outD: i32,
  outH: i32,
  outW: i32,
  kd: i32,
  kh: i32,
  kw: i32,
  sd: i32,
  sh: i32,
  sw: i32,
  front: i32,
  top: i32,
  left: i32,
): void {
  const pixel = (<usize>channels) << 2;
  const share: f32 = <f32>1 / <f32>(kd * kh * kw);
  for (let image = 0; image < images; image++) {
    for (let od = 0; od < outD; od++) {
      const d0 = max(0, od * sd - front);
      const d1 = min(d, od * sd - front + kd);
      for (let oh = 0; oh < outH; oh++) {
        const h0 = max(0, oh * sh - top);
        const h1 = min(h, oh * sh - top + kh);
        for (let ow = 0; ow < outW; ow++, dy += pixel) {
          const w0 = max(0, ow * sw - left);
          const w1 = min(w, ow * sw - left + kw);
          for (let i = d0; i < d1; i++) {
            for (let j = h0; j < h1; j++) {
              let to = dx + <usize>(((image * d + i) * h + j) * w + w0) * pixel;
              for (let l = w0; l < w1; l++, to += pixel) addScaled(dy, to, pixel, share);
            }
          }
        }
      }
    }
  }
}

function addScaled(from: usize, to: usize, bytes: usize, factor: f32): void {
  const factors = f32x4.splat(factor);
  let k: usize = 0;
  for (; k + 16 <= bytes; k += 16) {
    v128.store(to + k, f32x4.add(v128.load(to + k), f32x4.mul(v128.load(from + k), factors)));
  }
  for (; k < bytes; k += 4) store<f32>(to + k, load<f32>(to + k) + load<f32>(from + k) * factor);
}

function scatter(dx: usize, place: i32, pixel: usize, from: usize): void {
  if (place == NOWHERE) return;
  const to = dx + <usize>place * pixel;
  store<f32>(to, load<f32>(to) + load<f32>(from));
}
