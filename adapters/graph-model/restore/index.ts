/** BatchNormalizations that a deployed model has lost, put back. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { type LiftedModel, makeLiftReport } from '../lifted';
import type { CalibrationData } from './calibration';
import type { RestoreOptions } from './options';
import type { RestoreReport } from './report';
import { type Restored, restoreLayers } from './restore-layers';

export type { CalibrationBatch, CalibrationData } from './calibration';
export type { RestoreOptions } from './options';
export type { RestoredConv, RestoreReport } from './report';
export type { Restored } from './restore-layers';
export type { ScaleRule } from './rules';

export interface RestoredLiftedModel extends LiftedModel {
  restored: RestoreReport;
}

/**
 * A new model with a BatchNormalization behind every convolution into which one was folded: the same outputs in Eval, Tune
 * and Deploy, to float32 rounding; in Train mode batch statistics near the stored ones on pictures like the given; and a
 * training as stable as that of a model that never lost its BNs (figures: `npm run bench:restore`).
 *
 * Convolutions without bias, those that a BN follows already, and those that make predictions (an output is reached
 * without another layer with weights, or an activation such as relu) are left alone; the report says which and why. An
 * activation inside a convolution becomes a layer behind the BN. In a lifted graph, BNs of which only s was known get
 * statistics, and those that had their own keep them.
 *
 * Mean and variance are taken from `calibration`, tens of pictures, prepared as for prediction; without it from pictures
 * of noise (with the spectrum of photographs, the same in every run, in `inputRange`), whose deviations are a tenth to a
 * third smaller in the nets measured: pass pictures where there are any. They run through
 * the net in batches of at most 8, and of each layer's output only the sums are kept.
 *
 * @param model A LayersModel, in any mode, or what `liftGraphModel` gave. It stays as it is; its weights are copied.
 * @returns A model in Tune mode. Dispose both when done.
 * @throws TuneModeError `invalid-option`; `not-a-layers-model`, `model-not-built`, `model-disposed`; `unsupported` where
 *     somebody has replaced the `call` of a layer; `invalid-data` for calibration data that do not fit the model, have NaN
 *     or infinite values, or hold no picture.
 */
export async function restoreBatchNorm(
  model: LiftedModel,
  calibration?: CalibrationData,
  options?: RestoreOptions,
): Promise<RestoredLiftedModel>;
export async function restoreBatchNorm(
  model: LayersModel,
  calibration?: CalibrationData,
  options?: RestoreOptions,
): Promise<Restored>;
export async function restoreBatchNorm(
  source: LiftedModel | LayersModel,
  calibration?: CalibrationData,
  options?: RestoreOptions,
): Promise<RestoredLiftedModel | Restored> {
  if (!isLifted(source)) {
    const { model, report } = await restoreLayers(source, calibration, options);
    return { model, report };
  }
  // With Mul and Add, s is known, but not the statistics that it came from.
  const affine = [
    ...source.products.filter(({ form }) => form === 'affine').map(({ batchNorm }) => batchNorm),
    ...source.parameters.filter(({ kind }) => kind === 'affine').map(({ layer }) => layer),
  ].filter((name) => name !== null);
  const { model, report, restored } = await restoreLayers(source.model, calibration, options, new Set(affine));
  const products = source.products.map((product) => {
    const found = restored.get(product.layer);
    return found === undefined ? product : { ...product, layer: found.conv, batchNorm: found.bn };
  });
  const { nodes, ownLayers } = source.report;
  return { ...source, model, products, report: makeLiftReport(nodes, products, ownLayers), restored: report };
}

function isLifted(source: LiftedModel | LayersModel): source is LiftedModel {
  return Array.isArray((source as LiftedModel | null)?.products);
}
