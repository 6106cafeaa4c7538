/** Models for the files of write_keras.py, and numbers to tell weights by. */
import * as tf from '@tensorflow/tfjs';
import type { StoredWeight } from '../../../adapters/keras/files';

/** As write_keras.py numbers weights: weight i holds i, i + 1/8 … */
export function numbered(i: number, shape: number[]): number[] {
  return Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, k) => i + k / 8);
}

/** The number that a weight's first value says it has. */
export function numbersOf(weights: StoredWeight[]): number[] {
  return weights.map((weight) => weight.read()[0]);
}

export function convModel(rename = (name: string) => name): tf.LayersModel {
  const input = tf.input({ shape: [4, 4, 2], name: rename('input_1') });
  const conv = tf.layers.conv2d({ filters: 4, kernelSize: 3, name: rename('conv1') }).apply(input) as tf.SymbolicTensor;
  const bn = tf.layers.batchNormalization({ name: rename('bn1') }).apply(conv) as tf.SymbolicTensor;
  const relu = tf.layers.reLU({ name: rename('relu') }).apply(bn) as tf.SymbolicTensor;
  const pool = tf.layers.globalAveragePooling2d({ name: rename('pool') } as never).apply(relu) as tf.SymbolicTensor;
  const out = tf.layers.dense({ units: 3, name: rename('dense') }).apply(pool) as tf.SymbolicTensor;
  return tf.model({ inputs: input, outputs: out });
}

/** With the classes and order of write_keras.py's TREE. */
export function v3Model(): tf.LayersModel {
  return tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [6, 6, 2], filters: 4, kernelSize: 3, name: 'first' }),
      tf.layers.batchNormalization({ name: 'bn1' }),
      tf.layers.conv2d({ filters: 4, kernelSize: 3, name: 'second' }),
      tf.layers.reLU({ name: 'relu' }),
      tf.layers.globalAveragePooling2d({} as never),
      tf.layers.dense({ units: 3, name: 'head' }),
    ],
  });
}

/** Gives every weight of a model other numbers. */
export function randomize(model: tf.LayersModel, seed: number): void {
  const values = model.weights.map(({ shape, dtype }, i) =>
    tf.randomUniform(shape as number[], -1, 1, dtype as 'float32', seed + i),
  );
  for (const [i, weight] of model.weights.entries()) weight.write(values[i]);
  tf.dispose(values);
}
