/**
 * Dropout that a seed fixes.
 *
 * tfjs-layers (4.22.0) draws a Dropout's mask anew from `Math.random` in every step, or, where the layer has a seed, the
 * very same mask in every step. Here the mask depends on the run's seed, the layer and the number of the step, so that a
 * run can be repeated and resumed. The layers' configuration, and so what is saved, stays as it is.
 */
import { dropout, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { classOf, type Inputs, isModel, type Kwargs, type Layer, unwrapTimeDistributed } from '../internals';
import { seededRandom } from '../random';

export interface SeededDropout {
  /** Which step comes next. */
  step: number;
  /** Gives the layers their own behaviour back. */
  undo(): void;
}

export function seedDropout(model: LayersModel, seed: number): SeededDropout {
  const undos: (() => void)[] = [];
  const state: SeededDropout = {
    step: 0,
    undo: () => {
      for (const undo of undos.splice(0)) undo();
    },
  };
  dropoutsOf(model).forEach((layer, index) => {
    const { rate, noiseShape } = layer as Layer & { rate: number; noiseShape?: number[] | null };
    // A mask of another shape is the business of the class itself.
    if (noiseShape) return;
    const own = Object.getOwnPropertyDescriptor(layer, 'call');
    layer.call = (inputs: Inputs, kwargs: Kwargs): Tensor =>
      tidy(() => {
        const x = Array.isArray(inputs) ? inputs[0] : inputs;
        if (kwargs.training !== true || rate <= 0) return x.clone();
        const key = Math.floor(seededRandom(`${seed}:dropout:${index}:${state.step}`)() * 2 ** 31);
        return dropout(x, rate, undefined, key);
      });
    undos.push(() => {
      if (own) Object.defineProperty(layer, 'call', own);
      else delete (layer as Partial<Layer>).call;
    });
  });
  return state;
}

function dropoutsOf(model: LayersModel): Layer[] {
  return model.layers.flatMap((layer) => {
    const { layer: inner } = unwrapTimeDistributed(layer);
    if (isModel(inner)) return dropoutsOf(inner);
    return classOf(inner) === 'Dropout' ? [inner] : [];
  });
}
