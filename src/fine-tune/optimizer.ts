/** Optimizers by name, whose rate can be set before every step and whose whole state can be kept. */
import {
  dispose,
  type Optimizer,
  type SGDOptimizer,
  scalar,
  type Tensor,
  tensor,
  tidy,
  train,
  type Variable,
} from '@tensorflow/tfjs-core';
import { FusedAdam, FusedMomentum } from './fused-optimizers';

export type OptimizerName = 'adam' | 'sgd' | 'rmsprop';
export const OPTIMIZER_NAMES: readonly OptimizerName[] = ['adam', 'sgd', 'rmsprop'];

const MAKE: Record<OptimizerName, (rate: number) => Optimizer> = {
  adam: (rate) => new FusedAdam(rate, 0.9, 0.999),
  // With Nesterov's momentum, which is what fine-tuning recipes mean by SGD.
  sgd: (rate) => new FusedMomentum(rate, 0.9, true),
  rmsprop: (rate) => train.rmsprop(rate, 0.9),
};

export function makeOptimizer(name: OptimizerName, learningRate: number): Optimizer {
  return MAKE[name](learningRate);
}

/** What tfjs-core 4.22.0's optimizers keep protected. */
interface Internals {
  learningRate: number;
  /** SGD and momentum: the negative rate. */
  c?: Tensor;
  /** Adam: the running products of β₁ and of β₂. */
  accBeta1?: Variable;
  accBeta2?: Variable;
}

const internals = (optimizer: Optimizer) => optimizer as unknown as Internals;

export function setLearningRate(optimizer: Optimizer, learningRate: number): void {
  // SGD and momentum keep the rate in a tensor, which only this method replaces.
  if ('setLearningRate' in optimizer) (optimizer as SGDOptimizer).setLearningRate(learningRate);
  else internals(optimizer).learningRate = learningRate;
}

/** Everything besides the weights that the next step depends on. */
export interface OptimizerState {
  iterations: number;
  /** Moments, in the optimizer's own order. */
  moments: { name: string; shape: number[]; values: Float32Array }[];
  /** Adam's running products of β₁ and β₂: it computes them by `pow` on loading, which rounds otherwise. */
  products: number[];
}

export async function readOptimizer(optimizer: Optimizer): Promise<OptimizerState> {
  const [iterations, ...moments] = await optimizer.getWeights();
  iterations.tensor.dispose();
  const { accBeta1, accBeta2 } = internals(optimizer);
  const products = accBeta1 && accBeta2 ? [(await accBeta1.data())[0], (await accBeta2.data())[0]] : [];
  return {
    iterations: optimizer.iterations,
    moments: await Promise.all(
      moments.map(async ({ name, tensor }) => ({
        name,
        shape: tensor.shape,
        values: (await tensor.data()).slice() as Float32Array,
      })),
    ),
    products,
  };
}

/** For a new optimizer of the same name. */
export async function writeOptimizer(optimizer: Optimizer, state: OptimizerState): Promise<void> {
  const named = [
    { name: 'iter', tensor: scalar(state.iterations, 'int32') as Tensor },
    ...state.moments.map(({ name, shape, values }) => ({ name, tensor: tensor(values, shape, 'float32') })),
  ];
  await optimizer.setWeights(named);
  dispose(named.map((each) => each.tensor));
  const { accBeta1, accBeta2 } = internals(optimizer);
  tidy(() => {
    accBeta1?.assign(scalar(state.products[0]));
    accBeta2?.assign(scalar(state.products[1]));
  });
}

export function disposeOptimizer(optimizer: Optimizer): void {
  optimizer.dispose();
  // Momentum's own dispose (tfjs-core 4.22.0) forgets the rate.
  const { c } = internals(optimizer);
  if (c && !c.isDisposed) c.dispose();
}
