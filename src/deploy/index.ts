/** Deploy: a new model of plain Keras layers with the BatchNormalizations folded away. */
import { type serialization, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { checkModel } from '../check-model';
import type { Layer } from '../internals';
import { checkTuneOptions, type TuneOptions } from '../options';
import { type SkippedReport, table, withText } from '../report';
import type { BlockReport } from '../walker/find';
import { type DeployPlan, planDeploy } from './plan';
import { rebuild } from './rebuild';
import { foldedWeights } from './weights';

export interface DeployReport {
  /** BNs folded into the conv before them. */
  after: BlockReport[];
  /** BNs folded into the conv (without padding) or Dense after them. */
  before: BlockReport[];
  /** BNs that stay, and why. */
  kept: SkippedReport[];
  /** A table for people. */
  toString(): string;
}

/**
 * A new model for inference: the BN of every pair folded into its conv (which has a bias then), and so every BN directly
 * before a conv without padding, or before a Dense. Inputs, outputs, their names and shapes, nesting and shared layers
 * stay; a conv that takes the place of a BN that was a model output takes its name. Same `predict` to float32 rounding.
 * The state of a stateful RNN starts anew. Kernel and bias constraints and regularizers of folded convs are dropped: they were about w, not about s·w.
 *
 * The source model, in whatever mode, stays as it is. The new model is not compiled; dispose it when done with it.
 * `inspectDeploy` tells what is folded and what stays.
 *
 * @param options `include`: leaves out blocks; `fuseActivation` has no effect here.
 * @throws TuneModeError `invalid-option`, `not-a-layers-model`, `model-not-built`, `model-disposed`; `unsupported` where
 *     somebody has replaced the `call` of one of the layers, or tfjs-layers cannot run a layer once it has a bias.
 */
export function toDeploy(model: LayersModel, options?: TuneOptions): LayersModel {
  const plan = checkedPlan('toDeploy', model, options);
  const { model: deployed, made } = rebuild(model, {
    where: 'toDeploy',
    removed: plan.removed,
    renamed: plan.renamed,
    config: (layer, config) => (isFolded(plan, layer) ? foldedConfig(config) : config),
  });
  try {
    for (const [from, to] of made) {
      if (isFolded(plan, from)) {
        tidy(() => to.setWeights(foldedWeights(from, plan.before.get(from), plan.after.get(from))));
      } else if (from.weights.length > 0 && to.weights.length > 0) {
        to.setWeights(from.getWeights());
      }
    }
  } catch (error) {
    for (const weight of deployed.weights) weight.dispose();
    throw error;
  }
  return deployed;
}

/**
 * What `toDeploy` folds, and which BNs stay and why. Changes nothing.
 * @throws TuneModeError as `toDeploy`.
 */
export function inspectDeploy(model: LayersModel, options?: TuneOptions): DeployReport {
  const { reports } = checkedPlan('inspectDeploy', model, options);
  return withText({ ...reports }, render);
}

function checkedPlan(where: string, model: LayersModel, options?: TuneOptions): DeployPlan {
  checkTuneOptions(where, options);
  checkModel(where, model);
  return planDeploy(model, options);
}

function isFolded({ after, before }: DeployPlan, layer: Layer): boolean {
  return after.has(layer) || before.has(layer);
}

function foldedConfig(config: serialization.ConfigDict): serialization.ConfigDict {
  const folded: serialization.ConfigDict = { ...config, useBias: true };
  for (const name of Object.keys(folded)) {
    if (/(Constraint|Regularizer)$/.test(name)) folded[name] = null;
  }
  return folded;
}

function render({ after, before, kept }: Omit<DeployReport, 'toString'>): string {
  const folded = after.length + before.length;
  const lines = [`deploy: ${folded} of ${folded + kept.length} BatchNormalization layers folded away`];
  const rows = [...after.map((block) => ['before it', block]), ...before.map((block) => ['after it', block])] as [
    string,
    BlockReport,
  ][];
  if (rows.length > 0) {
    lines.push(
      '',
      table(
        ['bn', 'into the layer', 'conv', 'kind'],
        rows.map(([where, { bn, conv, kind }]) => [bn, where, conv, kind]),
      ),
    );
  }
  if (kept.length > 0) {
    lines.push(
      '',
      'kept',
      table(
        ['bn', 'code', 'reason'],
        kept.map(({ bn, code, reason }) => [bn, code, reason]),
      ),
    );
  }
  return lines.join('\n');
}
