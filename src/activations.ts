/**
 * The activations that a block can take in: those whose gradient can be read off their own output y, so that the
 * pre-activation need not be kept. One entry an activation.
 *
 * | name      | y                          | dy/dz from y        |
 * |-----------|----------------------------|---------------------|
 * | relu      | max(z, 0)                  | y > 0               |
 * | relu6     | min(max(z, 0), 6)          | 0 < y < 6           |
 * | leakyrelu | z > 0 ? z : αz, 0 < α      | y > 0 ? 1 : α       |
 * | elu       | z > 0 ? z : exp(z) − 1     | y > 0 ? 1 : y + 1   |
 * | sigmoid   | 1 / (1 + exp(−z))          | y (1 − y)           |
 * | tanh      | tanh(z)                    | 1 − y²              |
 *
 * At the kinks (z exactly 0, exactly 6) the gradient is 0, or α for leakyrelu: what tfjs gives at 0. At exactly 6 tfjs's
 * two ways of writing relu6 disagree with each other; a point that a continuous pre-activation does not hit.
 *
 * Masks are products with `step`, as in tfjs's own gradients: a NaN in y or dy spreads at least as it does in Eval mode.
 * On wasm they are also several times faster than comparisons and `where`, which webgl lacks for rank 5 (4.22.0).
 */
import {
  add,
  elu,
  leakyRelu,
  minimum,
  mul,
  relu,
  relu6,
  scalar,
  sigmoid,
  square,
  step,
  sub,
  type Tensor,
  tanh,
} from '@tensorflow/tfjs-core';
import { type Activation, classOf, type Layer } from './internals';
import { isStock } from './stock';

export interface BlockActivation {
  /** tfjs-core's name for it, as its fused kernels take it. */
  readonly name: 'relu' | 'relu6' | 'leakyrelu' | 'elu' | 'sigmoid' | 'tanh';
  /** LeakyReLU's slope for negative inputs. */
  readonly alpha?: number;
  /** y = act(z). */
  apply(z: Tensor): Tensor;
  /** dz = dy · act′(z), read off y. Runs inside a tidy. */
  gradient(dy: Tensor, y: Tensor): Tensor;
}

const RELU: BlockActivation = {
  name: 'relu',
  apply: (z) => relu(z),
  gradient: (dy, y) => mul(dy, step(y)),
};

const RELU6: BlockActivation = {
  name: 'relu6',
  apply: (z) => relu6(z),
  // y (6 − y) is positive strictly between 0 and 6.
  gradient: (dy, y) => mul(dy, step(mul(y, sub(6, y)))),
};

const ELU: BlockActivation = {
  name: 'elu',
  apply: (z) => elu(z),
  // Below 0 the factor is y + 1, above it is 1.
  gradient: (dy, y) => mul(dy, add(minimum(y, 0), 1)),
};

const SIGMOID: BlockActivation = {
  name: 'sigmoid',
  apply: (z) => sigmoid(z),
  gradient: (dy, y) => mul(dy, mul(y, sub(scalar(1), y))),
};

const TANH: BlockActivation = {
  name: 'tanh',
  apply: (z) => tanh(z),
  gradient: (dy, y) => mul(dy, sub(scalar(1), square(y))),
};

function leaky(alpha: number): BlockActivation {
  return {
    name: 'leakyrelu',
    alpha,
    apply: (z) => leakyRelu(z, alpha),
    gradient: (dy, y) => mul(dy, step(y, alpha)),
  };
}

/** Keras's names of the activation functions, as `Activation.getClassName()` gives them. */
const BY_CLASS: Record<string, BlockActivation> = {
  relu: RELU,
  relu6: RELU6,
  elu: ELU,
  sigmoid: SIGMOID,
  tanh: TANH,
};

/**
 * The activation that a layer computes, if a block can take it in; null for every other layer.
 * `ReLU` with a `maxValue` other than 6 has no fused kernel; LeakyReLU with α ≤ 0 cannot be read off its output.
 */
export function blockActivation(layer: Layer): BlockActivation | null {
  if (!isStock(layer)) return null;
  switch (classOf(layer)) {
    case 'ReLU': {
      const { maxValue } = layer as Layer & { maxValue?: number | null };
      return maxValue == null ? RELU : maxValue === 6 ? RELU6 : null;
    }
    case 'LeakyReLU': {
      const { alpha } = layer as Layer & { alpha: number };
      return alpha > 0 ? leaky(alpha) : null;
    }
    case 'ELU': {
      const { alpha } = layer as Layer & { alpha: number };
      return alpha === 1 ? ELU : null;
    }
    case 'Activation':
      return BY_CLASS[(layer as Layer & { activation: Activation }).activation.getClassName()] ?? null;
    default:
      return null;
  }
}
