/** What a run writes down about itself, and gives back. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { TuneReport } from '../report';
import type { Evaluation } from './evaluate';

/** One epoch. Epoch 0 is the state after the head alone was trained, before any other layer has changed. */
export interface EpochRecord {
  epoch: number;
  /** Mean training loss, with label smoothing and augmentation; null for epoch 0. */
  loss: number | null;
  /** Share of training pictures (as augmented) that were right, 0…1; null for epoch 0. */
  accuracy: number | null;
  /** Mean cross-entropy on the validation pictures, without smoothing. */
  valLoss: number;
  /** 0…1 */
  valAccuracy: number;
  /** Learning rate of the epoch's last step; null for epoch 0. */
  learningRate: number | null;
  /** Training and validation together. */
  seconds: number;
  /** Training pictures per second of training time; null for epoch 0. */
  picturesPerSecond: number | null;
  /** Median of the epoch's training steps; null for epoch 0. */
  msPerStep: number | null;
  /** Share of the training time spent waiting for pictures, 0…1; null for epoch 0. */
  waiting: number | null;
}

/** A rate that the range test tried, and the loss that it led to. */
export interface RatePoint {
  learningRate: number;
  loss: number;
}

/** Why a run came to its end. */
export type Ending = 'finished' | 'early-stop' | 'interrupted' | 'diverged';

export interface FineTuneResult {
  /** Pictures → class probabilities, with the best epoch's weights, in the mode it was trained in. */
  model: LayersModel;
  /** One sentence: where the net was cut, and what head it has. */
  head: string;
  /** Epoch 0 is the head alone. */
  history: EpochRecord[];
  /** The epoch whose weights the model has: the most accurate one, of equals the one with the lowest loss. */
  bestEpoch: number;
  ending: Ending;
  /** After `diverged`: a rate that is worth a try. */
  advisedLearningRate?: number;
  learningRate: number;
  /** null where the rate was given. */
  rateTest: RatePoint[] | null;
  /** The validation pictures with the best epoch's weights; null where the run was interrupted before. */
  validation: Evaluation | null;
  blocks: TuneReport;
  /** Seconds for the features and the head. */
  headSeconds: number;
  /** What a training step needs above what was alive before, in bytes of tensors; null where no step was taken. */
  peakBytes: number | null;
}
