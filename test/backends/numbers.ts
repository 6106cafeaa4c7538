/** What a model computes, read asynchronously: webgpu has no other way outside of a page. */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import type { Numbers } from '../helpers/blocks';

/** Switches tfjs to a backend; throws, rather than falling back to another one, if it cannot start. */
export async function switchTo(backend: string): Promise<void> {
  const started = await tf.setBackend(backend);
  if (!started || tf.getBackend() !== backend) throw new Error(`the backend '${backend}' did not start`);
}

/** A GPUDevice, as far as it is used here. */
interface Device {
  pushErrorScope(filter: 'validation'): void;
  popErrorScope(): Promise<{ message: string } | null>;
}

/** Runs on the active backend. webgpu never throws for a program that does not compile: here it does. */
export async function withDeviceErrors(run: () => Promise<void>): Promise<void> {
  const { device } = tf.backend() as unknown as { device?: Device };
  device?.pushErrorScope('validation');
  let outcome: { error?: unknown } = {};
  try {
    await run();
  } catch (error) {
    outcome = { error };
  }
  const found = await device?.popErrorScope();
  if (found) throw new Error(`webgpu: ${found.message}`);
  if ('error' in outcome) throw outcome.error;
}

/** How often BatchNorm is run as itself, on the active backend: in Eval for every one, in Tune for none that is paired. */
export async function batchNormsRunBy(run: () => Promise<void>): Promise<number> {
  const config = tf.getKernel(tf.FusedBatchNorm, tf.getBackend());
  const { kernelFunc } = config;
  let count = 0;
  config.kernelFunc = (args) => {
    count++;
    return kernelFunc(args);
  };
  try {
    await run();
  } finally {
    config.kernelFunc = kernelFunc;
  }
  return count;
}

/** The numbers in the tensors that `compute` makes; no tensor is left. */
export async function read(compute: () => Record<string, tf.Tensor>): Promise<Numbers> {
  const tensors = tf.tidy(compute);
  const numbers: Numbers = new Map();
  for (const [name, tensor] of Object.entries(tensors)) {
    numbers.set(name, (await tensor.data()).slice() as Float32Array);
  }
  tf.dispose(tensors);
  return numbers;
}

/** The outputs of `predict` and of a training pass. */
export function outputs(model: tfl.LayersModel, x: () => tf.Tensor): Promise<Numbers> {
  return read(() => {
    const input = x();
    return {
      'y of predict': model.predict(input) as tf.Tensor,
      'y of apply': model.apply(input, { training: true }) as tf.Tensor,
    };
  });
}

/** The gradients of Σ y · r with respect to x and to every trainable weight. */
export function gradients(
  model: tfl.LayersModel,
  x: () => tf.Tensor,
  r: () => tf.Tensor,
  nameOf: (weight: tfl.LayerVariable) => string,
): Promise<Numbers> {
  return read(() => {
    const weights = model.trainableWeights;
    const factors = r();
    const loss = (input: tf.Tensor) =>
      tf.sum(tf.mul(model.apply(input, { training: true }) as tf.Tensor, factors)) as tf.Scalar;
    const [dx, ...rest] = tf.grads((input) => loss(input))([x(), ...weights.map((weight) => weight.read())]);
    return { x: dx, ...Object.fromEntries(weights.map((weight, i) => [nameOf(weight), rest[i]])) };
  });
}
