/** Writes what Keras reads: the `.h5` file of a whole model. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { util } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../../src/errors';
import { type H5Failure, H5Thread } from './h5-thread';
import { type ModelWeight, partsOf, weightsOf } from './model-parts';
import { SLICE_BYTES, slices } from './stored-weight';

interface WeightToWrite {
  name: string;
  shape: number[];
  dtype: 'float32' | 'int32' | 'bool';
  read(): Promise<ArrayLike<number>> | ArrayLike<number>;
}

interface LayerToWrite {
  name: string;
  weights: WeightToWrite[];
}

interface KerasH5Content {
  config: object;
  kerasVersion: string;
  layers: LayerToWrite[];
}

/** HDF5 keeps attributes in headers of 64 kB: the length at which Keras cuts lists of names. */
const LONGEST_LIST = 64512;

/**
 * Writes a Keras .h5 to a path that does not exist yet, one weight in memory at a time; after a failure there is none.
 * @throws TuneModeError `invalid-option` for what cannot be written, `unsupported` where writing fails.
 */
export async function writeKerasH5(file: string, content: KerasH5Content): Promise<void> {
  checkNames(content.layers);
  const target = path.resolve(file);
  // Taken here, so that what is removed after a failure is ours, not somebody's file of that name.
  await fs.access(target).then(
    () => {
      throw failed(file, 'it exists already');
    },
    () => {},
  );
  const thread = await H5Thread.start(target);
  const writer = new Writer(file, thread);
  try {
    await writer.write(content);
  } catch (error) {
    await thread.close();
    if (writer.isOurs) await fs.rm(target, { force: true });
    throw error;
  }
  await thread.close();
}

class Writer {
  isOurs = false;
  private readonly groups = new Set(['']);

  constructor(
    private readonly file: string,
    private readonly thread: H5Thread,
  ) {}

  async write({ config, kerasVersion, layers }: KerasH5Content): Promise<void> {
    this.call('open', [4]); // H5F_ACC_EXCL: never over a file that is there
    this.isOurs = true;
    const root = 'model_weights';
    this.text('', 'backend', 'tensorflow');
    this.text('', 'keras_version', kerasVersion);
    this.text('', 'model_config', JSON.stringify(config));
    this.group(root);
    this.text(root, 'backend', 'tensorflow');
    this.text(root, 'keras_version', kerasVersion);
    this.list(
      root,
      'layer_names',
      layers.map(({ name }) => name),
    );
    // As Keras does it: a name that begins with another one and a slash comes after it.
    for (const { name, weights } of [...layers].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const group = `${root}/${name}`;
      this.group(group);
      this.list(
        group,
        'weight_names',
        weights.map((weight) => weight.name),
      );
      for (const weight of weights) await this.weight(`${group}/${weight.name}`, weight);
    }
    this.group(`${root}/top_level_model_weights`);
    this.list(`${root}/top_level_model_weights`, 'weight_names', []);
    this.call('close', []);
  }

  private async weight(at: string, { name, shape, dtype, read }: WeightToWrite): Promise<void> {
    const values = await read();
    const length = util.sizeFromShape(shape);
    if (values.length !== length) {
      throw failed(this.file, `the weight '${name}' has ${values.length} numbers, expected ${length}`);
    }
    this.group(at.slice(0, at.lastIndexOf('/')));
    const size = dtype === 'bool' ? 1 : 4;
    this.call('dataset', [`/${at}`, dtype === 'float32' ? 1 : 0, size, shape]);
    if (length === 0) return;
    const bytesOf = (from: number, to: number): ArrayBuffer => {
      const part = ArrayBuffer.isView(values)
        ? (values as Float32Array).subarray(from, to)
        : Array.prototype.slice.call(values, from, to);
      const typed =
        dtype === 'float32' ? new Float32Array(part) : dtype === 'int32' ? new Int32Array(part) : new Uint8Array(part);
      return typed.buffer as ArrayBuffer;
    };
    let from = 0;
    for (const { offset, count } of slices(shape, SLICE_BYTES / size)) {
      const to = from + util.sizeFromShape(count);
      this.call('write', [`/${at}`, offset, count, bytesOf(from, to)]);
      from = to;
    }
  }

