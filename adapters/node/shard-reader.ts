/** The weights of a model.json one at a time, as they lie over its weight files. */
import { io, type TypedArray, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import type { StoredWeight } from '../convert/stored-weight';
import { storedBytes } from '../weight-specs';
import { readInto, type Shard, shardsOf } from './model-reader';

/** A weight file, and where it begins, in bytes from the beginning of its group. */
type PlacedShard = Shard & { from: number };

/**
 * @param groups what `checkManifest` has checked.
 * @param file the model.json.
 * @returns what can be read weight by weight. Sizes are checked now, nothing is read yet.
 * @throws TuneModeError `invalid-model-file` where manifest and files disagree; `unsupported` for weights that a layers
 * model cannot have.
 */
export async function weightsByName(groups: io.WeightsManifestConfig, file: string): Promise<StoredWeight[]> {
  const found = new Map<string, StoredWeight>();
  for (const [index, group] of groups.entries()) {
    checkDtypes(file, group);
    let end = 0;
    const shards = (await shardsOf(group, index, file)).map((shard): PlacedShard => {
      const from = end;
      end += shard.size;
      return { ...shard, from };
    });
    let at = 0;
    for (const spec of group.weights) {
      const bytes = storedBytes([spec]) as number;
      if (spec.group === 'optimizer') {
        at += bytes; // what training had got to; no layer's
        continue;
      }
      if (found.has(spec.name)) {
        throw new TuneModeError('invalid-model-file', `'${file}': the weight '${spec.name}' is listed twice.`);
      }
      found.set(spec.name, storedWeight(spec, shards, at, bytes, file));
      at += bytes;
    }
  }
  return [...found.values()];
}

/** @throws TuneModeError `unsupported` for weights that no layer has. */
function checkDtypes(file: string, { weights }: io.WeightsManifestConfig[number]): void {
  const odd = weights.find(({ dtype }) => dtype === 'string' || dtype === 'complex64');
  if (odd === undefined) return;
  throw new TuneModeError(
    'unsupported',
    `'${file}': the weight '${odd.name}' is of dtype ${odd.dtype}, which no layer of tfjs-layers has.`,
  );
}

function storedWeight(
  spec: io.WeightsManifestEntry,
  shards: readonly PlacedShard[],
  at: number,
  bytes: number,
  file: string,
): StoredWeight {
  const { name, shape, dtype, quantization } = spec;
  return {
    name,
    shape,
    dtype: dtype as StoredWeight['dtype'],
    storedAs: quantization?.dtype ?? dtype,
    bytes,
    read: async () => decode(spec, await readRange(shards, at, bytes, file)),
  };
}

async function readRange(
  shards: readonly PlacedShard[],
  from: number,
  length: number,
  file: string,
): Promise<ArrayBuffer> {
  const target = new Uint8Array(length);
  for (const shard of shards) {
    const [begin, end] = [Math.max(from, shard.from), Math.min(from + length, shard.from + shard.size)];
    if (begin >= end) continue;
    await readInto(shard.path, target.subarray(begin - from, end - from), file, begin - shard.from);
  }
  return target.buffer;
}

async function decode(spec: io.WeightsManifestEntry, buffer: ArrayBuffer): Promise<TypedArray> {
  const { dtype, quantization, shape } = spec;
  if (quantization === undefined) {
    if (dtype === 'float32') return new Float32Array(buffer);
    return dtype === 'int32' ? new Int32Array(buffer) : new Uint8Array(buffer);
  }
  if (util.sizeFromShape(shape) === 0) return new Float32Array(0);
  const tensor = io.decodeWeights(buffer, [spec])[spec.name];
  const values = (await tensor.data()) as TypedArray;
  const copy = values.slice(); // a backend may hand out its own memory
  tensor.dispose();
  return copy as TypedArray;
}
