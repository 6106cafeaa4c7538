/** A whole fine-tuning in a page, and the same one stopped, kept in IndexedDB, and gone on with. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { fineTune } from 'tfjs-tune-mode/fine-tune';

const L = tfl.layers;

function makeModel(): tfl.LayersModel {
  const input = tfl.input({ shape: [12, 12, 3] });
  const conv = (x: tfl.SymbolicTensor, layer: tfl.layers.Layer, activation: tfl.layers.Layer) =>
    activation.apply(L.batchNormalization().apply(layer.apply(x))) as tfl.SymbolicTensor;
  let x = conv(
    input,
    L.conv2d({ filters: 6, kernelSize: 3, padding: 'same', useBias: false }),
    L.activation({ activation: 'tanh' }),
  );
  const skip = x;
  x = conv(
    x,
    L.depthwiseConv2d({ kernelSize: 3, padding: 'same', depthwiseInitializer: 'glorotNormal' }),
    L.activation({ activation: 'sigmoid' }),
  );
  x = conv(x, L.conv2d({ filters: 6, kernelSize: 1 }), L.elu());
  x = L.add().apply([x, skip]) as tfl.SymbolicTensor;
  x = conv(x, L.conv2d({ filters: 4, kernelSize: 3, dilationRate: 2 }), L.leakyReLU());
  const pooled = L.globalAveragePooling2d({}).apply(x);
  const y = L.dense({ units: 2 }).apply(pooled) as tfl.SymbolicTensor;
  return tfl.model({ inputs: input, outputs: y });
}

/** The same weights for the same seed: whether a random net's features tell two colours apart is a matter of luck. */
function randomise(model: tfl.LayersModel, seed: number): void {
  let next = seed;
  const normal = (shape: number[], deviation = 1) => tf.randomNormal(shape, 0, deviation, 'float32', next++);
  for (const layer of model.layers) {
    const shapes = layer.getWeights().map(({ shape }) => shape);
    if (layer.getClassName() === 'BatchNormalization') {
      const variance = tf.randomUniform(shapes[3], 0.2, 3, 'float32', next++);
      layer.setWeights([...shapes.slice(0, 3).map((shape) => normal(shape)), variance]);
    } else if (shapes.length > 0) {
      const inputs = (shape: number[]) => shape.slice(0, -1).reduce((product, size) => product * size, 1);
      layer.setWeights(shapes.map((shape) => normal(shape, shape.length === 1 ? 0.1 : inputs(shape) ** -0.5)));
    }
  }
}

/** Pictures that are reddish or bluish, with noise. */
function coloured(count: number, seed: number) {
  const labels = Array.from({ length: count }, (_, i) => i % 2);
  const tint = labels.flatMap((label) => (label === 0 ? [0.4, 0, -0.4] : [-0.4, 0, 0.4]));
  return {
    xs: tf.tidy(() =>
      tf.add(tf.randomUniform([count, 12, 12, 3], -0.6, 0.6, 'float32', seed), tf.tensor4d(tint, [count, 1, 1, 3])),
    ) as tf.Tensor4D,
    ys: tf.tensor2d(
      labels.flatMap((label) => (label === 0 ? [1, 0] : [0, 1])),
      [count, 2],
    ),
  };
}

export async function tune(backend: string, seed = 1) {
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} did not start`);
  await tf.ready();
  const source = makeModel();
  randomise(source, seed);
  const start = source.getWeights().map((w) => w.clone());
  const data = { classNames: ['red', 'blue'], train: coloured(32, 1), val: coloured(16, 2) };
  const options = { epochs: 3, batchSize: 8, learningRate: 1e-3, seed: 1 };
  // Made once, so that what is counted afterwards is what is left over.
  const before = tf.memory().numTensors;
  const whole = await fineTune(source, data, options);
  const wholeRates = whole.history.map(({ valLoss }) => valLoss);
  // A new head (kernel and bias) is all that may have come.
  const left = tf.memory().numTensors - before - 2;

  source.setWeights(start);
  const checkpoint = tf.io.getSaveHandlers(`indexeddb://run-${backend}`)[0];
  const controller = new AbortController();
  const stopped = await fineTune(source, data, {
    ...options,
    checkpoint,
    resume: true,
    signal: controller.signal,
    onProgress: ({ phase, epoch, step }) => {
      if (phase === 'train' && epoch === 2 && step === 2) controller.abort();
    },
  });
  source.setWeights(start);
  const resumed = await fineTune(source, data, { ...options, checkpoint, resume: true });
  return {
    accuracy: whole.validation?.accuracy,
    pairs: whole.blocks.pairs.length,
    left,
    endings: [whole.ending, stopped.ending, resumed.ending],
    curve: Math.max(...resumed.history.map(({ valLoss }, i) => Math.abs(valLoss - wholeRates[i]))),
    epochs: resumed.history.length,
    trained: whole.history.at(-1)?.valLoss !== whole.history[0].valLoss,
  };
}
