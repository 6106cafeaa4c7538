/** What a run writes down about itself. */

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
