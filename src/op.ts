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
import { fusedKernel, ownOp } from './own-op';

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
  // Where x, w, b and y are in what is saved.
  const places = { w: 0, x: 1, b: borrowed === null ? 2 : 1 };
  const y = ownOp<Tensor>(
    inputs,
    (save) => {
      const value = geometry.forward(x, w, b, activation);
      const ofX = borrowed === null ? [x] : [];
      save([w, ...ofX, ...(rebuilds && b !== null ? [b] : []), ...(keepsY ? [value] : [])]);
      return value;
    },
    (dy, saved) => {
      const savedW = saved[places.w];
      const keptX = borrowed ?? kept(saved[places.x]);
      const pass = backwardPass();
      current?.release();
      // Before the gradients are asked for, each in a tidy of its own, which a map computed here must outlive.
      const savedX = keptX.get();
      let dz = dy;
      let db: Tensor | null = null;
      const ofY = keptY ?? (keepsY ? kept(saved[saved.length - 1]) : null);
      if (activation !== null && ofY !== null) {
        const savedY = ofY.get();
        const fused = pass.first && channelAxis === dy.rank - 1 ? fusedKernel('TuneActivationGrad') : null;
        if (fused === null) dz = tidy(() => activation.gradient(dy, savedY));
        else {
          const { name, alpha } = activation;
          [dz, db] = fused({ dy, y: savedY }, { activation: name, alpha, reuse: pass.mayFree(dy) });
        }
        pass.freeGradient(dy);
      }
      pass.free(ofY?.alive());
      const freeX = () => {
        if (borrowed === null) pass.free(savedX);
      };
      const release = () => {
        freeX();
        pass.free(savedW, rebuilds && b !== null ? saved[places.b] : null);
        if (dz === dy) pass.freeGradient(dz);
        else pass.free(dz);
      };
      if (current !== null) current.release = release;
      return {
        w: () => geometry.gradKernel(savedX, dz, wShape),
        b: () => db ?? biasGradient(dz, channelAxis),
        x: () => {
          freeX();
          const dx = tidy(() => geometry.gradInput(dz, savedW, xShape));
          release();
          return dx;
        },
      };
    },
  );
  let keptY: Kept | null = null;
  const node = current?.tape.at(-1);
  if (current !== null && node?.outputs[0] === y) {
    const { saved } = node;
    const keptX = borrowed ?? kept(saved[places.x]);
    if (borrowed === null) current.saved.set(x, keptX);
    if (rebuilds) {
      const savedB = b === null ? null : saved[places.b];
      const savedW = saved[places.w];
      keptY = recomputed(() => {
        const again = keptX.get();
        const given: NamedTensorMap = savedB === null ? { x: again, w: savedW } : { x: again, w: savedW, b: savedB };
        return ownOp<Tensor>(given, () => geometry.forward(again, savedW, savedB, activation), refuseSecondOrder);
      });
    } else if (keepsY) keptY = kept(saved[saved.length - 1]);
    if (keptY !== null) current.saved.set(y, keptY);
  }
  return y;
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
