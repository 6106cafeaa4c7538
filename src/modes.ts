/**
 * The modes of a model: `train`, `eval`, `tune`.
 *
 * The state belongs to the BatchNormalization layers, not to the model object: models that share layers (a model cut
 * from another one, a nested one) share their mode.
 */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { Block } from './block';
import { checkModel } from './check-model';
import { TuneModeError } from './errors';
import type { BatchNormLayer } from './internals';
import { checkTuneOptions, type TuneOptions } from './options';
import { makeReport, type TuneReport } from './report';
import { type Analysis, analyse } from './walker/find';
import { forgetSortedGraphs, installBlock, installFrozen, type Undo } from './walker/install';
import { verifyInstalled } from './walker/verify';
import { NOTHING_RECOMPUTABLE, type Recomputable } from './walker/wiring';

/**
 * - `train`: exactly what tfjs-layers does: batch statistics, moving statistics updated.
 * - `eval`: every BN uses its moving statistics and never writes them; γ and β train.
 * - `tune`: as `eval`, with each paired BN folded into its conv inside every pass: the same numbers, cheaper.
 */
export type Mode = 'train' | 'eval' | 'tune';

const MODES: readonly Mode[] = ['train', 'eval', 'tune'];

/** What a BN that is not in train mode is switched to, and the undoing. `block` is null where it is not paired. */
interface Installed {
  mode: Mode;
  block: Block | null;
  recomputable: Recomputable;
  undo: Undo;
}

const installed = new WeakMap<BatchNormLayer, Installed>();

/** The mode of models without any BN, which nothing else remembers. */
const modeWithoutBatchNorm = new WeakMap<LayersModel, Mode>();

/**
 * Switches a model to Tune mode, in place: `setMode(model, 'tune', options)`.
 *
 * ```ts
 * const model = await tf.loadLayersModel(url);
 * console.log(enableTuneMode(model).toString());
 * model.compile({ optimizer: tf.train.adam(1e-4), loss: 'categoricalCrossentropy' });
 * await model.fit(x, y);
 * ```
 *
 * @returns What was paired, and every BN that was left alone and why.
 * @throws TuneModeError as `setMode`.
 */
export function enableTuneMode(model: LayersModel, options?: TuneOptions): TuneReport {
  return switchMode('enableTuneMode', model, 'tune', options);
}

/**
 * Switches a model between `train`, `eval` and `tune`, in place and at any time, without recompiling: weights, layers,
 * topology and optimizer state stay. Layers that other models share switch for those too: which of them are paired is
 * decided by the model that was switched last (the numbers are the same either way).
 *
 * @param model Any built tfjs-layers model; nested models are switched with it.
 * @param options Which blocks are paired, and whether they take in their activation. Used by `tune`; in the other modes
 *     they only shape the report.
 * @throws TuneModeError `invalid-mode`, `invalid-option`, `not-a-layers-model`, `model-not-built`, `model-disposed`;
 *     `broken-invariant` after putting the model back as it was.
 */
export function setMode(model: LayersModel, mode: Mode, options?: TuneOptions): TuneReport {
  if (!MODES.includes(mode)) {
    throw new TuneModeError(
      'invalid-mode',
      `Mode ${JSON.stringify(mode)} does not exist. Use 'train', 'eval' or 'tune'.`,
    );
  }
  return switchMode('setMode', model, mode, options);
}

/**
 * The mode of a model: `tune` if any of its BNs is in Tune mode, else `eval` if any is in Eval mode, else `train`.
 * A BN added to a model after it was switched is in Train mode until the model is switched again.
 * @throws TuneModeError `not-a-layers-model`, `model-not-built`, `model-disposed`.
 */
export function getMode(model: LayersModel): Mode {
  return modeOf(model, analyseChecked('getMode', model));
}

/**
 * What `enableTuneMode` would pair, and what not and why. Changes nothing.
 * @throws TuneModeError `invalid-option`, `not-a-layers-model`, `model-not-built`, `model-disposed`.
 */
export function inspect(model: LayersModel, options?: TuneOptions): TuneReport {
  const analysis = analyseChecked('inspect', model, options);
  return makeReport(modeOf(model, analysis), analysis);
}

function modeOf(model: LayersModel, { batchNorms }: Analysis): Mode {
  if (batchNorms.length === 0) return modeWithoutBatchNorm.get(model) ?? 'train';
  const modes = new Set(batchNorms.map((bn) => installed.get(bn)?.mode ?? 'train'));
  return modes.has('tune') ? 'tune' : modes.has('eval') ? 'eval' : 'train';
}

function switchMode(where: string, model: LayersModel, mode: Mode, options?: TuneOptions): TuneReport {
  const analysis = analyseChecked(where, model, options);
  const before = analysis.batchNorms.map((bn): [BatchNormLayer, Installed | undefined] => [bn, installed.get(bn)]);
  try {
    for (const bn of analysis.batchNorms)
      switchTo(bn, mode, mode === 'tune' ? blockOf(analysis, bn) : null, analysis.recomputable);
    verifyInstalled(analysis, mode);
  } catch (error) {
    for (const [bn, was] of before) {
      switchTo(bn, was?.mode ?? 'train', was?.block ?? null, was?.recomputable ?? NOTHING_RECOMPUTABLE);
    }
    throw error;
  } finally {
    forgetSortedGraphs();
  }
  if (analysis.batchNorms.length === 0) modeWithoutBatchNorm.set(model, mode);
  return makeReport(mode, analysis);
}

function switchTo(bn: BatchNormLayer, mode: Mode, block: Block | null, recomputable: Recomputable): void {
  installed.get(bn)?.undo();
  installed.delete(bn);
  if (mode === 'train') return;
  const undos = [installFrozen(bn)];
  const undo = () => {
    for (const each of undos.splice(0).reverse()) each();
  };
  installed.set(bn, { mode, block, recomputable, undo });
  if (block !== null) undos.push(installBlock(block, recomputable));
}

function blockOf(analysis: Analysis, bn: BatchNormLayer): Block | null {
  return analysis.pairs.find((pair) => pair.bn === bn)?.block ?? null;
}

function analyseChecked(where: string, model: LayersModel, options?: TuneOptions): Analysis {
  checkTuneOptions(where, options);
  checkModel(where, model);
  return analyse(model, options);
}
