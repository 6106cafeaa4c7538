/** Guards around everything that is allocated on the wasm heap: who writes beside what is his is found out. */
import * as tf from '@tensorflow/tfjs-core';
import { registerWasmTrainingKernels } from '../../../adapters/wasm/register';
import { simd } from '../../../adapters/wasm/simd';
import { useBackend } from '../../helpers/backends';

type Backend = Parameters<typeof simd>[0];

/** Bytes before and after: more than the widest store, and a multiple of malloc's alignment. */
const GUARD = 64;
/** As a float a number of its own (−2.9e−16); as a NaN it would hide in sums. */
const PATTERN = 0xa5;

const living = new Map<number, number>();
const broken: string[] = [];

export const wasmBackend = () => tf.backend() as unknown as Backend;

/** From now on every allocation of the wasm backend has guards, and the test fails after which one is broken. */
export function guardHeap(): void {
  beforeAll(async () => {
    registerWasmTrainingKernels();
    await useBackend('wasm');
    const backend = wasmBackend();
    // Emscripten's functions replace themselves when they are first called, and whatever stands in their place by then.
    tf.scalar(0).dispose();
    // Now, so that its own wrapper lies inside of this one.
    simd(backend);
    const { wasm } = backend;
    const { _malloc: malloc, _free: free } = wasm;
    const check = (address: number) => {
      const bytes = living.get(address) as number;
      const sides = { before: address - GUARD, after: address + bytes };
      for (const [side, from] of Object.entries(sides)) {
        const guard = wasm.HEAPU8.subarray(from, from + GUARD);
        if (!guard.every((byte) => byte === PATTERN)) broken.push(`written ${side} an allocation of ${bytes} bytes`);
        guard.fill(PATTERN);
      }
    };
    wasm._malloc = (bytes) => {
      const address = (malloc(bytes + 2 * GUARD) >>> 0) + GUARD;
      wasm.HEAPU8.fill(PATTERN, address - GUARD, address);
      wasm.HEAPU8.fill(PATTERN, address + bytes, address + bytes + GUARD);
      living.set(address, bytes);
      return address;
    };
    wasm._free = (pointer) => {
      const address = pointer >>> 0;
      if (!living.has(address)) return free(address);
      check(address);
      living.delete(address);
      free(address - GUARD);
    };
    Object.assign(hooks, {
      checkAll: () => {
        for (const address of living.keys()) check(address);
      },
    });
  });

  afterEach(() => {
    hooks.checkAll();
    expect(broken.splice(0)).toEqual([]);
  });
}

const hooks = { checkAll: () => {} };

/** Whether a guard is broken now; the test goes on as if it were not. For the test of the guards themselves. */
export function brokenGuards(): string[] {
  hooks.checkAll();
  return broken.splice(0);
}
