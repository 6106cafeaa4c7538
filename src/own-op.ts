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

/** What an op keeps for its gradient, by names of its own; null: not kept. */
export type Saves = Record<string, Tensor | null>;

/**
 * Runs an op with a gradient of its own.
 * @param inputs Gradients are asked for in their order.
 * @param forward Gives the op's output, and what is to be kept for the gradient.
 * @param backward The gradients of the inputs, each computed when asked for, from what was kept.
 * @returns The output, and what is kept of it: null where no gradient is recorded.
 */
export function ownOp<Output extends Tensor | Tensor[], Saved extends Saves>(
  inputs: NamedTensorMap,
  forward: () => { output: Output; keep: Saved },
  backward: (dy: Output, saved: Saved) => { [input: string]: () => Tensor },
): { output: Output; saved: Saved | null } {
  let names: string[] = [];
  let nothing = {} as Saved;
  const named = (tensors: Tensor[]): Saved => ({
    ...nothing,
    ...Object.fromEntries(names.map((name, i) => [name, tensors[i]])),
  });
  const output = (engine() as unknown as FunctionalKernel).runKernelFunc({
    inputs,
    forwardFunc: (_backend, save) => {
      const { output, keep } = forward();
      names = Object.keys(keep).filter((name) => keep[name] !== null);
      nothing = Object.fromEntries(Object.keys(keep).map((name) => [name, null])) as Saved;
      save(names.map((name) => keep[name] as Tensor));
      return output;
    },
    backwardsFunc: (dy, saved) => backward(dy as unknown as Output, named(saved)),
  }) as Output;
  const current = recording();
  const node = current?.tape.at(-1);
  const first = Array.isArray(output) ? output[0] : (output as Tensor);
  if (current === null || node?.outputs[0] !== first) return { output, saved: null };
  current.own.add(first);
  return { output, saved: named(node.saved) };
}

/**
 * Kernels that do in one pass what tfjs's ops do in several. A backend adapter may register them under these names; where
 * the active backend has none, the same is computed by tfjs's ops.
 *
 * All tensors are float32; sums, s and statistics have shape [channels].
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
