/** 1 if some number is NaN or infinite, else 0. v − v is 0 for a finite v, and NaN for NaN and ±∞. */
export function hasNotFinite(values: usize, count: usize): i32 {
  let sums = f32x4.splat(0);
  let at = values;
  const end = values + (count << 2);
  for (; at + 16 <= end; at += 16) {
    const v = v128.load(at);
    sums = f32x4.add(sums, f32x4.sub(v, v));
  }
  let sum = f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1);
  sum += f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3);
  for (; at < end; at += 4) {
    const v = load<f32>(at);
    sum += v - v;
  }
  return sum == 0 ? 0 : 1;
}
