/**
 * The SIMD module (sources in simd/, built by scripts/build-simd.mjs), instantiated on the very memory of a wasm backend:
 * its functions take addresses of tensors there, and nothing is copied in or out.
 */
import { TuneModeError } from '../../src/errors';
import type { WasmBackend } from './heap';
import { SIMD_BINARY, type SimdKernels } from './simd.generated';

export type { SimdKernels } from './simd.generated';

const instances = new WeakMap<object, SimdKernels>();

type Wrap = (kernels: SimdKernels) => SimdKernels;
const wraps = new WeakMap<object, Wrap>();

/** Has `simd` hand out what `wrap` makes of the kernels. To be called before the backend of this module computes. */
export function useParallelKernels(wasm: object, wrap: Wrap): void {
  wraps.set(wasm, wrap);
}

/** @param shared Whether it is to run on memory that is shared among threads. */
export function compileSimd(shared: boolean): WebAssembly.Module {
  const binary = shared ? SIMD_BINARY.shared : SIMD_BINARY.own;
  return new WebAssembly.Module(Uint8Array.from(atob(binary), (c) => c.charCodeAt(0)));
}

/**
 * @throws TuneModeError `backend-unavailable` where the browser has no SIMD, or the backend does not show its memory.
 */
export function simd(backend: WasmBackend): SimdKernels {
  const known = instances.get(backend.wasm);
  if (known !== undefined) return known;
  const memory = memoryOf(backend);
  const shared = typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  let kernels: SimdKernels;
  try {
    const { exports } = new WebAssembly.Instance(compileSimd(shared), { env: { memory } });
    kernels = exports as unknown as SimdKernels;
  } catch (error) {
    throw new TuneModeError(
      'backend-unavailable',
      `The training kernels for the wasm backend need WebAssembly with SIMD, which does not start here: ${(error as Error).message}. ` +
        "Use a browser of 2021 or later, or the backend 'webgl'.",
      { cause: error },
    );
  }
  const handedOut = wraps.get(backend.wasm)?.(kernels) ?? kernels;
  instances.set(backend.wasm, handedOut);
  return handedOut;
}

/** Emscripten hands out the memory among the exports, or, where threads share it, beside them (tfjs 4.22.0). */
function memoryOf({ wasm }: WasmBackend): WebAssembly.Memory {
  const memory = wasm.wasmMemory ?? wasm.asm?.memory;
  if (memory instanceof WebAssembly.Memory && memory.buffer === wasm.HEAPU8.buffer) return memory;
  throw new TuneModeError(
    'backend-unavailable',
    "The wasm backend's memory was expected among its exports, but is not there. Use '@tensorflow/tfjs-backend-wasm' 4.22.0.",
  );
}
