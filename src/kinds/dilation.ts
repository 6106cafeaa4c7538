/**
 * Gradients of dilated convolutions, which tfjs-core 4.22.0 does not have ("dilation rates greater than 1 are not yet
 * supported in gradients"): exactly, on every backend, from the gradients of undilated ones.
 *
 * A convolution with stride 1 and dilation r along an axis of length n = q·r is r independent undilated convolutions,
 * one for each phase of the axis: outputs of phase p see only inputs of phase p. So the phases are moved into the batch,
 * the undilated gradient is taken, and the phases are moved back (space to batch and batch to space).
 * `tf.spaceToBatchND` is not used: webgl and others have it up to rank 4 only.
 *
 * Padding in numbers is never asked for together with dilation (`absorbsPadding`).
 * Stride and dilation never exceed 1 together: tfjs and Keras refuse that.
 */
import { pad as padTensor, reshape, slice, type Tensor, transpose } from '@tensorflow/tfjs-core';
import type { Geometry } from '../geometry';

type Gradients = Pick<Geometry, 'gradInput' | 'gradKernel'>;

/** As tfjs takes it; numbers are [before, after] for each of four axes. */
export type Padding = 'same' | 'valid' | [number, number][];

/**
 * The gradients of a convolution with these dilations.
 * @param undilated Gradients of the undilated convolution under a padding.
 */
export function dilatedGradients(
  dilations: number[],
  padding: Padding,
  undilated: (padding: Padding) => Gradients,
): Gradients {
  if (dilations.every((rate) => rate === 1)) return undilated(padding);
  const valid = undilated('valid');
  return {
    gradInput: (dz, w, xShape) => {
      const plan = planFor(xShape, w.shape, dilations, padding);
      const phases = [xShape[0] * plan.phases, ...plan.phaseShape, xShape[xShape.length - 1]];
      const dx = valid.gradInput(toPhases(grow(dz, plan.dzGrowth), dilations), w, phases);
      return crop(fromPhases(dx, dilations), plan.xBefore, xShape);
    },
    gradKernel: (x, dz, wShape) => {
      const plan = planFor(x.shape, wShape, dilations, padding);
      const grownX = toPhases(padSpatial(x, plan.xBefore, plan.xAfter), dilations);
      return valid.gradKernel(grownX, toPhases(grow(dz, plan.dzGrowth), dilations), wShape);
    },
  };
}

interface Plan {
  /** Zeros before and after x along each spatial axis: the padding, then up to a multiple of the rate. */
  xBefore: number[];
  xAfter: number[];
  /** Zeros after dz along each spatial axis: outputs that exist only because x was grown. */
  dzGrowth: number[];
  /** Length of one phase along each spatial axis. */
  phaseShape: number[];
  /** Number of phases over all axes. */
  phases: number;
}

function planFor(xShape: number[], wShape: number[], rates: number[], padding: Padding): Plan {
  const plan: Plan = { xBefore: [], xAfter: [], dzGrowth: [], phaseShape: [], phases: 1 };
  rates.forEach((rate, axis) => {
    const length = xShape[axis + 1];
    const reach = (wShape[axis] - 1) * rate;
    const padded = padding === 'same' ? length + reach : length;
    const grown = Math.ceil(padded / rate) * rate;
    // `same` puts the odd zero after, as TensorFlow does.
    const before = padding === 'same' ? Math.floor(reach / 2) : 0;
    plan.xBefore.push(before);
    plan.xAfter.push(grown - length - before);
    plan.dzGrowth.push(grown - padded);
    plan.phaseShape.push(grown / rate);
    plan.phases *= rate;
  });
  return plan;
}

function padSpatial(x: Tensor, before: number[], after: number[]): Tensor {
  const [batch, ...rest] = x.shape;
  const channels = rest.pop() as number;
  const spatial = before.map((n, i): [number, number] => [n, after[i]]);
  const last = spatial.length - 1;
  const rows: [number, number] = [spatial[last][0] * channels, spatial[last][1] * channels];
  const padded = padTensor(rowsOfNumbers(x), [[0, 0], ...spatial.slice(0, last), rows]);
  return reshape(padded, [batch, ...rest.map((n, i) => n + before[i] + after[i]), channels]);
}

/** The last spatial axis and the channels as one: webgl's kernels pad and slice up to rank 4 only (tfjs 4.22.0). */
function rowsOfNumbers(x: Tensor): Tensor {
  const { shape } = x;
  const [columns, channels] = shape.slice(-2);
  return reshape(x, [...shape.slice(0, -2), columns * channels]);
}

function grow(dz: Tensor, growth: number[]): Tensor {
  const zeros = growth.map(() => 0);
  return growth.every((n) => n === 0) ? dz : padSpatial(dz, zeros, growth);
}

function crop(x: Tensor, before: number[], shape: number[]): Tensor {
  const channels = shape[shape.length - 1];
  const [columns] = shape.slice(-2);
  const begin = [0, ...before.slice(0, -1), before[before.length - 1] * channels];
  return reshape(slice(rowsOfNumbers(x), begin, [...shape.slice(0, -2), columns * channels]), shape);
}

/** [batch, …, q·r, …, channels] → [r·batch, …, q, …, channels], axis by axis, the last axis outermost. */
function toPhases(x: Tensor, rates: number[]): Tensor {
  return rates.reduce((t, rate, i) => {
    if (rate === 1) return t;
    const { shape } = t;
    const axis = i + 1;
    const before = product(shape.slice(0, axis));
    const after = product(shape.slice(axis + 1));
    const split = reshape(t, [before, shape[axis] / rate, rate, after]);
    const phased = shape.slice();
    phased[0] *= rate;
    phased[axis] /= rate;
    return reshape(transpose(split, [2, 0, 1, 3]), phased);
  }, x);
}

/** The inverse of `toPhases`. */
function fromPhases(x: Tensor, rates: number[]): Tensor {
  return rates.reduceRight((t, rate, i) => {
    if (rate === 1) return t;
    const { shape } = t;
    const axis = i + 1;
    const joined = shape.slice();
    joined[0] /= rate;
    joined[axis] *= rate;
    const before = product(joined.slice(0, axis));
    const after = product(joined.slice(axis + 1));
    const split = reshape(t, [rate, before, shape[axis], after]);
    return reshape(transpose(split, [1, 2, 0, 3]), joined);
  }, x);
}

function product(shape: number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
