/**
 * What the core must know of a conv layer's class: one file a class, and `index.ts` is the table.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Geometry } from '../geometry';
import type { Layer, LayerVariable } from '../internals';
import type { ZeroPadding } from './geometries';

/** One convolution that a layer runs, in the layer's own data format. */
export interface Stage {
  geometry: Geometry;
  kernel: LayerVariable;
}

export interface Kind<L extends Layer = Layer> {
  /** The layer's Keras class name. */
  readonly className: string;
  /** What the layer runs, in order; the last stage takes the folded kernel, the bias and the activation. */
  stages(layer: L): Stage[];
  /** The same with x padded first; absent where a layer of this kind, or null where this one, cannot pad by itself. */
  padded?(layer: L, padding: ZeroPadding): Stage[] | null;
  /** Whether an output of the layer costs little to compute anew for the bytes that it takes; absent: never. */
  cheap?(layer: L): boolean;
  /** The shape that brings s, [channels], onto the output channels of the last stage's kernel. */
  scaleShape(kernelShape: number[]): number[];
  /** Whether y, and x, have their channels on axis 1 and not on the last one. */
  channelsFirst(layer: L): boolean;
  /** Why tfjs-layers cannot run the layer as configured, or null. */
  broken?(layer: L): string | null;
  /**
   * How a BatchNormalization directly before the layer folds into it, in Deploy: with x′ = s·x + t per input channel,
   * conv(x′; w) + b = conv(x; s·w) + (b + shift). Absent where that is never exact.
   */
  before?: {
    /** Whether the fold is exact: no zero padding takes part, since BN does not map zeros to zeros. */
    exact(layer: L): boolean;
    /** `kernels` are those of the stages, s and t have shape [input channels]. */
    fold(kernels: Tensor[], s: Tensor, t: Tensor): { kernels: Tensor[]; shift: Tensor };
  };
}
