/**
 * tfjs's Adam and momentum optimizers, to the bit, with one kernel a variable where the backend has it: tfjs's own take
 * fourteen and four, which for a MobileNet's 83 variables are 5 and 1 ms of a step on wasm (bench/wasm-kernels.ts).
 */
import {
  AdamOptimizer,
  engine,
  MomentumOptimizer,
  mul,
  sub,
  type Tensor,
  tidy,
  util,
  type Variable,
} from '@tensorflow/tfjs-core';
import { type FusedKernel, fusedKernel } from '../own-op';

type Gradients = Parameters<AdamOptimizer['applyGradients']>[0];

interface Moment {
  variable: Variable;
}

/** What the optimizers keep private (tfjs-core 4.22.0). */
interface AdamState {
  accumulatedFirstMoment: Moment[];
  accumulatedSecondMoment: Moment[];
  accBeta1: Variable;
  accBeta2: Variable;
  epsilon: number;
}

interface MomentumState {
  accumulations: Moment[];
  momentum: number;
  useNesterov: boolean;
}

export class FusedAdam extends AdamOptimizer {
  override applyGradients(gradients: Gradients): void {
    const fused = usable('TuneAdam', gradients);
    const state = this as unknown as AdamState;
    const { accumulatedFirstMoment: first, accumulatedSecondMoment: second } = state;
    // The first step, which makes the moments, is tfjs's, and so is the refusal of other variables than those.
    if (fused === null || !fused.updates.every((update, i) => fits(update, first[i]) && fits(update, second[i]))) {
      super.applyGradients(gradients);
      return;
    }
    const { beta1, beta2, learningRate } = this;
    const attrs = { beta1, beta2, epsilon: state.epsilon, learningRate };
    tidy(() => {
      const correction1 = sub(1, state.accBeta1);
      const correction2 = sub(1, state.accBeta2);
      fused.updates.forEach(({ value, gradient }, i) => {
        if (gradient == null) return;
        const m = first[i].variable;
        const v = second[i].variable;
        const [newValue, newM, newV] = fused.run({ value, m, v, gradient, correction1, correction2 }, attrs);
        m.assign(newM);
        v.assign(newV);
        value.assign(newValue);
      });
      state.accBeta1.assign(mul(state.accBeta1, beta1));
      state.accBeta2.assign(mul(state.accBeta2, beta2));
    });
    this.incrementIterations();
  }
}

export class FusedMomentum extends MomentumOptimizer {
  override applyGradients(gradients: Gradients): void {
    const fused = usable('TuneMomentum', gradients);
    const { accumulations, momentum, useNesterov } = this as unknown as MomentumState;
    if (fused === null || !fused.updates.every((update, i) => fits(update, accumulations[i]))) {
      super.applyGradients(gradients);
      return;
    }
    const attrs = { momentum, learningRate: this.learningRate, nesterov: useNesterov };
    tidy(() => {
      fused.updates.forEach(({ value, gradient }, i) => {
        if (gradient == null) return;
        const accumulation = accumulations[i].variable;
        const [newValue, newAccumulation] = fused.run({ value, accumulation, gradient }, attrs);
        accumulation.assign(newAccumulation);
        value.assign(newValue);
      });
    });
    this.incrementIterations();
  }
}

interface Update {
  value: Variable;
  gradient: Tensor | null | undefined;
}

function fits({ value }: Update, moment: Moment | undefined): boolean {
  return moment !== undefined && util.arraysEqual(moment.variable.shape, value.shape);
}

/** The kernel and what it is to be run on, in the optimizers' own order; null where the backend has no such kernel. */
function usable(name: FusedKernel, gradients: Gradients) {
  const run = fusedKernel(name);
  if (run === null) return null;
  const { registeredVariables } = engine();
  const named = Array.isArray(gradients)
    ? gradients.map(({ name, tensor }) => [name, tensor] as const)
    : Object.entries<Tensor>(gradients);
  const updates: Update[] = named.map(([name, gradient]) => ({ value: registeredVariables[name], gradient }));
  return { run, updates };
}
