/** A depthwise convolution with a multiplier m is one without on every channel of x repeated m times. */

/** to [pixels, channels · m]: each channel of x [pixels, channels] m times. */
export function repeatChannels(x: usize, to: usize, pixels: usize, channels: usize, m: usize): void {
  for (let i: usize = 0; i < pixels * channels; i++) {
    const v = load<f32>(x + (i << 2));
    for (let q: usize = 0; q < m; q++, to += 4) store<f32>(to, v);
  }
}

/** to [pixels, channels]: the sums of groups of m neighbours of from [pixels, channels · m]. */
export function sumGroups(from: usize, to: usize, pixels: usize, channels: usize, m: usize): void {
  for (let i: usize = 0; i < pixels * channels; i++) {
    let sum = load<f32>(from);
    from += 4;
    for (let q: usize = 1; q < m; q++, from += 4) sum += load<f32>(from);
    store<f32>(to + (i << 2), sum);
  }
}
