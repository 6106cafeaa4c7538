/** One weight of a Keras file: checked when the file is opened, read when it is asked for. */
import { util } from '@tensorflow/tfjs-core';
import type { H5Dataset, H5File } from './h5-file';

export interface StoredWeight {
  name: string;
  shape: number[];
  dtype: 'float32' | 'int32' | 'bool';
  /** As stored: `float16`, `int64` … */
  storedAs: string;
  isCompressed: boolean;
  /** Bytes that its numbers take, decompressed. */
  bytes: number;
  /** Reads this one weight alone, converted to its tfjs dtype. */
  read(): Float32Array | Int32Array | Uint8Array;
}

/** HDF5's numbers of type classes. */
const INTEGER = 0;
const FLOAT = 1;
const OPAQUE = 5;
const ENUM = 8;
const TYPE_NAMES = ['int', 'float', 'time', 'text', 'bits', 'opaque', 'compound', 'reference', 'enum', 'list', 'array'];

/** Filters that every HDF5 has: deflate (gzip), shuffle, fletcher32. */
const KNOWN_FILTERS = [1, 2, 3];
const FILTER_NAMES: Record<number, string> = { 4: 'szip', 5: 'nbit', 6: 'scaleoffset', 32000: 'lzf', 32001: 'blosc' };

/** Numbers of a declared size must be somewhere: gzip at its best makes them a thousand times smaller, weights never. */
export const BEST_RATIO = 200;
export const SLICE_BYTES = 16 * 1024 * 1024;
/** A chunk is decompressed as a whole, once for each slice that has a part of it. */
const LARGEST_CHUNK = 512 * 1024 * 1024;
const MOST_DIMENSIONS = 8;

/** @throws TuneModeError `invalid-model-file` for what is no weight, or larger than the file could hold. */
export function storedWeight(file: H5File, path: string, name: string): StoredWeight {
  const dataset = file.dataset(path);
  const { shape, filters, chunks } = dataset;
  const what = `the weight '${path}'`;
  const { storedAs, dtype } = typesOf(file, dataset);
  if (dataset.isVirtual) throw file.damaged(`${what} is put together of other datasets, which Keras never does`);
  const unknown = filters.find(({ id }) => !KNOWN_FILTERS.includes(id));
  if (unknown) {
    const named = FILTER_NAMES[unknown.id] ?? (unknown.name || `number ${unknown.id}`);
    throw file.damaged(`${what} is compressed with '${named}'; expected gzip or nothing. Save it again without`);
  }
  if (shape.length > MOST_DIMENSIONS) throw file.damaged(`${what} has ${shape.length} dimensions`);
  const bytes = shape.reduce((product, size) => product * size, dataset.size);
  const isCompressed = filters.some(({ id }) => id === 1);
  const limit = file.bytes * (isCompressed ? BEST_RATIO : 1);
  if (!(bytes <= limit)) {
    throw file.damaged(`${what} claims ${bytes} bytes, its file of ${file.bytes} bytes cannot hold them`);
  }
  if (chunks !== null && !(chunks.reduce((product, size) => product * size, dataset.size) <= LARGEST_CHUNK)) {
    throw file.damaged(`${what} is stored in chunks of more than 512 MiB`);
  }
  return { name, shape, dtype, storedAs, isCompressed, bytes, read: () => readWeight(file, dataset, storedAs, dtype) };
}

function typesOf(
  file: H5File,
  { type, size, signed, isBool, path }: H5Dataset,
): Pick<StoredWeight, 'storedAs' | 'dtype'> {
  if (type === FLOAT && [2, 4, 8].includes(size)) return { storedAs: `float${size * 8}`, dtype: 'float32' };
  if (type === INTEGER && [1, 2, 4, 8].includes(size)) {
    return { storedAs: `${signed ? '' : 'u'}int${size * 8}`, dtype: 'int32' };
  }
  if (type === ENUM && isBool && size === 1) return { storedAs: 'bool', dtype: 'bool' };
  // Keras 3 marks these, as numpy knows no bfloat16.
  if (type === OPAQUE && size === 2) return { storedAs: 'bfloat16', dtype: 'float32' };
  const found = `${TYPE_NAMES[type] ?? 'something'} of ${size} bytes`;
  throw file.damaged(
    `the weight '${path}' is stored as ${found}; expected float16, float32, float64, integers or bool`,
  );
}

