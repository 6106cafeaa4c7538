/**
 * The wasm backend from inside, as far as the kernels here reach into it: tensors as windows on the wasm heap, aliases
 * that share another tensor's memory, scratch memory, and what a kernel is made of.
 */
import {
  type DataId,
  engine,
  Fill,
  type KernelFunc,
  type NamedAttrMap,
  type NamedTensorInfoMap,
  type NamedTensorMap,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';

interface HeapTensor {
  id: number;
  /** With which the memory was allocated; a reshaped tensor has another one. */
  shape: number[];
  memoryOffset: number;
}

/** The parts of tfjs' `BackendWasm` that are used here (4.22.0; they are public there, but not in its typings). */
export interface WasmBackend {
  dataIdMap: { get(dataId: DataId): HeapTensor; delete(dataId: DataId): boolean };
  wasm: {
    tfjs: { disposeData(id: number): void };
    HEAPU8: Uint8Array;
    _malloc(bytes: number): number;
    _free(address: number): void;
    asm?: { memory?: WebAssembly.Memory };
    wasmMemory?: WebAssembly.Memory;
  };
  makeOutput(shape: number[], dtype: 'float32', memoryOffset?: number): TensorInfo;
  typedArrayFromHeap(info: TensorInfo): Float32Array;
  disposeData(dataId: DataId): boolean;
  incRef(dataId: DataId): void;
  refCount(dataId: DataId): number;
}

const BYTES_PER_FLOAT = 4;

/**
 * The numbers of a tensor, where they lie. Take it anew after every allocation: when the heap grows, the old window is
 * detached and has length 0.
 */
export function heapOf(backend: WasmBackend, info: TensorInfo): Float32Array {
  return backend.typedArrayFromHeap(info);
}

/**
 * Runs `use` on a tensor of shape `shape` that begins `offset` numbers into `base` and shares its memory: no copy.
 * XNNPACK's packed copies of matrices are kept per tensor id, so they too are freed when the alias ends.
 */
export function withAlias<T>(
  backend: WasmBackend,
  base: TensorInfo,
  offset: number,
  shape: number[],
  use: (alias: TensorInfo) => T,
): T {
  const start = backend.dataIdMap.get(base.dataId).memoryOffset + offset * BYTES_PER_FLOAT;
  const alias = backend.makeOutput(shape, 'float32', start);
  try {
    return use(alias);
  } finally {
    // Not disposeData, which would free memory that belongs to `base`.
    backend.wasm.tfjs.disposeData(backend.dataIdMap.get(alias.dataId).id);
    backend.dataIdMap.delete(alias.dataId);
  }
}

/**
 * Where a tensor's floats begin on the heap. They stay there however the heap grows.
 * @throws TuneModeError `unsupported` for other numbers than floats, whose bits would be misread.
 */
export function addressOf(backend: WasmBackend, info: TensorInfo): number {
  if (info.dtype !== 'float32') {
    throw new TuneModeError(
      'unsupported',
      `A kernel on wasm: found a tensor of ${info.dtype}, expected float32. Use tf.cast(x, 'float32').`,
    );
  }
  return backend.dataIdMap.get(info.dataId).memoryOffset;
}

/** Runs `use` with the address of some bytes, not cleared, and frees them. */
export function withScratch<T>(backend: WasmBackend, bytes: number, use: (address: number) => T): T {
  const address = backend.wasm._malloc(Math.max(16, bytes)) >>> 0;
  try {
    return use(address);
  } finally {
    backend.wasm._free(address);
  }
}

/** Runs `use` with the address of `count` doubles that are 0. */
export function withTotals<T>(backend: WasmBackend, count: number, use: (totals: number) => T): T {
  return withScratch(backend, count * 8, (address) => {
    backend.wasm.HEAPU8.fill(0, address, address + count * 8);
    return use(address);
  });
}

/**
 * Makes the backend throw where memory runs out. By itself (4.22.0) it takes the null address that malloc then gives for
 * a tensor's and writes over whatever lies there, and sizes beyond 4 GiB wrap around.
 */
export function guardAllocations({ wasm }: WasmBackend): void {
  if (guarded.has(wasm)) return;
  guarded.add(wasm);
  // Emscripten puts the function itself in place of a stub at the first call, and would put it in place of this guard.
  wasm._free(wasm._malloc(16));
  const malloc = wasm._malloc;
  wasm._malloc = (bytes) => {
    const address = bytes < LARGEST_HEAP ? malloc(bytes) : 0;
    if (address === 0 && bytes > 0) {
      const mb = (n: number) => `${Math.round(n / 1e6)} MB`;
      throw new TuneModeError(
        'out-of-memory',
        `The wasm backend cannot allocate ${mb(bytes)}: its heap has ${mb(wasm.HEAPU8.length)} now and cannot have more ` +
          `than ${mb(LARGEST_HEAP)}. Use smaller batches or pictures, or dispose tensors that are no longer needed.`,
      );
    }
    return address;
  };
}

const guarded = new WeakSet<object>();

/** What 32-bit addresses reach. */
const LARGEST_HEAP = 2 ** 32;

/** A kernel called through the engine, so that `tf.memory()` and `tf.profile()` see its output. */
export function runKernel(name: string, inputs: NamedTensorInfoMap, attrs: object): Tensor {
  return engine().runKernel(name, inputs as NamedTensorMap, attrs as NamedAttrMap) as Tensor;
}

/** A zero-filled tensor that the engine counts. */
export function zeros(shape: number[]): Tensor {
  return runKernel(Fill, {}, { shape, value: 0, dtype: 'float32' });
}

/** A tensor that the engine counts and of which every number is yet to be written. */
export function unwritten(shape: number[], backend: WasmBackend): Tensor {
  return engine().makeTensorFromTensorInfo(backend.makeOutput(shape, 'float32'));
}

/** The same numbers under another shape. Not a tensor of its own: it lives as long as `info`. */
export function viewAs(info: TensorInfo, shape: number[]): TensorInfo {
  return { dataId: info.dataId, dtype: info.dtype, shape };
}

/** What a kernel file exports: the kernel in tfjs' own calling convention, typed for its inputs and attributes. */
export function kernel<Inputs, Attrs>(
  compute: (inputs: Inputs, backend: WasmBackend, attrs: Attrs) => TensorInfo,
): KernelFunc {
  // In a scope of its own: temporaries go, also when the kernel throws.
  return ({ inputs, backend, attrs }) =>
    engine().tidy(
      () => compute(inputs as unknown as Inputs, backend as WasmBackend, attrs as unknown as Attrs) as Tensor,
    );
}

/** What a kernel with several outputs makes; all of it goes again if the kernel throws. */
export interface Outputs {
  /** A tensor of which every number is yet to be written. */
  make(shape: number[]): TensorInfo;
  /** The memory of an input, if nobody else refers to it, as an output; else a tensor made for it. */
  inPlaceOf(info: TensorInfo): TensorInfo;
}

/** The same for a kernel with several outputs, none of which goes through the engine before it is returned. */
export function kernels<Inputs, Attrs>(
  compute: (inputs: Inputs, backend: WasmBackend, attrs: Attrs, outputs: Outputs) => TensorInfo[],
): KernelFunc {
  return ({ inputs, backend: given, attrs }) => {
    const backend = given as WasmBackend;
    const made: TensorInfo[] = [];
    const remember = (info: TensorInfo) => {
      made.push(info);
      return info;
    };
    const make = (shape: number[]) => remember(backend.makeOutput(shape, 'float32'));
    const inPlaceOf = (info: TensorInfo) => {
      if (backend.refCount(info.dataId) !== 1) return make(info.shape);
      backend.incRef(info.dataId);
      return remember(viewAs(info, info.shape));
    };
    try {
      return compute(inputs as unknown as Inputs, backend, attrs as unknown as Attrs, { make, inPlaceOf });
    } catch (error) {
      for (const { dataId } of made) backend.disposeData(dataId);
      throw error;
    }
  };
}

/** Runs a step of a kernel and frees every tensor that it made. */
export function withoutTemporaries(step: () => void): void {
  engine().tidy(step as () => undefined);
}
