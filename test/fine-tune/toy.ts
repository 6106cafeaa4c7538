/** Small nets, pictures that are easily told apart, and what a run of `fineTune` is compared by. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import type { FineTuneResult } from '../../src/fine-tune';
import { allLayers, randomise, seeded } from '../helpers/models';

const L = tfl.layers;
export type Layer = tfl.layers.Layer;
type Symbolic = tfl.SymbolicTensor;

export const chain = (x: Symbolic, ...layers: Layer[]): Symbolic =>
  layers.reduce((y, layer) => layer.apply(y) as Symbolic, x);

export const conv = (name: string, filters: number, args: object = {}): Layer =>
  L.conv2d({ name, filters, kernelSize: 3, padding: 'same', useBias: false, ...args });
export const bn = (name: string): Layer => L.batchNormalization({ name });
export const relu = (name: string): Layer => L.reLU({ name, maxValue: 6 });
export const gap = (name = 'pool'): Layer => L.globalAveragePooling2d({ name });

/** Conv, depthwise conv and 1×1 conv, each with its BN and ReLU6. */
export const blocks = (): Layer[] => [
  conv('c1', 8, { strides: 2 }),
  bn('n1'),
  relu('r1'),
  L.depthwiseConv2d({ name: 'c2', kernelSize: 3, padding: 'same', useBias: false }),
  bn('n2'),
  relu('r2'),
  conv('c3', 12, { kernelSize: 1 }),
  bn('n3'),
  relu('r3'),
];

/** input → layers as a functional model, with random weights and random BN statistics. */
export function line(shape: number[], layers: Layer[], seed = 1, name = 'line'): tfl.LayersModel {
  const inputs = tfl.input({ shape, name: 'in' });
  const model = tfl.model({ inputs, outputs: chain(inputs, ...layers), name });
  randomise(model, seed);
  return model;
}

/** A pretrained classifier of 5 classes, as `fineTune` takes it. */
export function net(seed = 1, size = 16): tfl.LayersModel {
  return line(
    [size, size, 3],
    [...blocks(), gap(), L.dense({ name: 'old', units: 5, activation: 'softmax' })],
    seed,
    'net',
  );
}

/** The same net of two blocks only, for the tests that run it a hundred times. */
export function tinyNet(seed = 1, size = 8): tfl.LayersModel {
  const layers = [...blocks().slice(0, 3), conv('c3', 6, { kernelSize: 1 }), bn('n3'), relu('r3'), gap()];
  return line([size, size, 3], [...layers, L.dense({ name: 'old', units: 2, activation: 'softmax' })], seed, 'tiny');
}

export interface Pictures {
  xs: tf.Tensor4D;
  ys: tf.Tensor2D;
}

/** Noise around a colour that the class has: red, green or blue. Classes take turns. */
export function pictures(count: number, { size = 16, classes = 2, seed = 5, contrast = 0.5 } = {}): Pictures {
  const random = seeded(seed);
  const values = new Float32Array(count * size * size * 3);
  values.forEach((_, index) => {
    const label = Math.floor(index / (size * size * 3)) % classes;
    const own = index % 3 === label ? contrast : 0;
    values[index] = Math.max(-1, Math.min(1, own - contrast / 3 + 0.8 * (random() - 0.5)));
  });
  const labels = Array.from({ length: count }, (_, index) => index % classes);
  return { xs: tf.tensor4d(values, [count, size, size, 3]), ys: oneHot(labels, classes) };
}

export function oneHot(labels: number[], classes: number): tf.Tensor2D {
  const rows = labels.map((label) => Array.from({ length: classes }, (_, k) => (k === label ? 1 : 0)));
  return tf.tensor2d(rows, [labels.length, classes], 'float32');
}

export interface Toy {
  classNames: string[];
  train: Pictures;
  val: Pictures;
}

export function toy({ train = 24, val = 12, size = 16, classes = 2, contrast = 0.5 } = {}): Toy {
  return {
    classNames: ['red', 'green', 'blue'].slice(0, classes),
    train: pictures(train, { size, classes, contrast, seed: 5 }),
    val: pictures(val, { size, classes, contrast, seed: 6 }),
  };
}

export const disposeToy = ({ train, val }: Toy): void => tf.dispose([train.xs, train.ys, val.xs, val.ys]);

/** What a run says about itself without the times and the memory that it took. */
export function curve({ history }: Pick<FineTuneResult, 'history'>) {
  return history.map(({ epoch, loss, accuracy, valLoss, valAccuracy, learningRate }) => {
    return { epoch, loss, accuracy, valLoss, valAccuracy, learningRate };
  });
}

/** The error that a promise is refused with; a failed test if it is not. */
export async function refusal(promise: Promise<unknown>): Promise<TuneModeError> {
  const error = await promise.then(
    () => new Error('was not refused'),
    (reason: unknown) => reason as Error,
  );
  expect(error).toBeInstanceOf(TuneModeError);
  return error as TuneModeError;
}

/** The error that a function throws; undefined if none. */
export function thrown(run: () => unknown): TuneModeError | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(TuneModeError);
    return error as TuneModeError;
  }
}

/** Frees a model whatever other models its layers are part of. */
export function disposeLayers(...models: tfl.LayersModel[]): void {
  const layers = new Set(models.flatMap((model) => allLayers(model)));
  for (const layer of layers) {
    if (Array.isArray((layer as Layer & { layers?: Layer[] }).layers)) continue;
    for (const weight of layer.weights) {
      const variable = weight.read() as tf.Variable;
      if (!variable.isDisposed) variable.dispose();
    }
  }
}

/** Checkpoints in memory, serialised as a file would be; remembers every one of them. */
export function memoryIO(initial?: string) {
  const saved: string[] = initial === undefined ? [] : [initial];
  return {
    saved,
    save: async (artifacts: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> => {
      const { weightData, ...rest } = artifacts;
      const bytes = Buffer.from(tf.io.CompositeArrayBuffer.join(weightData)).toString('base64');
      saved.push(JSON.stringify({ ...rest, bytes }));
      return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
    },
    load: async (): Promise<tf.io.ModelArtifacts> => {
      const last = saved.at(-1);
      if (last === undefined) throw new TuneModeError('not-found', 'nothing is kept here');
      const { bytes, ...rest } = JSON.parse(last);
      const buffer = Buffer.from(bytes, 'base64');
      return { ...rest, weightData: buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) };
    },
  };
}
