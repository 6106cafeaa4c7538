/** The weights of a model.json one at a time, as they lie over its weight files. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { io, type TypedArray } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { type StoredWeight, sizeOf } from '../convert/stored-weight';
import { storedBytes } from '../weight-specs';
import { heldBy, shardSize } from './model-reader';
import { checkManifest } from './weights-manifest';

interface Shard {
  path: string;
  size: number;
  /** Where it begins, in bytes from the beginning of its group. */
  from: number;
}

/**
 * @param file the model.json.
 * @returns what can be read weight by weight. Sizes are checked now, nothing is read yet.
 * @throws TuneModeError `invalid-model-file` where manifest and files disagree; `unsupported` for weights that a layers
 * model cannot have.
 */
export async function weightsByName(manifest: unknown, file: string): Promise<StoredWeight[]> {
  const groups = checkManifest(manifest, file);
  const found = new Map<string, StoredWeight>();
  for (const [index, group] of groups.entries()) {
    const shards: Shard[] = [];
    let end = 0;
    for (const name of group.paths) {
      const place = path.join(path.dirname(file), name);
      const size = await shardSize(place, file);
      shards.push({ path: place, size, from: end });
      end += size;
    }
    checkGroupSize(file, index, group, shards, end);
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

/** @throws TuneModeError `invalid-model-file`. */
export function checkGroupSize(
  file: string,
  index: number,
  group: io.WeightsManifestConfig[number],
  shards: readonly { path: string; size: number }[],
  found: number,
): void {
  const odd = group.weights.find(({ dtype }) => dtype === 'string' || dtype === 'complex64');
  if (odd !== undefined) {
    throw new TuneModeError(
      'unsupported',
      `'${file}': the weight '${odd.name}' is of dtype ${odd.dtype}, which no layer of tfjs-layers has.`,
    );
  }
  const expected = storedBytes(group.weights) as number;
  if (expected === found) return;
  const held = heldBy(shards.map((shard) => ({ name: path.basename(shard.path), size: shard.size })));
  throw new TuneModeError(
    'invalid-model-file',
    `'${file}': the weights of group ${index} need ${expected} bytes, but ${found} were found (${held}). ` +
      `The weight files are ${found < expected ? 'cut off' : 'too long'}; copy the model again.`,
  );
}

function storedWeight(
  spec: io.WeightsManifestEntry,
  shards: readonly Shard[],
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

async function readRange(shards: readonly Shard[], from: number, length: number, file: string): Promise<ArrayBuffer> {
  const target = new Uint8Array(length);
  for (const shard of shards) {
    const [begin, end] = [Math.max(from, shard.from), Math.min(from + length, shard.from + shard.size)];
    if (begin >= end) continue;
    const handle = await fs.open(shard.path, 'r');
    try {
      for (let at = begin; at < end; ) {
        const { bytesRead } = await handle.read(target, at - from, end - at, at - shard.from);
        if (bytesRead === 0) {
          throw new TuneModeError('invalid-model-file', `'${file}': '${shard.path}' became shorter while it was read.`);
        }
        at += bytesRead;
      }
    } finally {
      await handle.close();
    }
  }
  return target.buffer;
}

async function decode(spec: io.WeightsManifestEntry, buffer: ArrayBuffer): Promise<TypedArray> {
  const { dtype, quantization, shape } = spec;
  if (quantization === undefined) {
    if (dtype === 'float32') return new Float32Array(buffer);
    return dtype === 'int32' ? new Int32Array(buffer) : new Uint8Array(buffer);
  }
  if (sizeOf(shape) === 0) return new Float32Array(0);
  const tensor = io.decodeWeights(buffer, [spec])[spec.name];
  const values = (await tensor.data()) as TypedArray;
  const copy = values.slice(); // a backend may hand out its own memory
  tensor.dispose();
  return copy as TypedArray;
}
