/**
 * The algebra of restoring, on arrays, before any tensor.
 *
 * A folded convolution y = conv(x; w′) + b′ is, for any s > 0 and any μ, σ² of each channel, the fold of
 *
 *     w = w′ / s    γ = s · sqrt(σ² + ε)    β = b′ + s · μ    (no bias)
 *
 * as `s = γ / sqrt(σ² + ε)`, `b′ = β − s·μ` in src/fold.ts. Here μ and σ² are those of conv(x; w) on pictures: with mean
 * m′ and variance v′ of conv(x; w′), μ = m′ / s and σ² = v′ / s². So γ = sqrt(v′ + s²·ε) and β = b′ + m′, whatever s is:
 * s decides only how large w is, and with that how far a step of an optimizer goes.
 *
 * Rounding: γ and σ² are rounded to float32 first, and w and β are made for the s that those give, so that the fold of
 * what is stored differs from w′, b′ by a rounding or two.
 */

/** Mean and variance (divided by n) of each channel. */
export interface ChannelStatistics {
  mean: Float64Array;
  variance: Float64Array;
}

export interface BatchNormArrays {
  gamma: Float32Array;
  beta: Float32Array;
  mean: Float32Array;
  variance: Float32Array;
}

/** Where the channels of a kernel are: of the weight at i, the channel is ⌊i / inner⌋ mod channels. */
export interface ChannelLayout {
  channels: number;
  inner: number;
}

/** @param scaleShape The shape that brings [channels] onto the kernel, from the conv's kind. */
export function layoutOf(kernelShape: readonly number[], scaleShape: readonly number[]): ChannelLayout {
  const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
  // Axes behind the last one with channels hold other weights of the same channel, as in a transposed kernel.
  const last = scaleShape.reduce((found, size, axis) => (size > 1 ? axis : found), -1);
  return { channels: product(scaleShape), inner: last < 0 ? 1 : product(kernelShape.slice(last + 1)) };
}

/** ‖w_c‖, the Euclidean norm of each channel's weights. */
export function channelNorms(kernel: Float32Array, { channels, inner }: ChannelLayout): Float64Array {
  const squares = new Float64Array(channels);
  kernel.forEach((value, i) => {
    squares[Math.floor(i / inner) % channels] += value * value;
  });
  return squares.map(Math.sqrt);
}

/**
 * BN and kernel whose fold is the given kernel and bias.
 * @param folded w′, b′, and the statistics of conv(x; w′) without bias.
 * @param s One positive number a channel.
 */
export function unfold(
  folded: { kernel: Float32Array; layout: ChannelLayout; bias: ArrayLike<number>; statistics: ChannelStatistics },
  s: ArrayLike<number>,
  epsilon: number,
): { kernel: Float32Array; batchNorm: BatchNormArrays } {
  const { kernel, layout, bias, statistics } = folded;
  const ofKernel: ChannelStatistics = {
    mean: statistics.mean.map((mean, c) => mean / s[c]),
    variance: statistics.variance.map((variance, c) => variance / s[c] ** 2),
  };
  const batchNorm = recalibrate(s, bias, ofKernel, epsilon);
  const scale = effectiveScale(batchNorm, epsilon);
  return {
    kernel: kernel.map((value, i) => value / scale[Math.floor(i / layout.inner) % layout.channels]),
    batchNorm,
  };
}

/**
 * The BN that maps x to s·x + t and has the given statistics.
 * @param s Any numbers, zero and negative ones too.
 * @param statistics Of x.
 */
export function recalibrate(
  s: ArrayLike<number>,
  t: ArrayLike<number>,
  statistics: ChannelStatistics,
  epsilon: number,
): BatchNormArrays {
  const mean = Float32Array.from(statistics.mean);
  const variance = Float32Array.from(statistics.variance);
  const gamma = variance.map((value, c) => s[c] * Math.sqrt(value + epsilon));
  const scale = effectiveScale({ gamma, variance }, epsilon);
  return { gamma, beta: mean.map((value, c) => t[c] + scale[c] * value), mean, variance };
}

/** s = γ / sqrt(σ² + ε) of the numbers as they are stored. */
export function effectiveScale(
  { gamma, variance }: Pick<BatchNormArrays, 'gamma' | 'variance'>,
  epsilon: number,
): Float64Array {
  return Float64Array.from(gamma, (value, c) => value / Math.sqrt(variance[c] + epsilon));
}

export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