  /** Makes a group and those above it, unless they are there. */
  private group(at: string): void {
    if (this.groups.has(at)) return;
    if (at.includes('/')) this.group(at.slice(0, at.lastIndexOf('/')));
    this.call('group', [`/${at}`]);
    this.groups.add(at);
  }

  /** A text of any length, as h5py writes Python's bytes. */
  private text(at: string, name: string, text: string): void {
    this.call('texts', [`/${at}`, name, text]);
  }

  /** Texts of one length, as h5py writes lists of bytes. */
  private list(at: string, name: string, texts: string[]): void {
    if (texts.length === 0) {
      this.call('floats', [`/${at}`, name]); // numpy's empty list
      return;
    }
    const bytes = texts.map((text) => Buffer.from(text, 'utf8'));
    const size = Math.max(...bytes.map(({ length }) => length)) + 1;
    let pieces = 1;
    while (Math.ceil(texts.length / pieces) * size > LONGEST_LIST) pieces++;
    for (let piece = 0, from = 0; piece < pieces; piece++) {
      // Pieces differ by at most one in length, the longer ones first, as numpy's array_split makes them.
      const to = from + Math.floor(texts.length / pieces) + (piece < texts.length % pieces ? 1 : 0);
      const joined = new Uint8Array((to - from) * size);
      for (let i = from; i < to; i++) joined.set(bytes[i], (i - from) * size);
      this.call('texts', [`/${at}`, pieces === 1 ? name : `${name}${piece}`, joined.buffer, size, to - from]);
      from = to;
    }
  }

  private call(op: string, args: unknown[]): void {
    this.thread.call(op, args, ({ told, reason }: H5Failure) =>
      failed(this.file, reason || told || 'HDF5 says no more'),
    );
  }
}

function checkNames(layers: LayerToWrite[]): void {
  const bad = (name: string) => name === '' || /\0|^\/|\/$|\/\/|^\.{1,2}$|(^|\/)\.{1,2}(\/|$)/.test(name);
  const wrong = (what: string) =>
    new TuneModeError('invalid-option', `${what} Keras and HDF5 cannot store it; rename it.`);
  const twice = (names: string[]) => names.find((name, i) => names.indexOf(name) !== i);
  const names = layers.map(({ name }) => name);
  const double = twice(names);
  if (double !== undefined) throw wrong(`Two layers have the name '${double}'.`);
  for (const { name, weights } of layers) {
    if (bad(name) || name === 'top_level_model_weights') throw wrong(`A layer has the name '${name}'.`);
    const weightNames = weights.map((weight) => weight.name);
    const badName = weightNames.find((weight) => bad(weight) || Buffer.byteLength(weight) >= LONGEST_LIST);
    if (badName !== undefined) throw wrong(`A weight of the layer '${name}' has the name '${badName.slice(0, 100)}'.`);
    const same = twice(weightNames);
    if (same !== undefined) throw wrong(`Two weights of the layer '${name}' have the name '${same}'.`);
  }
}

function failed(file: string, why: string): TuneModeError {
  return new TuneModeError('unsupported', `'${file}' cannot be written: ${why}.`);
}

/**
 * The `layers` of `writeKerasH5` for a built model: all of them, also those without weights; nested models' weights
 * under the outer layer, trainable ones first.
 */
export function kerasLayersOf(model: LayersModel): LayerToWrite[] {
  const parts = new Map(partsOf(model).map((part) => [part.name, part]));
  return model.layers.map(({ name }) => {
    const part = parts.get(name);
    const used = new Set<string>();
    const weights = part ? weightsOf(part) : [];
    return { name, weights: weights.map(({ weight, path: at }) => toWrite(weight, at, used)) };
  });
}

function toWrite(weight: ModelWeight, at: string[], used: Set<string>): WeightToWrite {
  const { originalName, shape } = weight;
  // Names of nested models' layers may be the same in two of them: then the way to them tells them apart.
  const ways = [originalName, ...at.map((_, i) => [...at.slice(at.length - 1 - i), lastStep(originalName)].join('/'))];
  let name = ways.find((way) => !used.has(way)) ?? originalName;
  for (let i = 1; used.has(name); i++) name = `${originalName}_${i}`;
  used.add(name);
  return {
    name: `${name}:0`,
    shape: shape as number[],
    dtype: weight.dtype === 'int32' || weight.dtype === 'bool' ? weight.dtype : 'float32',
    read: () => weight.read().data(),
  };
}

function lastStep(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}
