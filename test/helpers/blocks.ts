/** Single ConvBN blocks for tests: random weights, a model built of tfjs-layers, and what it computes. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { random } from './random';
import {
  type BlockData,
  type BlockReference,
  type ConvSpec,
  kernelShapes,
  type ReferenceActivation,
  reference,
  relativeError,
  xShape,
  yShape,
} from './reference';

export interface BlockCase {
  spec: ConvSpec;
  bias: boolean;
  scale: boolean;
  center: boolean;
  /** Whether the BN's channel axis is given from the end or from the start. */
  axis: 'negative' | 'positive';
  epsilon: number;
  /** Whether some of the variances are far below epsilon. */
  tinyVariance: boolean;
  activation: ActivationName;
  /** The option `fuseActivation`. */
  fuse: boolean;
}

type Layer = tfl.layers.Layer;

interface ActivationEntry extends ReferenceActivation {
  /** The layer; null for none. */
  layer: (() => Layer) | null;
  /** Whether a block can take it in. */
  absorbed: boolean;
}

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const sigmoidSecond = (z: number) => sigmoid(z) * sigmoid(-z) * (1 - 2 * sigmoid(z));
const clip = (top: number): ReferenceActivation => ({
  apply: (z) => Math.min(Math.max(z, 0), top),
  derivative: (z) => (z > 0 && z < top ? 1 : 0),
  curvature: null,
  kinks: Number.isFinite(top) ? [0, top] : [0],
});
const { layers } = tfl;

export const ACTIVATIONS = {
  none: { apply: (z) => z, derivative: () => 1, curvature: null, kinks: [], layer: null, absorbed: false },
  ReLU: { ...clip(Number.POSITIVE_INFINITY), layer: () => layers.reLU(), absorbed: true },
  'ReLU(6)': { ...clip(6), layer: () => layers.reLU({ maxValue: 6 }), absorbed: true },
  'Activation(relu6)': { ...clip(6), layer: () => layers.activation({ activation: 'relu6' }), absorbed: true },
  LeakyReLU: {
    apply: (z) => (z > 0 ? z : 0.25 * z),
    derivative: (z) => (z > 0 ? 1 : 0.25),
    curvature: null,
    kinks: [0],
    layer: () => layers.leakyReLU({ alpha: 0.25 }),
    absorbed: true,
  },
  ELU: {
    apply: (z) => (z > 0 ? z : Math.expm1(z)),
    derivative: (z) => (z > 0 ? 1 : Math.exp(z)),
    curvature: (z) => Math.exp(-Math.abs(z)),
    kinks: [],
    layer: () => layers.elu(),
    absorbed: true,
  },
  'Activation(sigmoid)': {
    apply: sigmoid,
    derivative: (z) => sigmoid(z) * sigmoid(-z),
    curvature: sigmoidSecond,
    kinks: [],
    layer: () => layers.activation({ activation: 'sigmoid' }),
    absorbed: true,
  },
  'Activation(tanh)': {
    apply: Math.tanh,
    derivative: (z) => 1 / Math.cosh(z) ** 2,
    curvature: (z) => (2 * Math.tanh(z)) / Math.cosh(z) ** 2,
    kinks: [],
    layer: () => layers.activation({ activation: 'tanh' }),
    absorbed: true,
  },
  'Activation(swish)': {
    apply: (z) => z * sigmoid(z),
    derivative: (z) => sigmoid(z) * (1 + z * sigmoid(-z)),
    curvature: (z) => 2 * sigmoid(z) * sigmoid(-z) + z * sigmoidSecond(z),
    kinks: [],
    layer: () => layers.activation({ activation: 'swish' }),
    absorbed: false,
  },
  'Activation(softplus)': {
    apply: (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))),
    derivative: sigmoid,
    curvature: (z) => sigmoid(z) * sigmoid(-z),
    kinks: [],
    layer: () => layers.activation({ activation: 'softplus' }),
    absorbed: false,
  },
  'ReLU(4)': { ...clip(4), layer: () => layers.reLU({ maxValue: 4 }), absorbed: false },
} satisfies Record<string, ActivationEntry>;

export type ActivationName = keyof typeof ACTIVATIONS;

/** A distance from every kink that rounding cannot cross: closer data are thrown away, tolerances stay. */
const CLEARANCE = 1e-3;

/** Random weights and inputs, and what the formula makes of them. */
export function sample(block: BlockCase, seed: number): { data: BlockData; expected: BlockReference } {
  for (let attempt = 0; attempt < 200; attempt++) {
    const data = draw(block, seed + 7919 * attempt);
    const expected = reference(block.spec, data, ACTIVATIONS[block.activation]);
    if (expected.clearance >= CLEARANCE) return { data, expected };
  }
  throw new Error('no data found that keep away from the kinks of the activation');
}

