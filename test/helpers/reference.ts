/**
 * One ConvBN block from the formula, in plain loops over doubles: nothing of `src`, no tfjs.
 *
 *     c = conv(x; w…)                       a list of taps (y, x, w): c[y] += x[x] · w[w]
 *     z = s (c + b − μ) + β                 s = γ / sqrt(σ² + ε), per channel
 *     y = act(z)          L = Σ y · r       r random, so that dL/dy = r
 *
 *     dz = r · act′(z)    dβ = Σ dz    dγ = Σ dz (c + b − μ) / sqrt(σ² + ε)    db = Σ s · dz    dc = s · dz
 *     dx[x] += dc[y] · w[w]                 dw[w] += dc[y] · x[x]
 *
 * Beside every value stands its magnitude: the same sums over the absolute values of their terms. By the standard bound
 * for inner products, any float32 evaluation of these sums, in any order, folded or not, is off by at most
 * `n · u · magnitude` to first order, with u = 2⁻²⁴ and n the number of roundings that a term goes through. So
 * `tolerance = n · 2⁻²⁴`, relative to the magnitude, follows from the shapes alone and is never tuned.
 */

export type KindName =
  | 'Conv1D'
  | 'Conv2D'
  | 'Conv3D'
  | 'Conv2DTranspose'
  | 'Conv3DTranspose'
  | 'DepthwiseConv2D'
  | 'SeparableConv2D'
  | 'Dense';

export interface ConvSpec {
  kind: KindName;
  batch: number;
  /** Lengths of the axes between batch and channels. */
  spatial: number[];
  channels: number;
  /** Output channels; of DepthwiseConv2D `channels · multiplier`. */
  filters: number;
  /** Depthwise channels per input channel (DepthwiseConv2D, SeparableConv2D). */
  multiplier: number;
  /** One number per spatial axis; empty for Dense. */
  kernelSize: number[];
  strides: number[];
  dilations: number[];
  padding: 'same' | 'valid';
  channelsFirst: boolean;
}

export interface BlockData {
  x: Float32Array;
  /** The conv's kernels, in the order of the layer's weights. */
  kernels: Float32Array[];
  bias: Float32Array | null;
  gamma: Float32Array | null;
  beta: Float32Array | null;
  mean: Float32Array;
  variance: Float32Array;
  epsilon: number;
  /** dL/dy. */
  r: Float32Array;
}

/** An activation with its derivatives. */
export interface ReferenceActivation {
  apply(z: number): number;
  derivative(z: number): number;
  /** A bound of the second derivative around z; null where the first one is a constant, away from the kinks. */
  curvature: ((z: number) => number) | null;
  /** Where the derivative jumps. */
  kinks: number[];
}

/** A tensor's values, and the sums of the absolute values of the terms that make each of them up. */
export interface Quantity {
  value: Float64Array;
  magnitude: Float64Array;
}

export interface BlockReference {
  y: Quantity;
  x: Quantity;
  kernels: Quantity[];
  bias: Quantity;
  gamma: Quantity;
  beta: Quantity;
  /** Largest deviation, relative to the magnitude, that float32 arithmetic can account for. */
  tolerance: number;
  /**
   * Smallest distance of a z from a kink of the activation, beyond what rounding can move it by. A z that is exactly 0
   * since γ = 0 = β does not count: it is exactly 0 in any arithmetic.
   */
  clearance: number;
}

/** A bilinear map as a list of index triples. */
interface Taps {
  size: number;
  y: number[];
  x: number[];
  w: number[];
}

export const xShape = (spec: ConvSpec): number[] => arrange(spec, spec.spatial, spec.channels);

export const yShape = (spec: ConvSpec): number[] =>
  arrange(
    spec,
    spec.spatial.map((_, axis) => outputLength(spec, axis)),
    spec.filters,
  );

export function kernelShapes({ kind, kernelSize, channels, filters, multiplier }: ConvSpec): number[][] {
  switch (kind) {
    case 'Dense':
      return [[channels, filters]];
    case 'Conv2DTranspose':
    case 'Conv3DTranspose':
      return [[...kernelSize, filters, channels]];
    case 'DepthwiseConv2D':
      return [[...kernelSize, channels, multiplier]];
    case 'SeparableConv2D':
      return [
        [...kernelSize, channels, multiplier],
        [1, 1, channels * multiplier, filters],
      ];
    default:
      return [[...kernelSize, channels, filters]];
  }
}

