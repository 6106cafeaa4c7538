/** tfjs-tune-mode/fine-tune: from a pretrained model and pictures to a tuned model. */
export type { Batch, BatchSource, FineTuneData, Pass, TensorData } from './data';
export type { Evaluation, Mistake } from './evaluate';
export { fineTune } from './fine-tune';
export type { Ending, EpochRecord, FineTuneResult, RatePoint } from './history';
export type { OptimizerName } from './optimizer';
export type { FineTuneOptions, Progress } from './options';