/** Means off 0, variances from 0.01 to 10 (or far below ε), γ of both signs and, in its first entry, exactly 0. */
function draw({ spec, bias, scale, center, epsilon, tinyVariance }: BlockCase, seed: number): BlockData {
  const rng = random(seed);
  const { filters } = spec;
  return {
    x: rng.array(sizeOf(xShape(spec))),
    kernels: kernelShapes(spec).map((shape) => rng.array(sizeOf(shape))),
    bias: bias ? rng.array(filters) : null,
    gamma: scale ? rng.array(filters, (k) => (k === 0 ? 0 : rng.pick([-1, 1]) * rng.uniform(0.3, 2))) : null,
    beta: center ? rng.array(filters, () => rng.uniform(-3, 3)) : null,
    mean: rng.array(filters, () => rng.pick([-1, 1]) * rng.uniform(0.3, 2)),
    variance: rng.array(filters, (k) => (tinyVariance && k === 1 ? 1e-6 : 10 ** rng.uniform(-2, 1))),
    epsilon,
    r: rng.array(sizeOf(yShape(spec))),
  };
}

const sizeOf = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

/** A functional model of the block, with the data's weights. */
export function buildModel(block: BlockCase, data: BlockData): tfl.LayersModel {
  const { spec } = block;
  const input = tfl.input({ shape: xShape(spec).slice(1) });
  const conv = convLayer(block);
  const channelAxis = spec.channelsFirst ? 1 : spec.spatial.length + 1;
  const axis = block.axis === 'positive' ? channelAxis : channelAxis - spec.spatial.length - 2;
  const bn = layers.batchNormalization({
    axis,
    scale: block.scale,
    center: block.center,
    epsilon: block.epsilon,
    name: 'bn',
  });
  let output = bn.apply(conv.apply(input)) as tfl.SymbolicTensor;
  const activation = ACTIVATIONS[block.activation].layer?.();
  if (activation !== undefined) output = activation.apply(output) as tfl.SymbolicTensor;
  const model = tfl.model({ inputs: input, outputs: output });
  setWeights(conv, [...data.kernels, data.bias]);
  setWeights(bn, [data.gamma, data.beta, data.mean, data.variance]);
  return model;
}

function convLayer({ spec, bias }: BlockCase): Layer {
  const common = {
    useBias: bias,
    name: 'conv',
    kernelSize: spec.kernelSize as never,
    strides: spec.strides as never,
    padding: spec.padding,
    dilationRate: spec.dilations as never,
    dataFormat: spec.channelsFirst ? ('channelsFirst' as const) : ('channelsLast' as const),
    filters: spec.filters,
    depthMultiplier: spec.multiplier,
  };
  switch (spec.kind) {
    case 'Conv1D':
      return layers.conv1d(common);
    case 'Conv2D':
      return layers.conv2d(common);
    case 'Conv3D':
      return layers.conv3d(common);
    case 'Conv2DTranspose':
      return layers.conv2dTranspose(common);
    case 'Conv3DTranspose':
      return layers.conv3dTranspose(common);
    case 'DepthwiseConv2D':
      return layers.depthwiseConv2d(common);
    case 'SeparableConv2D':
      return layers.separableConv2d(common);
    case 'Dense':
      return layers.dense({ units: spec.filters, useBias: bias, name: 'conv' });
  }
}

function setWeights(layer: Layer, values: (Float32Array | null)[]): void {
  const present = values.filter((value) => value !== null);
  tf.tidy(() => layer.setWeights(layer.weights.map((weight, i) => tf.tensor(present[i], weight.shape as number[]))));
}

/** Values by name: `y`, and the gradients with respect to `x` and to every weight. */
export type Numbers = Map<string, Float32Array>;

/** The outputs of `predict` and of a training pass. */
export function outputs(model: tfl.LayersModel, { spec }: BlockCase, data: BlockData): Numbers {
  return scoped(() => {
    const x = tf.tensor(data.x, xShape(spec));
    const predicted = model.predict(x) as tf.Tensor;
    const trained = model.apply(x, { training: true }) as tf.Tensor;
    return new Map([
      ['y of predict', valuesOf(predicted)],
      ['y of apply', valuesOf(trained)],
    ]);
  });
}

/** The gradients of Σ y · r with respect to x and all trainable weights, in one pass. */
export function gradients(model: tfl.LayersModel, block: BlockCase, data: BlockData): Numbers {
  return scoped(() => {
    const { x, loss, variables } = lossOf(model, block, data);
    const names = ['x', ...variables.keys()];
    const grads = tf.grads((input) => loss(input))([x, ...variables.values()]);
    return new Map(names.map((name, i) => [name, valuesOf(grads[i])]));
  });
}

