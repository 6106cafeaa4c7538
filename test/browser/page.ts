/** Runs inside the browser: the core entry as a user's bundler sees it, on the backends a page has. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import { enableTuneMode, inspect, setMode, toDeploy } from '../../dist/index.js';

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

function randomise(model: tfl.LayersModel): void {
  for (const layer of model.layers.filter((l) => l.getClassName() === 'BatchNormalization')) {
    const [gamma, beta, mean, variance] = layer.getWeights();
    layer.setWeights([
      tf.randomNormal(gamma.shape),
      tf.randomNormal(beta.shape),
      tf.randomNormal(mean.shape),
      tf.randomUniform(variance.shape, 0.2, 3),
    ]);
  }
}

const difference = (a: tf.Tensor, b: tf.Tensor) =>
  tf.tidy(() => {
    const scale = Math.max(1e-4, tf.max(tf.abs(a)).dataSync()[0]);
    return tf.max(tf.abs(tf.sub(a, b))).dataSync()[0] / scale;
  });

async function run(backend: string) {
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} did not start`);
  await tf.ready();
  const model = makeModel();
  randomise(model);
  const x = tf.randomNormal([2, 12, 12, 3]);
  const weights = model.trainableWeights.map((w) => w.read() as tf.Variable);
  const loss = () => tf.sum(tf.square(model.apply(x, { training: true }) as tf.Tensor)) as tf.Scalar;
  // tfjs has no gradient of the dilated conv: its weights, and what is below it, are compared in their outputs only.
  setMode(model, 'eval');
  const above = weights.slice(-4);
  const evaluated = { y: model.predict(x) as tf.Tensor, grads: tf.variableGrads(loss, above).grads };
  const report = enableTuneMode(model);
  const tuned = { y: model.predict(x) as tf.Tensor, grads: tf.variableGrads(loss, above).grads };
  const all = tf.variableGrads(loss, weights).grads;
  const deployed = toDeploy(model).predict(x) as tf.Tensor;
  return {
    pairs: report.pairs.length,
    skipped: inspect(model).skipped.length,
    activations: report.pairs.filter((pair) => pair.activation !== null).length,
    outputs: difference(evaluated.y, tuned.y),
    gradients: Math.max(...above.map((v) => difference(evaluated.grads[v.name], tuned.grads[v.name]))),
    gradientsOfAll: Object.values(all).filter((g) => Number.isFinite(tf.sum(g).dataSync()[0])).length,
    weights: weights.length,
    deploy: difference(evaluated.y, deployed),
  };
}

(globalThis as unknown as { run: typeof run }).run = run;
