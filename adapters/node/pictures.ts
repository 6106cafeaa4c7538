import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { pictureReader } from './decode-pool';
import { PictureDataset } from './picture-dataset';
import { findPictures } from './picture-files';
import {
  FOLDER_OPTIONS,
  PICTURE_OPTIONS,
  type PictureFolderOptions,
  type PictureOptions,
  resolveOptions,
  type SkippedPicture,
} from './picture-options';
import { PictureSource } from './picture-source';
import { formed, type PictureForm, readPicture } from './read-picture';
import { decodeShrunk } from './shrink';
import { SkipLog } from './skip-log';

/** What `loadPictureFolder` found. */
export interface PictureFolder {
  /** The class folders' names in code-unit order, or as the option says; their index is the label. */
  classNames: string[];
  /** In a new order every epoch. */
  train: PictureDataset;
  /** Always in the same order; empty with `validationSplit: 0`. */
  val: PictureDataset;
  /** Pictures found unreadable so far, in either set; it grows as batches are read. */
  skipped: readonly SkippedPicture[];
  /**
   * Ends the threads and removes the copies on disk; a pass that is still running fails. Optional: threads end by
   * themselves when nothing has been read for half a minute, and keep no process alive. A later pass starts anew.
   */
  close(): Promise<void>;
}

/**
 * Makes two streams of batches, to train and to validate on, from a folder of pictures:
 * `folder/<class>/*.{jpg,jpeg,png}`, or `folder/train/<class>/…` and `folder/val/<class>/…`.
 *
 * Nothing is decoded yet. Once a pass has begun, other threads decode ahead, beside the training: at most two batches
 * more than the one that is used, so memory does not grow with the number of pictures.
 * The split, the order and the augmentation of every epoch depend on `seed` and the files' names alone. An unreadable picture is
 * reported once, skipped and listed in `skipped`. Files that are no pictures are ignored.
 *
 * ```ts
 * const { train, val, classNames } = await loadPictureFolder('flowers', { batchSize: 16 });
 * await model.fitDataset(train, { epochs: 5, validationData: val });
 * ```
 *
 * `fitDataset` must be called without `batchesPerEpoch`, as each iterator is one epoch.
 * @throws TuneModeError `not-found` for a missing folder, `invalid-data` for fewer than two classes, a class without
 * pictures, or others than `classNames`, or (while reading) a set in which no picture can be read; `unsupported` (while
 * reading) where no thread can be started, `invalid-option`.
 */
export async function loadPictureFolder(folder: string, options?: PictureFolderOptions): Promise<PictureFolder> {
  const resolved = resolveOptions('loadPictureFolder', options, FOLDER_OPTIONS);
  checkString('loadPictureFolder', 'folder', folder);
  const { validationSplit, seed, workers } = resolved;
  const { classNames, train, val } = await findPictures(folder, validationSplit, seed, resolved.classNames);
  const skips = new SkipLog(resolved.onSkip, resolved.skip);
  const source = new PictureSource(resolved, pictureReader(workers));
  return {
    classNames,
    train: new PictureDataset(train, classNames, resolved, skips, source, true),
    val: new PictureDataset(val, classNames, resolved, skips, source, false),
    skipped: skips.list,
    close: () => source.close(),
  };
}

/**
 * Decodes one JPEG or PNG picture: turned upright as its EXIF block says, scaled to cover `imageSize`, cut to it around
 * the centre, RGB or grey, in `inputRange`. Transparent parts become white. The caller disposes the tensor.
 * @param bytes the file's bytes (a Buffer will do).
 * @returns float32 [height, width, channels].
 * @throws TuneModeError `invalid-data` saying why it cannot be decoded, `invalid-option`.
 */
export function decodePicture(bytes: Uint8Array, options?: PictureOptions): tf.Tensor3D {
  const resolved = resolveOptions('decodePicture', options, PICTURE_OPTIONS);
  // Not instanceof, which fails for arrays from another realm (jest, vm).
  if (!ArrayBuffer.isView(bytes) || bytes.BYTES_PER_ELEMENT !== 1) {
    throw new TuneModeError('invalid-data', "decodePicture: expected the file's bytes as a Uint8Array or Buffer.");
  }
  try {
    return toTensor(formed(decodeShrunk(bytes, resolved.size), resolved), resolved);
  } catch (error) {
    if (!(error instanceof TuneModeError)) throw error;
    throw new TuneModeError('invalid-data', `The picture cannot be decoded: ${error.message}.`, { cause: error });
  }
}

/**
 * Reads and decodes one picture file, as `decodePicture` does.
 * @returns float32 [height, width, channels]; the caller disposes it.
 * @throws TuneModeError `invalid-data` naming the file and saying why it cannot be read, `not-found`, `invalid-option`.
 */
export async function loadPicture(file: string, options?: PictureOptions): Promise<tf.Tensor3D> {
  const resolved = resolveOptions('loadPicture', options, PICTURE_OPTIONS);
  checkString('loadPicture', 'file', file);
  const { size, inputRange, channels } = resolved;
  const reading = await readPicture({ file, size, inputRange, channels });
  if ('pixels' in reading) return toTensor(reading.pixels, resolved);
  const missing = reading.reason.includes('(ENOENT)');
  throw new TuneModeError(
    missing ? 'not-found' : 'invalid-data',
    missing ? `There is no picture '${file}'.` : `'${file}' is no readable picture: ${reading.reason}.`,
  );
}

function toTensor(pixels: Float32Array, { size, channels }: PictureForm): tf.Tensor3D {
  return tf.tensor3d(pixels, [size[0], size[1], channels], 'float32');
}

function checkString(where: string, name: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') {
    throw new TuneModeError('invalid-option', `${where}: '${name}' must be a path; found ${JSON.stringify(value)}.`);
  }
}
