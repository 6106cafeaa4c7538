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

const compiled: { own?: WebAssembly.Module; shared?: WebAssembly.Module } = {};

function binaryOf(which: keyof typeof SIMD_BINARY): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(SIMD_BINARY[which]), (c) => c.charCodeAt(0));
}

let preparing = false;

/**
 * Begins to compile, so that it is done when the backend has started: Chrome before 114 compiles more than 4 KB beside
 * the main thread only.
 */
export function prepareSimd(): void {
  if (preparing) return;
  preparing = true;
  WebAssembly.compile(binaryOf('own')).then(
    (module) => {
      compiled.own = module;
    },
    // Tried once more when it is needed, and the failure told then.
    () => {},
  );
}

/** @param shared Whether it is to run on memory that is shared among threads. */
export function compileSimd(shared: boolean): WebAssembly.Module {
  const which = shared ? 'shared' : 'own';
  compiled[which] ??= new WebAssembly.Module(binaryOf(which));
  return compiled[which];
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
        "Use a current browser, or the backend 'webgl'.",
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
