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
 * With `recompute` not even y is kept: the op that takes it as its x, whose backward pass comes first, has it computed again.
 *
 * A conv kind supplies the three products as a `Geometry`; layouts are brought into form inside the op (`viewed`), so
 * that the tape sees one node and no aliases.
 */
import { engine, type NamedTensorMap, sum, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { BlockActivation } from './activations';
import { backwardPass, recording } from './backward-pass';
import { TuneModeError } from './errors';
import type { Geometry } from './geometry';
import { type Kept, kept, recomputed } from './kept';
import { fusedKernel, ownOp, type Saves } from './own-op';

/**
 * Runs the block's op.
 * @param channelAxis The axis of y, counted from 0, along which the bias runs.
 * @param recompute Whether y is computed once more in the backward pass, from x, instead of being kept for it. For an x
 *     that is kept anyway, and a y that only ops of this package take.
 */
export function convOp(
  geometry: Geometry,
  x: Tensor,
  w: Tensor,
  b: Tensor | null,
  activation: BlockActivation | null,
  channelAxis: number,
  recompute = false,
): Tensor {
  const xShape = x.shape;
  const wShape = w.shape;
  // The order counts: gradients are asked for in the order of the inputs, and x's is the one after which all can go.
  const inputs: NamedTensorMap = b === null ? { w, x } : { w, b, x };
  const current = recording();
  const known = current?.saved.get(x);
  const borrowed = known === undefined || known.lost() ? null : known;
  const rebuilds = recompute && current !== null && engine().state.gradientDepth === 1;
  const keepsY = activation !== null && !rebuilds;
  let keptY: Kept | null = null;
  const { output: y, saved } = ownOp<Tensor, Saves & { w: Tensor }>(
    inputs,
    () => {
      const output = geometry.forward(x, w, b, activation);
      const keep = { w, x: borrowed === null ? x : null, b: rebuilds ? b : null, y: keepsY ? output : null };
      return { output, keep };
    },
    (dy, saved) => {
      const pass = backwardPass();
      current?.release();
      // Before the gradients are asked for, each in a tidy of its own, which a map computed here must outlive.
      const savedX = (borrowed ?? kept(saved.x as Tensor)).get();
      let dz = dy;
      let db: Tensor | null = null;
      const ofY = keptY ?? (saved.y === null ? null : kept(saved.y));
      if (activation !== null && ofY !== null) {
        const fused = pass.first && channelAxis === dy.rank - 1 ? fusedKernel('TuneActivationGrad') : null;
        if (fused === null) dz = tidy(() => activation.gradient(dy, ofY.get()));
        else {
          const attrs = { activation: activation.name, alpha: activation.alpha, reuse: pass.mayFree(dy) };
          [dz, db] = fused({ dy, y: ofY.get() }, attrs);
        }
        pass.freeGradient(dy);
      }
      pass.free(ofY?.alive());
      const freeX = () => pass.free(borrowed === null ? savedX : null);
      const release = () => {
        freeX();
        pass.free(saved.w, saved.b);
        if (dz === dy) pass.freeGradient(dz);
        else pass.free(dz);
      };
      if (current !== null) current.release = release;
      return {
        w: () => geometry.gradKernel(savedX, dz, wShape),
        b: () => db ?? biasGradient(dz, channelAxis),
        x: () => {
          freeX();
          const dx = tidy(() => geometry.gradInput(dz, saved.w, xShape));
          release();
          return dx;
        },
      };
    },
  );
  if (current === null || saved === null) return y;
  const keptX = borrowed ?? kept(saved.x as Tensor);
  current.saved.set(x, keptX);
  if (rebuilds) keptY = recomputed(() => rebuild(geometry, keptX.get(), saved.w, saved.b, activation));
  else if (saved.y !== null) keptY = kept(saved.y);
  if (keptY !== null) current.saved.set(y, keptY);
  return y;
}

/** y once more. x is given, not asked for in here: it may be recomputed itself, and is needed again. */
function rebuild(
  geometry: Geometry,
  x: Tensor,
  w: Tensor,
  b: Tensor | null,
  activation: BlockActivation | null,
): Tensor {
  const inputs: NamedTensorMap = b === null ? { x, w } : { x, w, b };
  const forward = () => ({ output: geometry.forward(x, w, b, activation), keep: {} });
  return ownOp<Tensor, Saves>(inputs, forward, refuseSecondOrder).output;
}

/** A map that an inner gradient has computed anew could be followed by an outer one only by doing all of it once more. */
function refuseSecondOrder(): never {
  throw new TuneModeError(
    'unsupported',
    'Found a gradient of a gradient through blocks whose outputs are recomputed, expected a first-order one. ' +
      'Switch the model with enableTuneMode(model, { recompute: false }).',
  );
}

/** Σ dz over all axes but the channels. */
function biasGradient(dz: Tensor, channelAxis: number): Tensor {
  return sum(
    dz,
    dz.shape.map((_, axis) => axis).filter((axis) => axis !== channelAxis),
  );
}
