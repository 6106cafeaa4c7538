/** The activations that have a gradient kernel of their own on wasm. */
import type * as tfl from '@tensorflow/tfjs-layers';
import { type BlockActivation, blockActivation } from '../../../src/activations';
import { L } from '../../models/table';

export const ALPHA = 0.25;
const entry = (layer: tfl.layers.Layer) => blockActivation(layer as never) as BlockActivation;
export const ACTIVATIONS: Record<
  BlockActivation['name'],
  { activation: () => BlockActivation; y: (whole: number) => number }
> = {
  relu: { activation: () => entry(L.reLU()), y: (k) => Math.max(0, k) },
  // From 0 to 6, both included.
  relu6: { activation: () => entry(L.reLU({ maxValue: 6 })), y: (k) => Math.min(6, Math.max(0, 2 + 2 * k)) },
  leakyrelu: { activation: () => entry(L.leakyReLU({ alpha: ALPHA })), y: (k) => (k > 0 ? k : k * ALPHA) },
  elu: { activation: () => entry(L.elu()), y: (k) => (k > 0 ? k : k / 4) },
  sigmoid: { activation: () => entry(L.activation({ activation: 'sigmoid' })), y: (k) => (k + 4) / 8 },
  tanh: { activation: () => entry(L.activation({ activation: 'tanh' })), y: (k) => k / 4 },
};
export const NAMES = Object.keys(ACTIVATIONS) as BlockActivation['name'][];
