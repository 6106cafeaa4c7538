/** One training step, timed and weighed. */
import { backend, memory, profile, type Tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';

/** Milliseconds of one `trainOnBatch`. */
export async function timeStep(model: LayersModel, x: Tensor, y: Tensor): Promise<number> {
  const start = performance.now();
  await model.trainOnBatch(x, y);
  return performance.now() - start;
}

const WARM_UP_STEPS = 30;
const WARM_UP_MS = 3000;

/**
 * Steps until JavaScript's compilers have done their work: what tfjs itself spends in a step, beside the kernels, falls to
 * less than half within the first thirty. Steps that take long need fewer, as little of them is JavaScript.
 */
export async function warmUp(step: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + WARM_UP_MS;
  for (let i = 0; i < WARM_UP_STEPS && performance.now() < end; i++) await step();
}

/** Peak bytes of one `trainOnBatch` as tfjs's profile counts them, above what was alive before it. */
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

export function median(values: readonly number[]): number {
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

const heap = () => (backend() as unknown as { wasm?: Heap }).wasm;

/** The wasm heap's size now, which only grows; null on other backends. */
export const heapSize = () => heap()?.HEAPU8.length ?? null;

/** What is on the heap besides what was there before. */
export interface HeapPeak<Label> {
  bytes: number;
  /** The blocks at that moment, if labels were asked for. */
  blocks: { bytes: number; label: Label }[];
}

/**
 * Runs `run` and tells the most that was allocated on the wasm heap during it, above what was allocated before: every
 * tensor once, however many references there are to it, and the scratch memory of this package's kernels too. What
 * XNNPACK allocates inside of the module is not seen. Null on other backends.
 * @param labelOf Called at every allocation, for `blocks`.
 */
export async function heapPeakOf<Label = never>(
  run: () => Promise<unknown>,
  labelOf?: () => Label,
): Promise<HeapPeak<Label> | null> {
  const watched = heap();
  if (watched === undefined) {
    await run();
    return null;
  }
  const { _malloc: malloc, _free: free } = watched;
  const alive = new Map<number, { bytes: number; label: Label }>();
  const peak: HeapPeak<Label> = { bytes: 0, blocks: [] };
  let now = 0;
  watched._malloc = (bytes) => {
    const address = malloc(bytes);
    alive.set(address, { bytes, label: labelOf?.() as Label });
    now += bytes;
    if (now > peak.bytes) {
      peak.bytes = now;
      if (labelOf !== undefined) peak.blocks = [...alive.values()];
    }
    return address;
  };
  watched._free = (address) => {
    now -= alive.get(address)?.bytes ?? 0;
    alive.delete(address);
    free(address);
  };
  try {
    await run();
  } finally {
    watched._malloc = malloc;
    watched._free = free;
  }
  return peak;
}

/** Peak bytes of one `trainOnBatch` on the wasm heap; null on other backends. */
export async function peakHeapBytes(model: LayersModel, x: Tensor, y: Tensor): Promise<number | null> {
  return (await heapPeakOf(() => model.trainOnBatch(x, y)))?.bytes ?? null;
}
