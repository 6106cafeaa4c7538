/**
 * What threads.test.ts runs in processes of its own, since a process can have wasm only once:
 *
 *   node --import tsx threads-process.ts <what> <threads>
 *
 * Prints one line of JSON.
 */
import module from 'node:module';
import workerThreads from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { useBestBackend } from '../../../adapters/node';
import { setMode } from '../../../src';
import { makeOptimizer } from '../../../src/fine-tune/optimizer';
import { random } from '../../helpers/random';

const [what, number] = process.argv.slice(2);
const threads = Number(number);

interface Heap {
  wasm: {
    HEAPU8: Uint8Array;
    PThread: { runningWorkers: { worker: workerThreads.Worker }[] };
    tfjs: { getThreadsCount(): number };
  };
}
const heap = () => (tf.backend() as unknown as Heap).wasm;
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const print = (value: object) => console.log(JSON.stringify(value));

/** Every kind of block, and a convolution that XNNPACK computes, on pictures of any size. */
function makeModel(): tfl.LayersModel {
  const { layers } = tfl;
  const input = tfl.input({ shape: [null, null, 3] });
  let x = input;
  const next = (layer: { apply(x: tfl.SymbolicTensor): unknown }) => {
    x = layer.apply(x) as tfl.SymbolicTensor;
  };
  const block = (conv: { apply(x: tfl.SymbolicTensor): unknown }, activation: 'relu' | 'relu6') => {
    next(conv);
    next(layers.batchNormalization());
    next(layers.activation({ activation }));
  };
  const conv = (filters: number, kernelSize: number, strides: number) =>
    layers.conv2d({ filters, kernelSize, strides, padding: 'same', useBias: false });
  block(conv(16, 3, 2), 'relu6');
  block(layers.depthwiseConv2d({ kernelSize: 3, padding: 'same', useBias: false }), 'relu6');
  block(conv(32, 1, 1), 'relu');
  next(layers.maxPooling2d({ poolSize: 3, strides: 2, padding: 'same' }));
  block(conv(24, 3, 1), 'relu');
  next(layers.averagePooling2d({ poolSize: 2, strides: 2, padding: 'same' }));
  next(layers.globalAveragePooling2d({}));
  next(layers.dense({ units: 5, activation: 'softmax' }));
  const model = tfl.model({ inputs: input, outputs: x });
  const r = random(3);
  // BN variances among them: from 0.2 on.
  const weights = model.weights.map(({ shape, name }) => {
    const size = (shape as number[]).reduce((a, b) => a * b, 1);
    const values = r.array(size, () => (/variance/.test(name) ? r.uniform(0.2, 2) : r.uniform(-0.6, 0.6)));
    return tf.tensor(values, shape as number[]);
  });
  model.setWeights(weights);
  tf.dispose(weights);
  setMode(model, 'tune');
  return model;
}

function batchOf(images: number, size: number, seed: number) {
  const r = random(seed);
  const xs = tf.tensor(r.array(images * size * size * 3), [images, size, size, 3]);
  const labels = Int32Array.from({ length: images }, (_, i) => i % 5);
  return { xs, ys: tf.cast(tf.oneHot(tf.tensor1d(labels, 'int32'), 5), 'float32') };
}

/** Of each tensor its numbers, in base64. */
const written = (tensors: tf.Tensor[]) =>
  tensors.map((tensor) => Buffer.from((tensor.dataSync() as Float32Array).slice().buffer).toString('base64'));