export function reference(spec: ConvSpec, data: BlockData, activation: ReferenceActivation): BlockReference {
  const stages = tapsOf(spec);
  const kernels = data.kernels.map(exact);
  const inputs = [exact(data.x)];
  stages.forEach((taps, i) => {
    inputs.push(gather(taps, inputs[i], kernels[i]));
  });
  const c = inputs[stages.length];

  const { filters } = spec;
  const channel = channelOf(spec);
  const deviation = Float64Array.from(data.variance, (variance) => Math.sqrt(variance + data.epsilon));
  const s = deviation.map((d, k) => (data.gamma?.[k] ?? 1) / d);
  const beta = (k: number) => data.beta?.[k] ?? 0;
  const bias = (k: number) => data.bias?.[k] ?? 0;

  // Every sum on the way from x to a gradient, each passed at most twice (through z and through its factor); and the
  // elementwise operations: fold, normalisation, activation and its derivative.
  const sums = stages.flatMap((taps) => [most(taps.y), most(taps.x), most(taps.w)]);
  const roundings = 2 * (sums.reduce((a, b) => a + b, 0) + c.value.length / filters) + 32;
  const tolerance = roundings * 2 ** -24;

  const y = zeros(c.value.length);
  const dc = zeros(c.value.length);
  const dBias = zeros(filters);
  const dGamma = zeros(filters);
  const dBeta = zeros(filters);
  let clearance = Number.POSITIVE_INFINITY;
  for (let i = 0; i < c.value.length; i++) {
    const k = channel(i);
    const centred = c.value[i] + bias(k) - data.mean[k];
    const centredSize = c.magnitude[i] + Math.abs(bias(k)) + Math.abs(data.mean[k]);
    const z = s[k] * centred + beta(k);
    const zSize = Math.abs(s[k]) * centredSize + Math.abs(beta(k));
    const slope = activation.derivative(z);
    // An error of z comes through with the slope. Curved activations and their slopes are evaluated by differences from 1,
    // like 1 − y², and products with z: off by a few roundings of those, however small the result.
    const evaluation = activation.curvature === null ? 0 : (8 * Math.max(1, Math.abs(z))) / roundings;
    y.value[i] = activation.apply(z);
    y.magnitude[i] = Math.abs(y.value[i]) + Math.abs(slope) * zSize + evaluation;
    for (const kink of zSize > 0 ? activation.kinks : []) {
      clearance = Math.min(clearance, Math.abs(z - kink) - tolerance * zSize);
    }

    const dz = data.r[i] * slope;
    const slopeSize = Math.abs(slope) + Math.abs(activation.curvature?.(z) ?? 0) * zSize + evaluation;
    const dzSize = Math.abs(data.r[i]) * slopeSize;
    accumulate(dBeta, k, dz, dzSize);
    accumulate(dGamma, k, (dz * centred) / deviation[k], (dzSize * centredSize) / deviation[k]);
    accumulate(dBias, k, dz * s[k], dzSize * Math.abs(s[k]));
    accumulate(dc, i, dz * s[k], dzSize * Math.abs(s[k]));
  }

  const dKernels: Quantity[] = [];
  let dInput = dc;
  for (let i = stages.length - 1; i >= 0; i--) {
    dKernels.unshift(scatterKernel(stages[i], inputs[i], dInput, kernels[i].value.length));
    dInput = scatterInput(stages[i], kernels[i], dInput, inputs[i].value.length);
  }
  return {
    y,
    x: dInput,
    kernels: dKernels,
    bias: dBias,
    gamma: dGamma,
    beta: dBeta,
    tolerance,
    clearance,
  };
}

/** The largest deviation from a quantity, relative to its magnitude; infinite for NaN and where exactly 0 must be 0. */
export function relativeError(actual: ArrayLike<number>, expected: Quantity): number {
  if (actual.length !== expected.value.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i] - expected.value[i]);
    if (difference === 0) continue;
    const error = difference / expected.magnitude[i];
    if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
  }
  return worst;
}

// Taps

