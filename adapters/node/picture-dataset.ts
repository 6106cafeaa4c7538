import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { drawAugmentation } from '../../src/fine-tune/augmentation';
import type { Batch, BatchSource, Pass } from '../../src/fine-tune/data';
import { shuffled } from '../../src/random';
import type { Picture } from './picture-files';
import type { ResolvedOptions } from './picture-options';
import type { PassPicture, PictureSource } from './picture-source';
import type { SkipLog } from './skip-log';

/** One batch. Whoever takes it disposes `xs` and `ys`; `fitDataset` and `evaluateDataset` do so themselves. */
export interface PictureBatch extends Batch {
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
 * Once the first batch has been asked for, the next two are decoded by other threads while it is used. An iterator may
 * be left at any time. Unreadable pictures are skipped and the batch is filled up with the next ones.
 */
export class PictureDataset implements BatchSource {
  /**
   * Number of the epoch that the next iterator will run through. It fixes the order and the augmentation; set it to go
   * on after a stop. `batches` does not touch it.
   */
  epoch = 0;

  /** Made by `loadPictureFolder`. */
  constructor(
    /** All pictures of this set in their fixed order, with the index of their class. */
    readonly pictures: readonly Picture[],
    readonly classNames: readonly string[],
    private readonly options: ResolvedOptions,
    private readonly skips: SkipLog,
    private readonly source: PictureSource,
    /** Whether every epoch of `iterator()` has an order of its own and, if asked for, changes the pictures. */
    private readonly isTrain: boolean,
  ) {}

  /** Pictures in an epoch; those known to be unreadable do not count. */
  get count(): number {
    return this.pictures.filter(({ file }) => !this.skips.has(file)).length;
  }

  /** Batches in an epoch; pictures known to be unreadable do not count. */
  get size(): number {
    return Math.ceil(this.count / this.options.batchSize);
  }

  /**
   * One epoch. The epoch begins with the first `next()`: `fitDataset` (4.22.0) makes one iterator that it never reads,
   * which must not use up an order.
   */
  iterator(): Promise<AsyncGenerator<PictureBatch, void, undefined>> {
    return Promise.resolve(this.ownEpoch());
  }

  [Symbol.asyncIterator](): AsyncGenerator<PictureBatch, void, undefined> {
    return this.ownEpoch();
  }

  /**
   * One pass, as `fineTune` asks for it. The same pass gives the same batches, bit for bit, on however many threads.
   * @throws TuneModeError `invalid-data` if no picture can be read, `unsupported` if no thread can be started.
   */
  async *batches(pass: Pass): AsyncGenerator<PictureBatch, void, undefined> {
    const skippedBefore = this.skips.list.length;
    const reading = this.source.pass(this.inOrder(pass));
    let delivered = 0;
    try {
      while (reading.left > 0) {
        const batch = new BatchBuilder(Math.min(this.options.batchSize, reading.left), this.classNames, this.options);
        while (!batch.full && reading.left > 0) {
          const { picture, reading: found } = await reading.take();
          if ('pixels' in found) batch.add(picture, found.pixels);
          else this.skips.add(picture.file, found.reason);
        }
        if (batch.count === 0) break;
        delivered += batch.count;
        reading.askAhead(); // whoever takes the batch will block this thread
        yield batch.toTensors();
      }
    } finally {
      reading.leave();
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

  private async *ownEpoch(): AsyncGenerator<PictureBatch, void, undefined> {
    yield* this.batches({
      epoch: this.epoch++,
      shuffle: this.isTrain,
      augment: this.isTrain && this.options.augment,
    });
  }

  /** The pictures of a pass that can be read as far as is known. */
  private inOrder({ epoch, shuffle, augment }: Pass): PassPicture[] {
    const { seed } = this.options;
    const all = this.pictures.map((picture, index) => {
      return { picture, change: augment ? drawAugmentation(`${seed}:augment:${epoch}:${index}`) : undefined };
    });
    // Shuffle first and leave out later, so that finding a bad picture does not change the order of the others.
    const order = shuffle ? shuffled(all, `${seed}:epoch:${epoch}`) : all;
    return order.filter(({ picture }) => !this.skips.has(picture.file));
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

  add({ file, label }: Picture, pixels: Float32Array): void {
    this.pixels.set(pixels, this.count * this.pixelsPerPicture);
    this.oneHot[this.count * this.classNames.length + label] = 1;
    this.files.push(file);
  }

  toTensors(): PictureBatch {
    const { size, channels } = this.options;
    const classes = this.classNames.length;
    const pixels = this.full ? this.pixels : this.pixels.slice(0, this.count * this.pixelsPerPicture);
    const oneHot = this.full ? this.oneHot : this.oneHot.slice(0, this.count * classes);
    return {
      xs: tf.tensor4d(pixels, [this.count, ...size, channels], 'float32'),
      ys: tf.tensor2d(oneHot, [this.count, classes], 'float32'),
      files: this.files,
    };
  }

  private get pixelsPerPicture(): number {
    const { size, channels } = this.options;
    return size[0] * size[1] * channels;
  }
}
