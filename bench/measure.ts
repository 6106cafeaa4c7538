/** One training step, timed and weighed. */
import { backend, memory, profile, type Tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';

/** Milliseconds of one `trainOnBatch`. */
export async function timeStep(model: LayersModel, x: Tensor, y: Tensor): Promise<number> {
  const start = performance.now();
  await model.trainOnBatch(x, y);
  return performance.now() - start;
}

/** Peak bytes of one `trainOnBatch`, above what was alive before it. */
export async function peakBytes(model: LayersModel, x: Tensor, y: Tensor): Promise<number> {
  const before = memory().numBytes;
  // tfjs reuses the profile object and keeps the peak as an absolute number (4.22.0).
  const { peakBytes: peak } = await profile(async () => {
    await model.trainOnBatch(x, y);
    return {};
  });
  return peak - before;
}

/** Milliseconds of one `predict`. */
export async function timePredict(model: LayersModel, x: Tensor): Promise<number> {
  const start = performance.now();
  const y = model.predict(x) as Tensor;
  await y.data();
  y.dispose();
  return performance.now() - start;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The parts of tfjs's wasm backend by which it allocates (4.22.0). */
interface Heap {
  HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(address: number): void;
}

/**
 * Peak bytes that one `trainOnBatch` has allocated on the wasm heap, above what was allocated before it: every tensor
 * once, however many references there are to it (tfjs's own profile counts each reference), and scratch memory too.
 * Null on other backends.
 */
export async function peakHeapBytes(model: LayersModel, x: Tensor, y: Tensor): Promise<number | null> {
  const heap = (backend() as unknown as { wasm?: Heap }).wasm;
  if (heap === undefined) return null;
  const { _malloc: malloc, _free: free } = heap;
  const sizes = new Map<number, number>();
  let now = 0;
  let peak = 0;
  heap._malloc = (bytes) => {
    const address = malloc(bytes);
    sizes.set(address, bytes);
    now += bytes;
    peak = Math.max(peak, now);
    return address;
  };
  heap._free = (address) => {
    now -= sizes.get(address) ?? 0;
    sizes.delete(address);
    free(address);
  };
  try {
    await model.trainOnBatch(x, y);
  } finally {
    heap._malloc = malloc;
    heap._free = free;
  }
  return peak;
}
