/** A tfjs model written into a new folder, one shard in memory at a time. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { io } from '@tensorflow/tfjs-core';
import type { Reading } from './source';
import { bytesOf, encode, type OutgoingWeight } from './weight-file';

/**
 * @param folder an existing, empty folder. Nothing else may write into it.
 * @param model everything of model.json but its weights.
 * @param shardSize bytes, at most, of one weight file.
 * @returns bytes written.
 */
export async function writeFolder(
  folder: string,
  model: object,
  weights: readonly OutgoingWeight[],
  shardSize: number,
  writing?: Reading,
  signal?: AbortSignal,
): Promise<number> {
  const total = weights.reduce((sum, weight) => sum + bytesOf(weight), 0);
  const shards = new Shards(folder, shardSize, Math.ceil(total / shardSize));
  const specs: io.WeightsManifestEntry[] = [];
  try {
    for (const [index, weight] of weights.entries()) {
      signal?.throwIfAborted();
      const { spec, bytes } = await encode(weight);
      specs.push(spec);
      await shards.add(bytes);
      writing?.(index + 1, weights.length);
    }
  } finally {
    await shards.close();
  }
  return total + (await writeModelJson(folder, model, shards.names, specs));
}

/** The same for weights that are bytes already. */
export async function writeEncoded(
  folder: string,
  model: object,
  specs: io.WeightsManifestEntry[],
  bytes: Uint8Array,
  shardSize: number,
): Promise<number> {
  const shards = new Shards(folder, shardSize, Math.ceil(bytes.length / shardSize));
  try {
    await shards.add(bytes);
  } finally {
    await shards.close();
  }
  return bytes.length + (await writeModelJson(folder, model, shards.names, specs));
}

/** @returns bytes written. */
async function writeModelJson(
  folder: string,
  model: object,
  paths: string[],
  weights: io.WeightsManifestEntry[],
): Promise<number> {
  const text = Buffer.from(JSON.stringify({ ...model, weightsManifest: [{ paths, weights }] }));
  await writeFlushed(path.join(folder, 'model.json'), text);
  return text.length;
}

/** Writes and flushes a new file. */
export async function writeFlushed(file: string, bytes: Uint8Array): Promise<void> {
  const handle = await fs.open(file, 'wx');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Weight files, each filled before the next is begun. */
class Shards {
  readonly names: string[] = [];
  private handle: fs.FileHandle | undefined;
  private room = 0;

  constructor(
    private readonly folder: string,
    private readonly size: number,
    private readonly count: number,
  ) {}

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.handle === undefined) await this.begin();
      const { bytesWritten } = await (this.handle as fs.FileHandle).write(
        bytes,
        at,
        Math.min(this.room, bytes.length - at),
      );
      at += bytesWritten;
      this.room -= bytesWritten;
      if (this.room === 0) await this.close();
    }
  }

  async close(): Promise<void> {
    const { handle } = this;
    this.handle = undefined;
    try {
      await handle?.sync();
    } finally {
      await handle?.close();
    }
  }

  private async begin(): Promise<void> {
    const name = `group1-shard${this.names.length + 1}of${this.count}.bin`;
    this.handle = await fs.open(path.join(this.folder, name), 'wx');
    this.names.push(name);
    this.room = this.size;
  }
}