function tapsOf(spec: ConvSpec): Taps[] {
  switch (spec.kind) {
    case 'Dense':
      return [denseTaps(spec)];
    case 'Conv2DTranspose':
    case 'Conv3DTranspose':
      return [transposedTaps(spec)];
    case 'DepthwiseConv2D':
      return [depthwiseTaps(spec)];
    case 'SeparableConv2D': {
      const depthwise: ConvSpec = { ...spec, kind: 'DepthwiseConv2D', filters: spec.channels * spec.multiplier };
      const pointwise: ConvSpec = {
        ...spec,
        kind: 'Conv2D',
        spatial: spec.spatial.map((_, axis) => outputLength(spec, axis)),
        channels: depthwise.filters,
        kernelSize: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
      };
      return [depthwiseTaps(depthwise), convTaps(pointwise)];
    }
    default:
      return [convTaps(spec)];
  }
}

function convTaps(spec: ConvSpec): Taps {
  const [ys, xs, [ws]] = [yShape(spec), xShape(spec), kernelShapes(spec)];
  const taps = noTaps(ys);
  eachWindow(spec, (n, output, input, k) => {
    for (let ci = 0; ci < spec.channels; ci++) {
      for (let co = 0; co < spec.filters; co++) {
        taps.y.push(indexOf(ys, arrange(spec, output, co, n)));
        taps.x.push(indexOf(xs, arrange(spec, input, ci, n)));
        taps.w.push(indexOf(ws, [...k, ci, co]));
      }
    }
  });
  return taps;
}

function depthwiseTaps(spec: ConvSpec): Taps {
  const [ys, xs, [ws]] = [yShape(spec), xShape(spec), kernelShapes(spec)];
  const taps = noTaps(ys);
  eachWindow(spec, (n, output, input, k) => {
    for (let ci = 0; ci < spec.channels; ci++) {
      for (let m = 0; m < spec.multiplier; m++) {
        taps.y.push(indexOf(ys, arrange(spec, output, ci * spec.multiplier + m, n)));
        taps.x.push(indexOf(xs, arrange(spec, input, ci, n)));
        taps.w.push(indexOf(ws, [...k, ci, m]));
      }
    }
  });
  return taps;
}

/** Every input is spread over a window of outputs: o = i · stride + k − before. */
function transposedTaps(spec: ConvSpec): Taps {
  const outputs = spec.spatial.map((_, axis) => outputLength(spec, axis));
  const before = outputs.map((length, axis) => {
    const spread = (spec.spatial[axis] - 1) * spec.strides[axis] + spec.kernelSize[axis];
    return spec.padding === 'same' ? Math.floor(Math.max(spread - length, 0) / 2) : 0;
  });
  const [ys, xs, [ws]] = [yShape(spec), xShape(spec), kernelShapes(spec)];
  const taps = noTaps(ys);
  for (const [n, ...input] of positions([spec.batch, ...spec.spatial])) {
    for (const k of positions(spec.kernelSize)) {
      const output = input.map((i, axis) => i * spec.strides[axis] + k[axis] - before[axis]);
      if (!within(output, outputs)) continue;
      for (let ci = 0; ci < spec.channels; ci++) {
        for (let co = 0; co < spec.filters; co++) {
          taps.y.push(indexOf(ys, arrange(spec, output, co, n)));
          taps.x.push(indexOf(xs, arrange(spec, input, ci, n)));
          taps.w.push(indexOf(ws, [...k, co, ci]));
        }
      }
    }
  }
  return taps;
}

function denseTaps(spec: ConvSpec): Taps {
  const { channels, filters } = spec;
  const taps = noTaps(yShape(spec));
  const rows = product([spec.batch, ...spec.spatial]);
  for (const [row, ci, co] of positions([rows, channels, filters])) {
    taps.y.push(row * filters + co);
    taps.x.push(row * channels + ci);
    taps.w.push(ci * filters + co);
  }
  return taps;
}

