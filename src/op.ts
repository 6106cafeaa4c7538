/**
 * The op of a block: conv + bias + activation, with a gradient of its own that is lean in memory.
 *
 *     z = conv(x; w) + b        y = act(z)
 *     dz = dy · act′(z)  (read off y)     db = Σ dz over all but the channels
 *     dw = convᵀ_w(x, dz)                 dx = convᵀ_x(dz, w)
 *
 * What stock tfjs keeps until the whole backward pass has ended: the input and output of every conv, bias add and
 * activation, and the gradient of every feature map. This op keeps x, w and (where the activation needs it) y, and
 * frees each as soon as its last use is over: y and dy once dz is known, x once dw is known, dz and w once dx is known.
 *
 * A conv kind supplies the three products as a `Geometry`; layouts are brought into form inside the op (`viewed`), so
 * that the tape sees one node and no aliases.
 */
import {
  Add,
  AddN,
  Atan2,
  BatchMatMul,
  Concat,
  engine,
  FloorDiv,
  getGradient,
  type KernelBackend,
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
  sum,
  type Tensor,
  tidy,
} from '@tensorflow/tfjs-core';
import type { BlockActivation } from './activations';

/** The three products of a convolution, without autodiff. Implementations may leave temporaries to the caller's tidy. */
export interface Geometry {
  /** y = act(conv(x; w) + b), in one kernel where the backend has one. */
  forward(x: Tensor, w: Tensor, b: Tensor | null, activation: BlockActivation | null): Tensor;
  /** dx for an input of shape `xShape`. */
  gradInput(dz: Tensor, w: Tensor, xShape: number[]): Tensor;
  /** dw for a kernel of shape `wShape`. */
  gradKernel(x: Tensor, dz: Tensor, wShape: number[]): Tensor;
}

/** Another layout of a tensor: `into` brings one into the geometry's own layout, `from` back. */
export interface View {
  into(t: Tensor): Tensor;
  from(t: Tensor): Tensor;
  /** The shape of `into`'s result. */
  shape(shape: number[]): number[];
}

/** The same convolution seen through other layouts of x, y and (for Conv1D) w; `views` may depend on the shape of x. */
export function viewed(inner: Geometry, views: (xShape: number[]) => { x: View; y: View; w?: View }): Geometry {
  return {
    forward: (input, kernel, b, activation) => {
      const { x, y, w = SAME } = views(input.shape);
      return y.from(inner.forward(x.into(input), w.into(kernel), b, activation));
    },
    gradInput: (dz, kernel, xShape) => {
      const { x, y, w = SAME } = views(xShape);
      return x.from(inner.gradInput(y.into(dz), w.into(kernel), x.shape(xShape)));
    },
    gradKernel: (input, dz, wShape) => {
      const { x, y, w = SAME } = views(input.shape);
      return w.from(inner.gradKernel(x.into(input), y.into(dz), w.shape(wShape)));
    },
  };
}

const SAME: View = { into: (t) => t, from: (t) => t, shape: (shape) => shape };

// `Engine.runKernelFunc` is private in the typings only; tf.customGrad is built on it, but computes the gradients of
// all inputs whether anyone asked for them or not (tfjs-core 4.22.0). Gradients given as functions are called on demand.
interface FunctionalKernel {
  runKernelFunc(kernel: {
    forwardFunc: (backend: KernelBackend, save: (tensors: Tensor[]) => void) => Tensor;
    backwardsFunc: (dy: Tensor, saved: Tensor[]) => { [input: string]: () => Tensor };
    inputs: NamedTensorMap;
  }): Tensor;
}

interface TapeNode {
  kernelName: string;
  inputs: NamedTensorMap;
  outputs: Tensor[];
  saved: Tensor[];
}

/**
 * What ops of ours have saved of a tensor, and on which tape: one block's output is the next one's input, and need be
 * kept but once. The op that saved it frees it; ops later in the forward pass, which borrow it, run before that one in the
 * backward pass.
 */
const savedOf = new WeakMap<Tensor, { tape: object; saved: Tensor }>();

/** Frees what the op before this one, in the same backward pass, could not free since nobody asked for its last gradient. */
let releasePrevious = () => {};

/** Whether on a tape an op that is neither tfjs's nor ours may hand out one gradient tensor twice. */
const mayAlias = new WeakMap<object, boolean>();

/** Outputs of our own ops, to tell our nodes on a tape from foreign ones. */
const ownOutputs = new WeakSet<Tensor>();

/**
 * Runs the block's op.
 * @param channelAxis The axis of y, counted from 0, along which the bias runs.
 */
export function convOp(
  geometry: Geometry,
  x: Tensor,
  w: Tensor,
  b: Tensor | null,
  activation: BlockActivation | null,
  channelAxis: number,
): Tensor {
  const xShape = x.shape;
  const wShape = w.shape;
  // The order counts: gradients are asked for in the order of the inputs, and x's is the one after which all can go.
  const inputs: NamedTensorMap = b === null ? { w, x } : { w, b, x };
  const tape = engine().state.activeTape as unknown as TapeNode[] | null;
  const known = savedOf.get(x);
  const borrowed = known !== undefined && known.tape === tape ? known.saved : null;
  const y = (engine() as unknown as FunctionalKernel).runKernelFunc({
    inputs,
    forwardFunc: (_backend, save) => {
      const value = geometry.forward(x, w, b, activation);
      save([w, ...(borrowed === null ? [x] : []), ...(activation === null ? [] : [value])]);
      return value;
    },
    backwardsFunc: (dy, saved) => {
      const savedW = saved[0];
      const savedX = borrowed ?? saved[1];
      const savedY = saved[saved.length - 1];
      releasePrevious();
      const pass = backwardPass();
      let dz = dy;
      if (activation !== null) {
        dz = tidy(() => activation.gradient(dy, savedY));
        pass.freeGradient(dy);
        pass.freeSaved(savedY);
      }
      const freeX = () => {
        if (borrowed === null) pass.freeSaved(savedX);
      };
      const freeDz = () => (dz === dy ? pass.freeGradient(dz) : pass.freeOwn(dz));
      releasePrevious = () => {
        pass.freeSaved(savedW);
        freeX();
        freeDz();
      };
      return {
        w: () => geometry.gradKernel(savedX, dz, wShape),
        b: () => biasGradient(dz, channelAxis),
        x: () => {
          freeX();
          const dx = tidy(() => geometry.gradInput(dz, savedW, xShape));
          releasePrevious();
          return dx;
        },
      };
    },
  });
  ownOutputs.add(y);
  const node = tape?.at(-1);
  if (tape !== null && node?.outputs[0] === y) {
    if (borrowed === null) savedOf.set(x, { tape, saved: node.saved[1] });
    if (activation !== null) savedOf.set(y, { tape, saved: node.saved[node.saved.length - 1] });
  }
  return y;
}

/** Σ dz over all axes but the channels. */
function biasGradient(dz: Tensor, channelAxis: number): Tensor {
  return sum(
    dz,
    dz.shape.map((_, axis) => axis).filter((axis) => axis !== channelAxis),
  );
}

/**
 * What the backward pass that is running now may free early. In the backward pass of a higher-order gradient nothing may
 * go, since the tape will be walked again: the very condition under which the engine itself frees what was saved.
 */
function backwardPass() {
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
  const tape = engine().state.activeTape as unknown as TapeNode[];
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
