/** tfjs-tune-mode/fine-tune: from a pretrained model and pictures to a tuned model. */
export type { Batch, BatchSource, Pass } from './data';
export type { Evaluation, Mistake } from './evaluate';
export { type FineTuneData, type FineTuneResult, fineTune } from './fine-tune';
export type { Ending, EpochRecord, RatePoint } from './history';
export type { OptimizerName } from './optimizer';
export type { FineTuneOptions, Progress } from './options';
export type { TensorData } from './tensor-source';