function readWeight(file: H5File, dataset: H5Dataset, storedAs: string, dtype: StoredWeight['dtype']) {
  const { shape, path, size, chunks } = dataset;
  const length = util.sizeFromShape(shape);
  const values =
    dtype === 'float32'
      ? new Float32Array(length)
      : dtype === 'int32'
        ? new Int32Array(length)
        : new Uint8Array(length);
  const put = converter(file, path, storedAs, values);
  if (length === 0) return values;
  const largest = Math.max(
    SLICE_BYTES,
    (chunks ?? []).reduce((product, dimension) => product * dimension, size),
  );
  let at = 0;
  for (const { offset, count } of slices(shape, largest / size)) {
    const part = util.sizeFromShape(count);
    put(file.read(path, offset, count, part * size), at);
    at += part;
  }
  return values;
}

/** A weight in parts that lie in it one after the other, none larger than `most` numbers. */
export function* slices(shape: number[], most: number): Generator<{ offset: number[]; count: number[] }> {
  if (shape.length === 0) {
    yield { offset: [], count: [] };
    return;
  }
  // The first dimension of which several fit; those before it are taken one by one.
  let inner = util.sizeFromShape(shape);
  let cut = 0;
  while (cut < shape.length - 1 && inner / shape[cut] > most) inner /= shape[cut++];
  const step = Math.max(1, Math.floor(most / (inner / shape[cut])));
  const outer = util.sizeFromShape(shape.slice(0, cut));
  for (let i = 0; i < outer; i++) {
    const before: number[] = [];
    for (let k = cut - 1, rest = i; k >= 0; rest = Math.floor(rest / shape[k--])) before.unshift(rest % shape[k]);
    for (let from = 0; from < shape[cut]; from += step) {
      yield {
        offset: [...before, from, ...shape.slice(cut + 1).map(() => 0)],
        count: [...before.map(() => 1), Math.min(step, shape[cut] - from), ...shape.slice(cut + 1)],
      };
    }
  }
}

type Values = Float32Array | Int32Array | Uint8Array;

/** What writes stored bytes into `values` from a position on. */
function converter(file: H5File, path: string, storedAs: string, values: Values) {
  const typed: Record<string, (bytes: ArrayBuffer) => ArrayLike<number | bigint>> = {
    float16: (bytes) => halves(new Uint16Array(bytes)),
    bfloat16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (bits) => bits << 16).buffer),
    float32: (bytes) => new Float32Array(bytes),
    float64: (bytes) => new Float64Array(bytes),
    int8: (bytes) => new Int8Array(bytes),
    uint8: (bytes) => new Uint8Array(bytes),
    int16: (bytes) => new Int16Array(bytes),
    uint16: (bytes) => new Uint16Array(bytes),
    int32: (bytes) => new Int32Array(bytes),
    uint32: (bytes) => new Uint32Array(bytes),
    int64: (bytes) => new BigInt64Array(bytes),
    uint64: (bytes) => new BigUint64Array(bytes),
    bool: (bytes) => new Uint8Array(bytes),
  };
  const beyond = (value: number | bigint) =>
    file.damaged(`the weight '${path}' has the integer ${value}, which is beyond tfjs's int32`);
  return (bytes: ArrayBuffer, at: number) => {
    const numbers = typed[storedAs](bytes);
    if (storedAs === 'int64' || storedAs === 'uint64' || storedAs === 'uint32') {
      for (let i = 0; i < numbers.length; i++) {
        const value = Number(numbers[i]);
        if (value !== (value | 0)) throw beyond(numbers[i]);
        values[at + i] = value;
      }
    } else values.set(numbers as ArrayLike<number>, at);
  };
}

/** IEEE halves, each of which a float32 holds exactly. */
function halves(bits: Uint16Array): Float32Array {
  const table = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const exponent = (bits[i] >> 10) & 31;
    const fraction = bits[i] & 1023;
    const sign = bits[i] & 0x8000 ? -1 : 1;
    if (exponent === 31) table[i] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else table[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  }
  return table;
}