/** The same in two passes, which ask for x alone and for the weights alone. */
export function gradientsApart(model: tfl.LayersModel, block: BlockCase, data: BlockData): Numbers {
  return scoped(() => {
    const { x, loss, variables } = lossOf(model, block, data);
    const dx = tf.grad((input) => loss(input))(x);
    const { grads } = tf.variableGrads(() => loss(x), [...variables.values()]);
    const found: Numbers = new Map([['x', valuesOf(dx)]]);
    for (const [name, variable] of variables) found.set(name, valuesOf(grads[variable.name]));
    return found;
  });
}

/** `tf.tidy` for results that hold no tensors. */
function scoped<T>(run: () => T): T {
  tf.engine().startScope();
  try {
    return run();
  } finally {
    tf.engine().endScope();
  }
}

const valuesOf = (tensor: tf.Tensor) => tensor.dataSync().slice() as Float32Array;

function lossOf(model: tfl.LayersModel, { spec }: BlockCase, data: BlockData) {
  const x = tf.tensor(data.x, xShape(spec));
  const r = tf.tensor(data.r, yShape(spec));
  const loss = (input: tf.Tensor) =>
    tf.sum(tf.mul(model.apply(input, { training: true }) as tf.Tensor, r)) as tf.Scalar;
  const conv = model.getLayer('conv');
  const bn = model.getLayer('bn');
  const variables = new Map<string, tf.Variable>();
  for (const weight of [...conv.trainableWeights, ...bn.trainableWeights]) {
    const name = weight.originalName.split('/').pop() as string;
    variables.set(name, weight.read() as tf.Variable);
  }
  return { x, loss, variables };
}

/** Of numbers from `outputs` and `gradients`: the largest error relative to the magnitude, and where it is. */
export function worstError(numbers: Numbers, expected: BlockReference): { error: number; where: string } {
  let worst = { error: 0, where: '' };
  for (const [name, values] of numbers) {
    const error = relativeError(values, quantityOf(name, expected));
    if (error > worst.error) worst = { error, where: name };
  }
  return worst;
}

/** Fails, naming the number, where one is off by more than rounding. */
export function expectWithin(numbers: Numbers, expected: BlockReference): void {
  const { error, where } = worstError(numbers, expected);
  if (error <= expected.tolerance) return;
  throw new Error(`${where} is off by ${error} of its magnitude, ${error / expected.tolerance} times the tolerance`);
}

/** What `expected` says of a number by this name. */
export function quantityOf(name: string, expected: BlockReference) {
  switch (name) {
    case 'y of predict':
    case 'y of apply':
      return expected.y;
    case 'kernel':
    case 'depthwise_kernel':
      return expected.kernels[0];
    case 'pointwise_kernel':
      return expected.kernels[1];
    case 'x':
    case 'bias':
    case 'gamma':
    case 'beta':
      return expected[name];
    default:
      throw new Error(`no reference for '${name}'`);
  }
}

/** Names of the kernels that `run` runs. */
export async function kernelsOf(run: () => unknown): Promise<string[]> {
  const info = await tf.profile(() => {
    tf.tidy(() => void run());
    return tf.scalar(0);
  });
  (info.result as tf.Tensor).dispose();
  return info.kernels.map(({ name }) => name);
}

/** What `livePeak` reads of the engine, which the typings keep private. */
interface EngineInside {
  state: { tensorInfo: WeakMap<object, { bytes: number }> };
  trackTensor(tensor: tf.Tensor, backend: unknown): void;
  removeDataId(dataId: object, backend: unknown): void;
}

/**
 * The most bytes of data that were alive at once while `run` ran, beyond those alive before. `tf.memory().numBytes`, and
 * `peakBytes` with it, counts every clone as if it had data of its own (tfjs-core 4.22.0); here each datum counts once.
 */
export function livePeak(run: () => void): number {
  const engine = tf.engine() as unknown as EngineInside;
  const { trackTensor, removeDataId } = engine;
  const { tensorInfo } = engine.state;
  let alive = 0;
  let peak = 0;
  engine.trackTensor = function (tensor, backend) {
    const known = tensorInfo.has(tensor.dataId);
    trackTensor.call(this, tensor, backend);
    if (known) return;
    alive += tensorInfo.get(tensor.dataId)?.bytes ?? 0;
    peak = Math.max(peak, alive);
  };
  engine.removeDataId = function (dataId, backend) {
    alive -= tensorInfo.get(dataId)?.bytes ?? 0;
    removeDataId.call(this, dataId, backend);
  };
  try {
    run();
  } finally {
    Object.assign(engine, { trackTensor, removeDataId });
  }
  return peak;
}
