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
import { type NamedTensorMap, sum, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { BlockActivation } from './activations';
import { backwardPass, recording } from './backward-pass';
import type { Geometry } from './geometry';
import { fusedKernel, ownOp } from './own-op';

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
  const current = recording();
  const known = current?.saved.get(x);
  const borrowed = known === undefined || known.isDisposed ? null : known;
  const y = ownOp<Tensor>(
    inputs,
    (save) => {
      const value = geometry.forward(x, w, b, activation);
      save([w, ...(borrowed === null ? [x] : []), ...(activation === null ? [] : [value])]);
      return value;
    },
    (dy, saved) => {
      const savedW = saved[0];
      const savedX = borrowed ?? saved[1];
      const savedY = saved[saved.length - 1];
      const pass = backwardPass();
      current?.release();
      let dz = dy;
      let db: Tensor | null = null;
      if (activation !== null) {
        const fused = pass.first && channelAxis === dy.rank - 1 ? fusedKernel('TuneActivationGrad') : null;
        if (fused === null) dz = tidy(() => activation.gradient(dy, savedY));
        else {
          const { name, alpha } = activation;
          [dz, db] = fused({ dy, y: savedY }, { activation: name, alpha, reuse: pass.mayFree(dy) });
        }
        pass.freeGradient(dy);
        pass.free(savedY);
      }
      const freeX = () => {
        if (borrowed === null) pass.free(savedX);
      };
      const release = () => {
        freeX();
        pass.free(savedW);
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
  const node = current?.tape.at(-1);
  if (current !== null && node?.outputs[0] === y) {
    if (borrowed === null) current.saved.set(x, node.saved[1]);
    if (activation !== null) current.saved.set(y, node.saved[node.saved.length - 1]);
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
