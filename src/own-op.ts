/** Ops of this package on the engine's tape, and kernels of this package that a backend may have. */
import {
  engine,
  getBackend,
  getKernel,
  type KernelBackend,
  type NamedAttrMap,
  type NamedTensorMap,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { recording } from './backward-pass';

// `Engine.runKernelFunc` is private in the typings only; tf.customGrad is built on it, but computes the gradients of
// all inputs whether anyone asked for them or not (tfjs-core 4.22.0). Gradients given as functions are called on demand.
interface FunctionalKernel {
  runKernelFunc(kernel: {
    forwardFunc: (backend: KernelBackend, save: (tensors: Tensor[]) => void) => Tensor | Tensor[];
    backwardsFunc: (dy: Tensor & Tensor[], saved: Tensor[]) => { [input: string]: () => Tensor };
    inputs: NamedTensorMap;
  }): Tensor | Tensor[];
}

/**
 * Runs an op with a gradient of its own.
 * @param inputs Gradients are asked for in their order.
 * @param forward Gives the outputs, and what is to be kept for the gradient.
 * @param backward The gradients of the inputs, each computed when asked for.
 */
export function ownOp<Output extends Tensor | Tensor[]>(
  inputs: NamedTensorMap,
  forward: (save: (tensors: Tensor[]) => void) => Output,
  backward: (dy: Output, saved: Tensor[]) => { [input: string]: () => Tensor },
): Output {
  const out = (engine() as unknown as FunctionalKernel).runKernelFunc({
    inputs,
    forwardFunc: (_backend, save) => forward(save),
    backwardsFunc: (dy, saved) => backward(dy as unknown as Output, saved),
  }) as Output;
  const current = recording();
  const first = Array.isArray(out) ? out[0] : (out as Tensor);
  if (current?.tape.at(-1)?.outputs[0] === first) current.own.add(first);
  return out;
}

/**
 * Kernels that do in one pass what tfjs's ops do in several. A backend adapter may register them under these names; where
 * the active backend has none, the same is computed by tfjs's ops.
 *
 * - `TuneActivationGrad` {dy, y}, {activation, alpha, reuse} → [dz like dy, Σ dz over all but the last axis]. With `reuse`
 *   dz may take dy's memory.
 * - `TuneFold` {kernel, bias?, gamma?, beta?, mean, variance}, {epsilon, scaleShape} → [w′, b′, s].
 * - `TuneFoldGrad` {dKernel, dBias, kernel, bias?, mean, variance, scale}, {epsilon, scaleShape} → [dw, db, dγ].
 * - `TuneFrozenBatchNormGrad` {dy, x, scale, mean}, {reuse} → [dx = dy · s, Σ dy, Σ dy · (x − μ)], channels last.
 * - `TuneAdam` {value, m, v, gradient, correction1, correction2}, {beta1, beta2, epsilon, learningRate} → [value′, m′, v′].
 * - `TuneMomentum` {value, accumulation, gradient}, {momentum, learningRate, nesterov} → [value′, accumulation′].
 */
export type FusedKernel =
  | 'TuneActivationGrad'
  | 'TuneFold'
  | 'TuneFoldGrad'
  | 'TuneFrozenBatchNormGrad'
  | 'TuneAdam'
  | 'TuneMomentum';

/** A fused kernel of the active backend, or null. */
export function fusedKernel(name: FusedKernel): ((inputs: NamedTensorMap, attrs: object) => Tensor[]) | null {
  if (getKernel(name, getBackend()) == null) return null;
  return (inputs, attrs) => engine().runKernel(name, inputs, attrs as NamedAttrMap) as Tensor[];
}
