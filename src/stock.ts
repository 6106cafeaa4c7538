/**
 * Whether a layer computes what its class name says. A subclass may inherit the name `Conv2D` and compute something else
 * (weight standardisation, say), and anyone may replace a layer's `call`: such a layer must not be folded.
 */
import { layers } from '@tensorflow/tfjs-layers';
import { classOf, type Layer } from './internals';

// Names are given so that no automatic name of the user's layers is used up; nothing is built, so no tensor is made.
const conv = { name: 'sample', filters: 1, kernelSize: 1 };
const SAMPLES: Record<string, () => Layer> = {
  Conv1D: () => layers.conv1d(conv),
  Conv2D: () => layers.conv2d(conv),
  Conv3D: () => layers.conv3d(conv),
  Conv2DTranspose: () => layers.conv2dTranspose(conv),
  Conv3DTranspose: () => layers.conv3dTranspose(conv),
  DepthwiseConv2D: () => layers.depthwiseConv2d({ name: 'sample', kernelSize: 1, depthMultiplier: 1 }),
  SeparableConv2D: () => layers.separableConv2d(conv),
  Dense: () => layers.dense({ name: 'sample', units: 1 }),
  ReLU: () => layers.reLU({ name: 'sample' }),
  LeakyReLU: () => layers.leakyReLU({ name: 'sample' }),
  ELU: () => layers.elu({ name: 'sample' }),
  Activation: () => layers.activation({ name: 'sample', activation: 'linear' }),
  BatchNormalization: () => layers.batchNormalization({ name: 'sample' }),
  ZeroPadding2D: () => layers.zeroPadding2d({ name: 'sample' }),
};

const stockCall = new Map<string, Layer['call']>();

/** Calls that this package has put into layers that were stock. */
const ourCalls = new WeakSet<object>();

export function isOurCall(call: object): boolean {
  return ourCalls.has(call);
}

export function markOurCall(call: object): void {
  ourCalls.add(call);
}

/** Whether someone has replaced the `call` of this very layer. */
export function isPatched(layer: Layer): boolean {
  return Object.hasOwn(layer, 'call') && !ourCalls.has(layer.call);
}

/** False also for classes that are not in the table. */
export function isStock(layer: Layer): boolean {
  if (ourCalls.has(layer.call)) return true;
  const name = classOf(layer);
  let call = stockCall.get(name);
  if (call === undefined) {
    const sample = Object.hasOwn(SAMPLES, name) ? SAMPLES[name]() : undefined;
    if (sample === undefined) return false;
    call = sample.call;
    stockCall.set(name, call);
  }
  return layer.call === call;
}
