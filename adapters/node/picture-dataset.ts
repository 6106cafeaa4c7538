import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { shuffled } from '../../src/random';
import type { Picture } from './picture-files';
import type { ResolvedOptions } from './picture-options';
import { readPictureInto } from './read-picture';
import type { SkipLog } from './skip-log';

/** One batch. Whoever takes it disposes `xs` and `ys`; `fitDataset` and `evaluateDataset` do so themselves. */
export interface PictureBatch {
  /** float32 [batch, height, width, 3] in the input range. */
  xs: tf.Tensor4D;
  /** float32 [batch, classes], one-hot. */
  ys: tf.Tensor2D;
  /** The pictures' files, in the order of the batch. */
  files: string[];
}

/**
 * Pictures as a stream of batches, for `model.fitDataset`, `model.evaluateDataset` or `for await`:
 *
 * ```ts
 * for await (const { xs, ys, files } of val) { …; tf.dispose([xs, ys]); }
 * ```
 *
 * A batch is decoded when it is asked for; between two calls nothing is kept but the list of files, so an iterator may
 * be left at any time. Unreadable pictures are skipped and the batch is filled up with the next ones.
 */
export class PictureDataset {
  /** Number of the epoch that the next iterator will run through. It fixes the order; set it to go on after a stop. */
  epoch = 0;

  /** Made by `loadPictureFolder`. */
  constructor(
    /** All pictures of this set in their fixed order, with the index of their class. */
    readonly pictures: readonly Picture[],
    readonly classNames: readonly string[],
    private readonly options: ResolvedOptions,
    private readonly skips: SkipLog,
    /** Whether every epoch has an order of its own. */
    private readonly shuffle: boolean,
  ) {}

  /** Batches in an epoch; pictures known to be unreadable do not count. */
  get size(): number {
    return Math.ceil(this.readable(this.pictures).length / this.options.batchSize);
  }

  /**
   * One epoch. The epoch begins with the first `next()`: `fitDataset` (4.22.0) makes one iterator that it never reads,
   * which must not use up an order.
   */
  iterator(): Promise<AsyncGenerator<PictureBatch, void, undefined>> {
    return Promise.resolve(this.batches());
  }

  [Symbol.asyncIterator](): AsyncGenerator<PictureBatch, void, undefined> {
    return this.batches();
  }

  private async *batches(): AsyncGenerator<PictureBatch, void, undefined> {
    const epoch = this.epoch++;
    // Shuffle first and leave out later, so that finding a bad picture does not change the order of the others.
    const order = this.shuffle ? shuffled(this.pictures, `${this.options.seed}:epoch:${epoch}`) : this.pictures;
    const queue = this.readable(order);
    const skippedBefore = this.skips.list.length;
    let taken = 0;
    let delivered = 0;
    while (taken < queue.length) {
      const batch = new BatchBuilder(
        Math.min(this.options.batchSize, queue.length - taken),
        this.classNames,
        this.options,
      );
      while (!batch.full && taken < queue.length) {
        const picture = queue[taken++];
        const reason = await batch.add(picture);
        if (reason !== undefined) this.skips.add(picture.file, reason);
      }
      if (batch.count === 0) break;
      delivered += batch.count;
      yield batch.toTensors();
    }
    if (this.skips.list.length > skippedBefore) this.skips.sum(this.pictures);
    if (delivered === 0 && this.pictures.length > 0) {
      const { file, reason } = this.skips.list[0];
      throw new TuneModeError(
        'invalid-data',
        `None of the ${this.pictures.length} pictures could be read; the first one, '${file}': ${reason}.`,
      );
    }
  }

  private readable(pictures: readonly Picture[]): readonly Picture[] {
    return pictures.filter(({ file }) => !this.skips.has(file));
  }
}

/** Collects decoded pictures in plain memory, and makes tensors of them in one go. */
class BatchBuilder {
  private readonly files: string[] = [];
  private readonly pixels: Float32Array;
  private readonly oneHot: Float32Array;

  constructor(
    private readonly capacity: number,
    private readonly classNames: readonly string[],
    private readonly options: ResolvedOptions,
  ) {
    // A new array for every batch: the cpu backend keeps the very array that a tensor was made of.
    this.pixels = new Float32Array(capacity * this.pixelsPerPicture);
    this.oneHot = new Float32Array(capacity * classNames.length);
  }

  get count(): number {
    return this.files.length;
  }

  get full(): boolean {
    return this.count === this.capacity;
  }

  /** @returns why the picture could not be read, or undefined when it was added. */
  async add({ file, label }: Picture): Promise<string | undefined> {
    const offset = this.count * this.pixelsPerPicture;
    const reason = await readPictureInto(file, this.options, this.pixels, offset);
    if (reason !== undefined) return reason;
    this.oneHot[this.count * this.classNames.length + label] = 1;
    this.files.push(file);
    return undefined;
  }

  toTensors(): PictureBatch {
    const [height, width] = this.options.size;
    const classes = this.classNames.length;
    const pixels = this.full ? this.pixels : this.pixels.slice(0, this.count * this.pixelsPerPicture);
    const oneHot = this.full ? this.oneHot : this.oneHot.slice(0, this.count * classes);
    return {
      xs: tf.tensor4d(pixels, [this.count, height, width, 3], 'float32'),
      ys: tf.tensor2d(oneHot, [this.count, classes], 'float32'),
      files: this.files,
    };
  }

  private get pixelsPerPicture(): number {
    return this.options.size[0] * this.options.size[1] * 3;
  }
}
