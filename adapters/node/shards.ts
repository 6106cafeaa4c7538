import type { io } from '@tensorflow/tfjs-core';

/** As the tfjs converter cuts them: a size that browsers cache. */
export const SHARD_BYTES = 4 * 2 ** 20;

/**
 * Weight data in one piece. A list of buffers is joined here, not by tfjs-core 4.22.0's CompositeArrayBuffer, which
 * gives zeros where the last buffer is longer than the others.
 */
export function concatenated(weightData: io.WeightData): Uint8Array {
  // Not instanceof: in jest a buffer may come from another realm.
  const parts = (Array.isArray(weightData) ? weightData : [weightData]).map((part) => new Uint8Array(part));
  if (parts.length === 1) return parts[0];
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Views of at most `SHARD_BYTES` each; none for no data. */
export function cutIntoShards(data: Uint8Array | undefined): Uint8Array[] {
  if (data === undefined) return [];
  const count = Math.ceil(data.length / SHARD_BYTES);
  return Array.from({ length: count }, (_, i) => data.subarray(i * SHARD_BYTES, (i + 1) * SHARD_BYTES));
}
