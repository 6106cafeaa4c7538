/** A feature map that a backward pass will need: kept from the forward pass, or computed once more when it is asked for. */
import type { Tensor } from '@tensorflow/tfjs-core';

export interface Kept {
  /** The map. Ask for it outside of the tidies of single gradients, so that it lives until it is freed. */
  get(): Tensor;
  /** The tensor if it is alive now. */
  alive(): Tensor | null;
  /** Whether it was freed and cannot be had again. */
  lost(): boolean;
}

export function kept(tensor: Tensor): Kept {
  return {
    get: () => tensor,
    alive: () => (tensor.isDisposed ? null : tensor),
    lost: () => tensor.isDisposed,
  };
}

/** A map that is not kept. @param rebuild Computes it anew; called when it is first needed, and again if it was freed. */
export function recomputed(rebuild: () => Tensor): Kept {
  let value: Tensor | null = null;
  const alive = () => (value === null || value.isDisposed ? null : value);
  return {
    get: () => {
      value = alive() ?? rebuild();
      return value;
    },
    alive,
    lost: () => false,
  };
}
