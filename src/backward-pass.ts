/** What may be freed while a backward pass is still running, and what not. */
import {
  Add,
  AddN,
  Atan2,
  BatchMatMul,
  Concat,
  engine,
  FloorDiv,
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

/** A node of the engine's tape, as far as it is read here. */
export interface TapeNode {
  kernelName: string;
  inputs: NamedTensorMap;
  outputs: Tensor[];
  saved: Tensor[];
}

/** The tape that is being recorded, or null. */
export function activeTape(): TapeNode[] | null {
  return engine().state.activeTape as unknown as TapeNode[] | null;
}

/** Whether on a tape an op that is neither tfjs's nor ours may hand out one gradient tensor twice. */
const mayAlias = new WeakMap<object, boolean>();

/** Outputs of our own ops, to tell our nodes on a tape from foreign ones. */
const ownOutputs = new WeakSet<Tensor>();

/**
 * What the backward pass that is running now may free early. In the backward pass of a higher-order gradient nothing may
 * go, since the tape will be walked again: the very condition under which the engine itself frees what was saved.
 */
export function backwardPass() {
  const { state } = engine();
  const first = state.gradientDepth === 0 && state.activeTape !== null;
  const scopeId = state.activeScope?.id;
  const dispose = (tensors: Tensor[]) => {
    if (first) for (const tensor of tensors) tensor.dispose();
  };
  return {
    /** Saved tensors are clones that the engine made for this op; it disposes them again at the end, which does nothing. */
    freeSaved: (...tensors: Tensor[]) => dispose(tensors),
    /** A tensor that this op made during this pass and handed to nobody. */
    freeOwn: (tensor: Tensor) => dispose([tensor]),
    /**
     * A gradient that the engine handed in. Only one that the pass itself made may go, never the `dy` a user gave to
     * `tf.grad`: told by the scope that tracks it. And not where somebody else's custom gradient may have returned one
     * tensor for two inputs.
     */
    freeGradient: (dy: Tensor) => {
      if (first && !dy.kept && dy.scopeId === scopeId && !tapeMayAlias()) dy.dispose();
    },
  };
}

function tapeMayAlias(): boolean {
  const tape = activeTape() as TapeNode[];
  let aliases = mayAlias.get(tape);
  if (aliases === undefined) {
    aliases = tape.some(isForeign);
    mayAlias.set(tape, aliases);
  }
  return aliases;
}

/**
 * Whether a node's gradient is of unknown make, so that one tensor may be handed out as the gradient of two. Gradients
 * of tfjs-core 4.22.0 never do that: neither those registered for its kernels nor those of its own ops, whose scopes end
 * in `__op`. Of registered gradients only those of kernels with two inputs of one shape matter.
 */
function isForeign(node: TapeNode): boolean {
  // What the engine keeps are clones that it saved, as nodes of their own: dead ends.
  if (node.outputs[0].kept || ownOutputs.has(node.outputs[0]) || node.kernelName.endsWith('__op')) return false;
  if (getGradient(node.kernelName) == null) return true;
  const shapes = Object.values(node.inputs).map((tensor) => tensor.shape.join());
  return new Set(shapes).size < shapes.length && !STOCK_KERNELS_OF_MANY_INPUTS.has(node.kernelName);
}

const STOCK_KERNELS_OF_MANY_INPUTS: ReadonlySet<string> = new Set([
  Add,
  AddN,
  Atan2,
  BatchMatMul,
  Concat,
  FloorDiv,
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

/** Tells an op of ours on the tape from a foreign one. */
export function markOwn(output: Tensor): void {
  ownOutputs.add(output);
}
