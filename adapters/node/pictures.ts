import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { decodeRgb } from './decode';
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
import { readPictureInto } from './read-picture';
import { resizeCover } from './resize';
import { SkipLog } from './skip-log';

/** What `loadPictureFolder` found. */
export interface PictureFolder {
  /** The class folders' names in code-unit order; their index is the label. */
  classNames: string[];
  /** In a new order every epoch. */
  train: PictureDataset;
  /** Always in the same order; empty with `validationSplit: 0`. */
  val: PictureDataset;
  /** Pictures found unreadable so far, in either set; it grows as batches are read. */
  skipped: readonly SkippedPicture[];
}

/**
 * Makes two streams of batches, to train and to validate on, from a folder of pictures:
 * `folder/<class>/*.{jpg,jpeg,png}`, or `folder/train/<class>/…` and `folder/val/<class>/…`.
 *
 * Nothing is decoded yet; each batch is, when it is asked for, so memory does not grow with the number of pictures.
 * The split and the order of every epoch depend on `seed` and the files' names alone. An unreadable picture is
 * reported once, skipped and listed in `skipped`. Files that are no pictures are ignored.
 *
 * ```ts
 * const { train, val, classNames } = await loadPictureFolder('flowers', { batchSize: 16 });
 * await model.fitDataset(train, { epochs: 5, validationData: val });
 * ```
 *
 * `fitDataset` must be called without `batchesPerEpoch`, as each iterator is one epoch.
 * @throws TuneModeError `not-found` for a missing folder, `invalid-data` for fewer than two classes, a class without
 * pictures, or (while reading) a set in which no picture can be read, `invalid-option`.
 */
export async function loadPictureFolder(folder: string, options?: PictureFolderOptions): Promise<PictureFolder> {
  const resolved = resolveOptions('loadPictureFolder', options, FOLDER_OPTIONS);
  checkString('loadPictureFolder', 'folder', folder);
  const { classNames, train, val } = await findPictures(folder, resolved.validationSplit, resolved.seed);
  const skips = new SkipLog(resolved.onSkip);
  return {
    classNames,
    train: new PictureDataset(train, classNames, resolved, skips, true),
    val: new PictureDataset(val, classNames, resolved, skips, false),
    skipped: skips.list,
  };
}

/**
 * Decodes one JPEG or PNG picture: scaled to cover `imageSize`, cut to it around the centre, RGB, in `inputRange`.
 * Transparent parts become white. The caller disposes the tensor.
 * @param bytes the file's bytes (a Buffer will do).
 * @returns float32 [height, width, 3].
 * @throws TuneModeError `invalid-data` saying why it cannot be decoded, `invalid-option`.
 */
export function decodePicture(bytes: Uint8Array, options?: PictureOptions): tf.Tensor3D {
  const { size, inputRange } = resolveOptions('decodePicture', options, PICTURE_OPTIONS);
  // Not instanceof, which fails for arrays from another realm (jest, vm).
  if (!ArrayBuffer.isView(bytes) || bytes.BYTES_PER_ELEMENT !== 1) {
    throw new TuneModeError('invalid-data', "decodePicture: expected the file's bytes as a Uint8Array or Buffer.");
  }
  const out = new Float32Array(size[0] * size[1] * 3);
  try {
    resizeCover(decodeRgb(bytes), size[0], size[1], inputRange, out, 0);
  } catch (error) {
    if (!(error instanceof TuneModeError)) throw error;
    throw new TuneModeError('invalid-data', `The picture cannot be decoded: ${error.message}.`, { cause: error });
  }
  return tf.tensor3d(out, [size[0], size[1], 3], 'float32');
}

/**
 * Reads and decodes one picture file, as `decodePicture` does.
 * @returns float32 [height, width, 3]; the caller disposes it.
 * @throws TuneModeError `invalid-data` naming the file and saying why it cannot be read, `not-found`, `invalid-option`.
 */
export async function loadPicture(file: string, options?: PictureOptions): Promise<tf.Tensor3D> {
  const resolved = resolveOptions('loadPicture', options, PICTURE_OPTIONS);
  checkString('loadPicture', 'file', file);
  const [height, width] = resolved.size;
  const out = new Float32Array(height * width * 3);
  const reason = await readPictureInto(file, resolved, out, 0);
  if (reason !== undefined) {
    const missing = reason.includes('(ENOENT)');
    throw new TuneModeError(
      missing ? 'not-found' : 'invalid-data',
      missing ? `There is no picture '${file}'.` : `'${file}' is no readable picture: ${reason}.`,
    );
  }
  return tf.tensor3d(out, [height, width, 3], 'float32');
}

function checkString(where: string, name: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') {
    throw new TuneModeError('invalid-option', `${where}: '${name}' must be a path; found ${JSON.stringify(value)}.`);
  }
}