/** Every output position with every kernel position whose input is inside: i = o · stride + k · dilation − before. */
function eachWindow(spec: ConvSpec, visit: (n: number, output: number[], input: number[], k: number[]) => void): void {
  const outputs = spec.spatial.map((_, axis) => outputLength(spec, axis));
  const before = outputs.map((length, axis) => {
    const needed = (length - 1) * spec.strides[axis] + reachOf(spec, axis);
    return spec.padding === 'same' ? Math.floor(Math.max(needed - spec.spatial[axis], 0) / 2) : 0;
  });
  for (const [n, ...output] of positions([spec.batch, ...outputs])) {
    for (const k of positions(spec.kernelSize)) {
      const input = output.map((o, axis) => o * spec.strides[axis] + k[axis] * spec.dilations[axis] - before[axis]);
      if (within(input, spec.spatial)) visit(n, output, input, k);
    }
  }
}

/** Length of the stretch of input that a dilated kernel looks at. */
const reachOf = (spec: ConvSpec, axis: number) => (spec.kernelSize[axis] - 1) * spec.dilations[axis] + 1;

function outputLength(spec: ConvSpec, axis: number): number {
  const length = spec.spatial[axis];
  const stride = spec.strides[axis];
  switch (spec.kind) {
    case 'Dense':
      return length;
    case 'Conv2DTranspose':
    case 'Conv3DTranspose':
      return length * stride + (spec.padding === 'same' ? 0 : Math.max(spec.kernelSize[axis] - stride, 0));
    default:
      return spec.padding === 'same'
        ? Math.ceil(length / stride)
        : Math.floor((length - reachOf(spec, axis)) / stride) + 1;
  }
}

// The three products of a list of taps, each with its magnitude

function gather({ size, y, x, w }: Taps, input: Quantity, kernel: Quantity): Quantity {
  const out = zeros(size);
  for (let i = 0; i < y.length; i++) multiply(out, y[i], input, x[i], kernel, w[i]);
  return out;
}

function scatterInput({ y, x, w }: Taps, kernel: Quantity, dy: Quantity, size: number): Quantity {
  const out = zeros(size);
  for (let i = 0; i < y.length; i++) multiply(out, x[i], dy, y[i], kernel, w[i]);
  return out;
}

function scatterKernel({ y, x, w }: Taps, input: Quantity, dy: Quantity, size: number): Quantity {
  const out = zeros(size);
  for (let i = 0; i < y.length; i++) multiply(out, w[i], dy, y[i], input, x[i]);
  return out;
}

function multiply(out: Quantity, o: number, a: Quantity, i: number, b: Quantity, j: number): void {
  out.value[o] += a.value[i] * b.value[j];
  out.magnitude[o] += a.magnitude[i] * b.magnitude[j];
}

function accumulate(out: Quantity, i: number, value: number, magnitude: number): void {
  out.value[i] += value;
  out.magnitude[i] += magnitude;
}

// Indices

const zeros = (size: number): Quantity => ({ value: new Float64Array(size), magnitude: new Float64Array(size) });

const noTaps = (shape: number[]): Taps => ({ size: product(shape), y: [], x: [], w: [] });

const exact = (values: Float32Array): Quantity => ({
  value: Float64Array.from(values),
  magnitude: Float64Array.from(values, Math.abs),
});

/** The layer's data format: shape or position, by its channel entry and its spatial ones. */
function arrange(spec: ConvSpec, spatial: number[], channel: number, first = spec.batch): number[] {
  return spec.channelsFirst ? [first, channel, ...spatial] : [first, ...spatial, channel];
}

function channelOf(spec: ConvSpec): (index: number) => number {
  const shape = yShape(spec);
  const inner = spec.channelsFirst ? product(shape.slice(2)) : 1;
  return (index) => Math.floor(index / inner) % spec.filters;
}

function indexOf(shape: number[], position: number[]): number {
  return position.reduce((index, p, axis) => index * shape[axis] + p, 0);
}

function positions(shape: number[]): number[][] {
  return shape.reduce<number[][]>(
    (all, length) => all.flatMap((head) => Array.from({ length }, (_, i) => [...head, i])),
    [[]],
  );
}

const within = (position: number[], shape: number[]) => position.every((p, axis) => p >= 0 && p < shape[axis]);

const product = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

/** How often the most frequent index occurs: the longest sum. */
function most(indices: number[]): number {
  const counts = new Map<number, number>();
  for (const index of indices) counts.set(index, (counts.get(index) ?? 0) + 1);
  return Math.max(0, ...counts.values());
}
