/** tfjs-tune-mode/graph-model: GraphModels made trainable, and written back. */
export { GraphOperation } from './graph-operation';
export { type LiftOptions, liftGraphModel } from './lift';
export type { ConvForm, LiftedModel, LiftedParameter, LiftedProduct, LiftReport, NodeReport } from './lifted';
export type { GraphSource } from './read';
export {
  type CalibrationBatch,
  type CalibrationData,
  type Restored,
  type RestoredConv,
  type RestoredLiftedModel,
  type RestoreOptions,
  type RestoreReport,
  restoreBatchNorm,
  type ScaleRule,
} from './restore';
export { saveGraphModel, toGraphModel, type WriteBackOptions } from './write-back';
