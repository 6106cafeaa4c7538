/** What `fineTune` trains on. */
import type { Tensor2D, Tensor4D } from '@tensorflow/tfjs-core';

/** Some pictures with their classes. Whoever takes it disposes `xs` and `ys`. */
export interface Batch {
  /** float32 [batch, height, width, channels] in the model's input range. */
  xs: Tensor4D;
  /** float32 [batch, classes], one-hot. */
  ys: Tensor2D;
  /** Names of the pictures, in the order of the batch, for reports. */
  files?: readonly string[];
}

/** How to run once through the pictures. */
export interface Pass {
  /** Which epoch it is: it fixes the order and the augmentation. */
  epoch: number;
  /** Whether the order is that epoch's own; else it is the same in every pass. */
  shuffle: boolean;
  /** Whether the pictures are changed at random, in a way that the epoch fixes. */
  augment: boolean;
}

/** A set of pictures that can be run through again and again; `PictureDataset` of the Node entry is one. */
export interface BatchSource {
  /** Batches in a pass, as far as is known. */
  readonly size: number;
  /** One pass; it may be left at any time. The same pass gives the same batches, bit for bit. */
  batches(pass: Pass): AsyncIterable<Batch>;
}

/** Pictures that are in memory already. */
export interface TensorData {
  /** float32 [count, height, width, channels] in the model's input range. */
  xs: Tensor4D;
  /** float32 [count, classes], one-hot. */
  ys: Tensor2D;
}

/** What to train on; what `loadPictureFolder` gives is one. */
export interface FineTuneData {
  /** Their order is that of the labels. */
  classNames: readonly string[];
  train: BatchSource | TensorData;
  /** Chooses the best epoch; not trained on. */
  val: BatchSource | TensorData;
}
