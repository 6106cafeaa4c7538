/** What may be freed while a backward pass is still running, and what not. */
import {
  Add,
  AddN,
  Atan2,
  BatchMatMul,
  Concat,
  Conv2D,
  Conv2DBackpropInput,
  Conv3D,
  DepthwiseConv2dNative,
  engine,
  FloorDiv,
  FusedBatchNorm,
  getGradient,
  Maximum,
  Minimum,
  Mod,
  Multiply,
  type NamedTensorMap,
  Pack,
  Pow,
  Prelu,
  RealDiv,
  Select,
  SquaredDifference,
  Sub,
  type Tensor,
} from '@tensorflow/tfjs-core';

import type { Kept } from './kept';

/** A node of the engine's tape, as far as it is read here. */
interface TapeNode {
  kernelName: string;
  inputs: NamedTensorMap;
  outputs: Tensor[];
  saved: Tensor[];
}

/** What ops of ours know of one tape. It lives as long as the tape, whatever tensors the user keeps. */
export interface Recording {
  tape: TapeNode[];
  /** Outputs of our own ops, to tell our nodes from foreign ones. */
  own: WeakSet<Tensor>;
  /**
   * What ops of ours have saved of a tensor: one block's output is the next one's input, and need be kept but once. The op
   * that saved it frees it; ops later in the forward pass, which borrow it, run before that one in the backward pass.
   */
  saved: WeakMap<Tensor, Kept>;
  /** Frees what the op before, in the backward pass, could not free since nobody asked for its last gradient. */
  release: () => void;
  /** Whether an op that is neither tfjs's nor ours may hand out one gradient tensor twice; null: not looked at yet. */
  mayAlias: boolean | null;
}

const recordings = new WeakMap<object, Recording>();

/** The tape that is being recorded or walked now, or null. */
export function recording(): Recording | null {
  const tape = engine().state.activeTape as unknown as TapeNode[] | null | undefined;
  if (tape == null) return null;
  let found = recordings.get(tape);
  if (found === undefined) {
    found = { tape, own: new WeakSet(), saved: new WeakMap(), release: () => {}, mayAlias: null };
    recordings.set(tape, found);
  }
  return found;
}

/**
 * What the backward pass that is running now may free early. In the backward pass of a higher-order gradient nothing may
 * go, since the tape will be walked again: the very condition under which the engine itself frees what was saved.
 */
export function backwardPass() {
  const { state } = engine();
  const current = recording();
  const first = state.gradientDepth === 0 && current !== null;
  const scopeId = state.activeScope?.id;
  /**
   * Of the gradients that the engine hands in, only one that the pass itself made may go, never the `dy` a user gave to
   * `tf.grad`: told by the scope that tracks it. And not where somebody else's custom gradient may have returned one
   * tensor for two inputs.
   */
  const mayFree = (dy: Tensor) =>
    first && !dy.isDisposed && !dy.kept && dy.scopeId === scopeId && !tapeMayAlias(current);
  return {
    /** Whether this is the backward pass of a first-order gradient. */
    first,
    mayFree,
    /**
     * Frees tensors of the op's own: what it saved (clones that the engine made for it, and disposes again at the end,
     * which does nothing), or made during this pass and handed to nobody.
     */
    free: (...tensors: (Tensor | null | undefined)[]) => {
      if (first) for (const tensor of tensors) tensor?.dispose();
    },
    /** Frees a gradient that the engine handed in, if it may go. */
    freeGradient: (dy: Tensor) => {
      if (mayFree(dy)) dy.dispose();
    },
  };
}

function tapeMayAlias(current: Recording): boolean {
  current.mayAlias ??= current.tape.some((node) => isForeign(node, current));
  return current.mayAlias;
}

/**
 * Whether a node's gradient is of unknown make, so that one tensor may be handed out as the gradient of two. Gradients
 * of tfjs-core 4.22.0 never do that: neither those registered for its kernels nor the custom ones of its own ops. Of
 * registered gradients only those of kernels with two inputs of one shape matter.
 */
function isForeign({ kernelName, inputs, outputs }: TapeNode, { own }: Recording): boolean {
  if (own.has(outputs[0])) return false;
  const taken = Object.values(inputs);
  // A clone, which the engine records as a node named after the scope around it.
  if (taken.length === 1 && taken[0].dataId === outputs[0].dataId) return false;
  if (getGradient(kernelName) == null) return !STOCK_CUSTOM_GRADIENTS.has(kernelName);
  const shapes = taken.map((tensor) => tensor.shape.join());
  return new Set(shapes).size < shapes.length && !STOCK_KERNELS_OF_MANY_INPUTS.has(kernelName);
}

/** The ops of tfjs-core that are made with `customGrad`, by the scopes they run in. */
const STOCK_CUSTOM_GRADIENTS: ReadonlySet<string> = new Set([
  'fusedConv2d__op',
  'fusedDepthwiseConv2d__op',
  'fusedMatMul__op',
  'logSigmoid__op',
  'logSoftmax__op',
  'softmaxCrossEntropy__op',
]);

const STOCK_KERNELS_OF_MANY_INPUTS: ReadonlySet<string> = new Set([
  Add,
  AddN,
  Atan2,
  BatchMatMul,
  Concat,
  Conv2D,
  Conv2DBackpropInput,
  Conv3D,
  DepthwiseConv2dNative,
  FloorDiv,
  FusedBatchNorm,
  Maximum,
  Minimum,
  Mod,
  Multiply,
  Pack,
  Pow,
  Prelu,
  RealDiv,
  Select,
  SquaredDifference,
  Sub,
]);
