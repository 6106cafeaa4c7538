/**
 * Small nets on a backend: Tune there against Eval on the cpu backend, in outputs, in all gradients, and in the losses of a
 * `fit`; what a fit must leave alone; and the deployed net.
 *
 * Tolerance: `rounding` of the net (`../helpers/models.ts`) relative to an array's largest number, once for the outputs,
 * and twice as much for gradients, which pass through every layer forth and back. Each of the steps of a fit can add the
 * error of its gradients to that of its loss. The worst number on SwiftShader needs 0.26 of that.
 */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { setMode, toDeploy } from 'tfjs-tune-mode';
import type { Numbers } from '../helpers/blocks';
import { inputsFor, randomise, rounding, targetsFor } from '../helpers/models';
import { NETS, type Net } from './nets';
import { batchNormsRunBy, gradients, outputs, read, switchTo } from './numbers';

export const NET_ROWS = NETS.map((net) => ({
  name: `a net for ${net.name}`,
  net,
  check: (backend: string) => checkNet(net, backend),
}));

const EPOCHS = 4;
const STEPS = 2 * EPOCHS;

async function checkNet(net: Net, backend: string): Promise<void> {
  await switchTo('cpu');
  const reference = await measure(net, net.onlyTuneTrains ? 'tune' : 'eval');
  await switchTo(backend);
  const before = tf.memory().numTensors;
  const found = await measure(net, 'tune');
  const left = tf.memory().numTensors - before;
  if (left !== 0) throw new Error(`${left} tensors are left`);
  const { tolerance } = found;
  expectNear('output', found.y, reference.y, tolerance);
  expectNear('gradient', found.gradients, reference.gradients, 2 * tolerance);
  expectNear('loss', found.losses, reference.losses, 2 * STEPS * tolerance);
  expectNear('deployed', found.deployed, found.tuned, tolerance);
}

async function measure({ build, blocks, options }: Net, mode: 'eval' | 'tune') {
  const model = build();
  randomise(model, 1);
  const { pairs, skipped } = setMode(model, mode, options);
  if (pairs.length !== blocks || skipped.length > 0)
    throw new Error(`${pairs.length} pairs, ${skipped.length} skipped`);
  const tolerance = rounding(model);
  const [xs] = inputsFor(model, 2, 8);
  const [ys] = targetsFor(model, 3, 8);
  const x = () => xs.clone();
  let y: Numbers = new Map();
  let slopes: Numbers = new Map();
  const ownBatchNorms = await batchNormsRunBy(async () => {
    y = await outputs(model, x);
    slopes = await gradients(
      model,
      x,
      () => ys.clone(),
      ({ name }) => `${order(model, name)}`,
    );
  });
  if ((mode === 'eval') !== ownBatchNorms > 0) throw new Error(`${mode} mode runs BatchNorm ${ownBatchNorms} times`);

  const statistics = await movingStatistics(model);
  const optimizer = tf.train.sgd(0.05);
  model.compile({ optimizer, loss: 'meanSquaredError' });
  const { history } = await model.fit(xs, ys, { epochs: EPOCHS, batchSize: 4, shuffle: false, verbose: 0 });
  const losses = Float32Array.from(history.loss as number[]);
  if (!(losses[EPOCHS - 1] < losses[0])) throw new Error(`the loss does not fall: ${losses}`);
  const moved = await movingStatistics(model);
  if (moved.some((bits, i) => bits !== statistics[i])) throw new Error('a moving statistic has changed');

  const tuned = await outputs(model, x);
  const deployedModel = toDeploy(model);
  const deployed = await read(() => ({ 'y of predict': deployedModel.predict(xs) as tf.Tensor }));
  deployedModel.dispose();
  model.dispose();
  optimizer.dispose();
  tf.dispose([xs, ys]);
  return { y, gradients: slopes, losses: new Map([['of every epoch', losses]]), tuned, deployed, tolerance };
}

/** A weight's place in the model: names differ between two builds of a net. */
const order = (model: tfl.LayersModel, name: string) => model.weights.findIndex((weight) => weight.name === name);

async function movingStatistics(model: tfl.LayersModel): Promise<number[]> {
  const weights = model.weights.filter(({ originalName }) => originalName.includes('moving_'));
  const values = await Promise.all(weights.map((weight) => weight.read().data()));
  return values.flatMap((value) => [...new Uint32Array((value as Float32Array).slice().buffer)]);
}

/** Largest difference, relative to the largest number of the array. */
function expectNear(what: string, found: Numbers, reference: Numbers, tolerance: number): void {
  for (const [name, values] of found) {
    const wanted = reference.get(name) as Float32Array;
    const scale = wanted.reduce((top, value) => Math.max(top, Math.abs(value)), 1e-3);
    const error = values.reduce((top, value, i) => Math.max(top, Math.abs(value - wanted[i])), 0) / scale;
    if (error <= tolerance && values.length === wanted.length) continue;
    throw new Error(`${what} ${name} is off by ${error / tolerance} tolerances of ${tolerance}`);
  }
}
