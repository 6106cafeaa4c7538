/**
 * TuneActivationGrad (see src/own-op.ts): dz = dy · act′(z), read off y = act(z), and Σ dz over all but the channels, in
 * one pass. With `reuse`, and if nobody else refers to dy's memory, dz takes its place.
 */
import { type TensorInfo, util } from '@tensorflow/tfjs-core';
import type { BlockActivation } from '../../../src/activations';
import { addressOf, kernels, withTotals } from '../heap';
import { simd } from '../simd';

interface Inputs {
  dy: TensorInfo;
  y: TensorInfo;
}

interface Attrs {
  activation: BlockActivation['name'];
  alpha?: number;
  reuse: boolean;
}

/** The table of src/activations.ts as numbers: act′ is 1 where low < y and not y ≥ high, and (p0 + p1·y)(q0 + q1·y) elsewhere. */
type Slope = [low: number, high: number, p0: number, p1: number, q0: number, q1: number];

const NEVER = Number.POSITIVE_INFINITY;
const NO_LIMIT = Number.NaN;

const SLOPES: Record<BlockActivation['name'], (alpha: number) => Slope> = {
  relu: () => [0, NO_LIMIT, 0, 0, 0, 0],
  relu6: () => [0, 6, 0, 0, 0, 0],
  leakyrelu: (alpha) => [0, NO_LIMIT, alpha, 0, 1, 0],
  elu: () => [0, NO_LIMIT, 1, 1, 1, 0],
  sigmoid: () => [NEVER, NO_LIMIT, 0, 1, 1, -1],
  tanh: () => [NEVER, NO_LIMIT, 1, 1, 1, -1],
};

export const activationGradient = kernels<Inputs, Attrs>(({ dy, y }, backend, attrs, outputs) => {
  const { activation, alpha, reuse } = attrs;
  const channels = dy.shape[dy.shape.length - 1];
  const size = util.sizeFromShape(dy.shape);
  const dz = reuse ? outputs.inPlaceOf(dy) : outputs.make(dy.shape);
  const db = outputs.make([channels]);
  const { activationGradient: run, roundTotals } = simd(backend);
  withTotals(backend, channels, (totals) => {
    const [from, by, to] = [dy, y, dz].map((tensor) => addressOf(backend, tensor));
    if (size > 0) run(from, by, to, totals, size / channels, channels, ...SLOPES[activation](alpha ?? 0));
    roundTotals(totals, addressOf(backend, db), channels);
  });
  return [dz, db];
});
