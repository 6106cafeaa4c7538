/** What a training step is measured on: a model in each mode, and batches of noise. */
import { type Optimizer, randomNormal, randomUniform, type Tensor, train } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { loadModel } from '../adapters/node/load-model';
import { setMode, toDeploy } from '../src';

/** `deploy` is the folded model, trained by tfjs's own layers: what folding alone gives. */
export const MODES = ['train', 'eval', 'tune', 'tune+recompute', 'deploy'] as const;
export type BenchMode = (typeof MODES)[number];

export const OPTIMIZERS = ['sgd', 'momentum', 'adam'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];

/** So small a rate that no mode drifts away from the others while it is measured. */
const RATE = 1e-9;

const MAKE: Record<OptimizerName, () => Optimizer> = {
  sgd: () => train.sgd(RATE),
  momentum: () => train.momentum(RATE, 0.9),
  adam: () => train.adam(RATE),
};

/** A model of its own for each mode: a switch makes tfjs-layers sort its graph anew, which no step should have to pay. */
export async function loadInMode(path: string, mode: BenchMode): Promise<LayersModel> {
  const { model } = await loadModel(path);
  if (mode !== 'deploy') return inMode(model, mode);
  const deployed = toDeploy(model);
  model.dispose();
  return deployed;
}

export function inMode(model: LayersModel, mode: Exclude<BenchMode, 'deploy'>): LayersModel {
  if (mode === 'tune+recompute') setMode(model, 'tune', { recompute: true });
  else setMode(model, mode);
  return model;
}

export const makeOptimizer = (name: OptimizerName): Optimizer => MAKE[name]();

/** @returns The optimizer, to be disposed with the model. */
export function compileFor(model: LayersModel, optimizer: OptimizerName = 'sgd'): Optimizer {
  const made = makeOptimizer(optimizer);
  model.compile({ optimizer: made, loss: 'meanSquaredError' });
  return made;
}

export interface NoiseBatch {
  x: Tensor;
  y: Tensor;
}

export function noiseFor(model: LayersModel, batch: number): NoiseBatch {
  const shape = (symbolic: (number | null)[]) => [batch, ...symbolic.slice(1).map((n) => n ?? 64)];
  return {
    x: randomUniform(shape(model.inputs[0].shape), -1, 1),
    y: randomNormal(shape(model.outputs[0].shape)),
  };
}