async function numbers() {
  const choice = await useBestBackend({ backend: 'wasm', threads });
  const model = makeModel();
  const { xs, ys } = batchOf(16, 64, 5);
  const outputs = written([model.predict(xs) as tf.Tensor]);
  const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
  const loss = () => tf.mean(tf.square(tf.sub(ys, model.apply(xs, { training: true }) as tf.Tensor))) as tf.Scalar;
  const { grads } = tf.variableGrads(loss, variables);
  const gradients = written(
    Object.keys(grads)
      .sort()
      .map((name) => grads[name]),
  );
  model.compile({ optimizer: makeOptimizer('sgd', 0.01), loss: 'categoricalCrossentropy' });
  await model.trainOnBatch(xs, ys); // makes the optimizer's own tensors
  const tensors = tf.memory().numTensors;
  for (let step = 0; step < 3; step++) await model.trainOnBatch(xs, ys);
  const leaked = tf.memory().numTensors - tensors;
  const trained = written(model.getWeights());
  const before = heap().HEAPU8.length;
  const large = batchOf(48, 160, 6);
  await model.trainOnBatch(large.xs, large.ys);
  const grown = written(model.getWeights());
  const xnnpack = heap().tfjs.getThreadsCount();
  const isShared = heap().HEAPU8.buffer instanceof SharedArrayBuffer;
  const heaps = [before, heap().HEAPU8.length];
  print({ choice, xnnpack, isShared, leaked, heaps, outputs, gradients, trained, grown });
}

/** A small network and a step on it, so that every thread has had something to do. */
async function started() {
  const choice = await useBestBackend({ backend: 'wasm', threads });
  const model = makeModel();
  const { xs, ys } = batchOf(8, 48, 5);
  model.compile({ optimizer: 'sgd', loss: 'categoricalCrossentropy' });
  const step = async () => Number(await model.trainOnBatch(xs, ys));
  const first = await step();
  return { choice, step, first, predict: () => written([model.predict(xs) as tf.Tensor]) };
}

const PROCESSES: Record<string, () => Promise<unknown>> = {
  numbers,
  async end() {
    const { choice, first } = await started();
    const listeners = ['uncaughtException', 'unhandledRejection'].map((event) => process.listenerCount(event));
    print({ threads: choice.threads, first, listeners, hasWorker: 'Worker' in globalThis });
  },
  async exit() {
    await started();
    process.exit(3);
  },
  async throw() {
    await started();
    throw new Error('mine');
  },
  async compute() {
    const { step } = await started();
    print({});
    for (;;) await step().then(() => new Promise(setImmediate));
  },
  async idle() {
    await started();
    await later(200);
    const before = process.cpuUsage();
    await later(1000);
    const { user, system } = process.cpuUsage(before);
    print({ ms: (user + system) / 1000 });
  },
  /** Somebody ends all of tfjs's own threads. */
  async lost() {
    const { predict } = await started();
    const before = predict();
    const ended = heap().PThread.runningWorkers.map(({ worker }) => worker.terminate());
    await Promise.all(ended);
    await later(50);
    print({ ended: ended.length, same: predict().join() === before.join() });
  },
  async dispose() {
    await started();
    tf.removeBackend('wasm');
    await later(200);
    print({});
  },
  async twice() {
    const both = await Promise.all([1, 2].map(() => useBestBackend({ threads })));
    const again = await useBestBackend({ backend: 'wasm', threads });
    const unsaid = await useBestBackend();
    const other = await useBestBackend({ threads: threads + 1 }).catch((error) => error);
    print({ found: [...both, again, unsaid].map((choice) => choice.threads), why: again.why, code: other.code });
  },
  async late() {
    await useBestBackend({ backend: 'wasm' });
    const { code, message } = await useBestBackend({ threads }).catch((error) => error);
    print({ code, message, backend: tf.getBackend(), one: (await useBestBackend({ threads: 1 })).threads });
  },
};

/** A Node in which threads cannot be had: `fail:<which>:<how>`. */
function breakThreads(which: string, how: string): void {
  const { Worker } = workerThreads;
  workerThreads.Worker = class extends Worker {
    constructor(program: string, options: workerThreads.WorkerOptions) {
      const broken = options.name === which;
      if (broken && how === 'refused') throw new Error('no threads here');
      super(broken ? 'process.exit(7)' : program, options);
    }
  };
  module.syncBuiltinESMExports();
}

async function main() {
  const [name, which, how] = what.split(':');
  if (name !== 'fail') return PROCESSES[name]();
  breakThreads(which, how);
  const { choice, first } = await started();
  print({ ...choice, first, again: await useBestBackend({ backend: 'wasm', threads }) });
}

// Not awaited at the top: tsx runs this file as CommonJS.
void main();
