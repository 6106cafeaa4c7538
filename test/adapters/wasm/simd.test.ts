/** The SIMD module: what it is made of, where it runs, and what happens when it cannot, or when memory runs out. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { addressOf, unwritten } from '../../../adapters/wasm/heap';
import { type SimdKernels, simd } from '../../../adapters/wasm/simd';
import { SIMD_BINARY } from '../../../adapters/wasm/simd.generated';
import { useBackend } from '../../helpers/backends';
import { wholeTensor } from './cases';

type Backend = Parameters<typeof simd>[0];
const wasmBackend = () => tf.backend() as unknown as Backend;
const root = path.resolve(__dirname, '../../..');

const SECTIONS = { start: 8, data: 11, dataCount: 12 };

/** The sections of a binary, by their numbers (WebAssembly core specification, 5.5). */
function sectionsOf(bytes: Uint8Array): { id: number; body: Uint8Array }[] {
  expect(Array.from(bytes.subarray(0, 8))).toEqual([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  const sections = [];
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at++];
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      size |= (bytes[at] & 0x7f) << shift;
      more = bytes[at++] >= 0x80;
    }
    sections.push({ id, body: bytes.subarray(at, at + size) });
    at += size;
  }
  return sections;
}

describe.each(['own', 'shared'] as const)('the module for memory that is %s', (variant) => {
  const bytes = Uint8Array.from(Buffer.from(SIMD_BINARY[variant], 'base64'));
  const module = new WebAssembly.Module(bytes);

  test('imports the memory and nothing else', () => {
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: 'env', name: 'memory', kind: 'memory' }]);
  });

  test('has no start function, no data and no names', () => {
    const ids = sectionsOf(bytes).map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(3);
    for (const id of Object.values(SECTIONS)) expect(ids).not.toContain(id);
    expect(WebAssembly.Module.customSections(module, 'name')).toEqual([]);
    // Its size goes into every page: what it has now, and half as much again.
    expect(bytes.length).toBeLessThan(40_000);
  });

  test('exports functions, beside the memory that it was given, and the same ones as the other variant', () => {
    const other = new WebAssembly.Module(Buffer.from(SIMD_BINARY[variant === 'own' ? 'shared' : 'own'], 'base64'));
    const exports = WebAssembly.Module.exports(module);
    expect(exports).toEqual(WebAssembly.Module.exports(other));
    const functions = exports.filter(({ kind }) => kind === 'function').map(({ name }) => name);
    expect(exports.filter(({ kind }) => kind !== 'function')).toEqual([{ name: 'memory', kind: 'memory' }]);
    expect(functions).toEqual(
      expect.arrayContaining(['activationGradient', 'conv2dBackpropFilter', 'foldBatchNorm', 'multiply', 'packPanels']),
    );
    // Whatever the kernels may call, and nothing that no type tells of.
    const types = fs.readFileSync(path.join(root, 'adapters/wasm/simd.generated.ts'), 'utf8');
    expect(functions.sort()).toEqual([...types.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name).sort());
  });

  test('writes nothing by being started', () => {
    const memory =
      variant === 'own'
        ? new WebAssembly.Memory({ initial: 1 })
        : new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
    const heap = new Uint8Array(memory.buffer).fill(0x77);
    new WebAssembly.Instance(module, { env: { memory } });
    expect(heap.every((byte) => byte === 0x77)).toBe(true);
  });
});

test('built twice from its sources it is the same file, the one in use', async () => {
  const build = async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'simd-'));
    try {
      for (const part of ['scripts/build-simd.mjs', 'adapters/wasm/simd'])
        fs.cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
      fs.symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
      await promisify(execFile)(process.execPath, [path.join(folder, 'scripts/build-simd.mjs')]);
      return fs.readFileSync(path.join(folder, 'adapters/wasm/simd.generated.ts'), 'utf8');
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  };
  const [one, another] = await Promise.all([build(), build()]);
  expect(another).toBe(one);
  // If not: node scripts/build-simd.mjs.
  expect(one === fs.readFileSync(path.join(root, 'adapters/wasm/simd.generated.ts'), 'utf8')).toBe(true);
});

describe('started on a backend', () => {
  interface StandIn {
    memory?: WebAssembly.Memory;
    heap?: Uint8Array;
    beside?: boolean;
  }

  /** As much of a backend as `simd` looks at. */
  function standIn({
    memory,
    heap = new Uint8Array(memory === undefined ? new ArrayBuffer(8) : memory.buffer),
    beside = false,
  }: StandIn) {
    const wasm = {
      HEAPU8: heap,
      _malloc: jest.fn(() => 16),
      _free: () => {},
      ...(memory === undefined ? {} : beside ? { wasmMemory: memory } : { asm: { memory } }),
    };
    return { wasm } as unknown as Backend;
  }

  function sumsOn(kernels: SimdKernels, memory: WebAssembly.Memory): number[] {
    new Float32Array(memory.buffer, 256, 6).set([1, 2, 3, 10, 20, 30]);
    kernels.columnSums(256, 512, 2, 3);
    return Array.from(new Float64Array(memory.buffer, 512, 3));
  }

  test('without its memory among the exports it is refused', () => {
    expect(() => simd(standIn({}))).toThrow(
      expect.objectContaining({
        name: 'TuneModeError',
        code: 'backend-unavailable',
        message: expect.stringContaining("'@tensorflow/tfjs-backend-wasm' 4.22.0"),
      }),
    );
  });

  test('with another memory than its heap it is refused, and nothing is changed', () => {
    const backend = standIn({ memory: new WebAssembly.Memory({ initial: 1 }), heap: new Uint8Array(65536) });
    const { _malloc } = backend.wasm;
    expect(() => simd(backend)).toThrow(expect.objectContaining({ code: 'backend-unavailable' }));
    expect(backend.wasm._malloc).toBe(_malloc);
  });

  test.each([false, true])('it runs on the very memory, found beside the exports: %s; once only', (beside) => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const backend = standIn({ memory, beside });
    const kernels = simd(backend);
    expect(sumsOn(kernels, memory)).toEqual([11, 22, 33]);
    const { _malloc } = backend.wasm;
    expect(simd(backend)).toBe(kernels);
    expect(backend.wasm._malloc).toBe(_malloc);
  });

  test('it runs on memory that threads share', () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
    expect(sumsOn(simd(standIn({ memory, beside: true })), memory)).toEqual([11, 22, 33]);
  });

  test('where SIMD is missing it says so, and is tried again next time', () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const backend = standIn({ memory });
    const { Instance } = WebAssembly;
    Object.assign(WebAssembly, {
      Instance: class {
        constructor() {
          throw new WebAssembly.CompileError('Wasm SIMD unsupported');
        }
      },
    });
    try {
      expect(() => simd(backend)).toThrow(
        expect.objectContaining({
          code: 'backend-unavailable',
          message: expect.stringMatching(/SIMD.*Wasm SIMD unsupported.*'webgl'/),
        }),
      );
    } finally {
      Object.assign(WebAssembly, { Instance });
    }
    expect(sumsOn(simd(backend), memory)).toEqual([11, 22, 33]);
  });
});

describe('on the wasm backend', () => {
  beforeEach(() => useBackend('wasm'));

  const CONV = { strides: [1, 1], pad: 'same', dataFormat: 'NHWC', dilations: [1, 1], activation: 'relu' };
  const floats = (shape: number[]) => tf.ones(shape);
  const KERNELS: [name: string, inputs: Record<string, number[]>, attrs: object][] = [
    ['FusedConv2D', { x: [1, 16, 16, 3], filter: [1, 1, 3, 4], bias: [4] }, CONV],
    ['Conv2DBackpropFilter', { x: [1, 4, 4, 2], dy: [1, 4, 4, 3] }, { ...CONV, filterShape: [3, 3, 2, 3] }],
    ['Conv2DBackpropInput', { dy: [1, 4, 4, 3], filter: [1, 1, 2, 3] }, { ...CONV, inputShape: [1, 4, 4, 2] }],
    [
      'DepthwiseConv2dNativeBackpropFilter',
      { x: [1, 4, 4, 2], dy: [1, 4, 4, 2] },
      { ...CONV, filterShape: [3, 3, 2, 1] },
    ],
    [
      'DepthwiseConv2dNativeBackpropInput',
      { dy: [1, 4, 4, 2], filter: [3, 3, 2, 1] },
      { ...CONV, inputShape: [1, 4, 4, 2] },
    ],
    ['TuneActivationGrad', { dy: [3, 2], y: [3, 2] }, { activation: 'relu', reuse: false }],
    ['TuneFold', { kernel: [2, 3], mean: [3], variance: [3] }, { epsilon: 1e-3, scaleShape: [1, 3] }],
    [
      'TuneFoldGrad',
      { dKernel: [2, 3], dBias: [3], kernel: [2, 3], mean: [3], variance: [3], scale: [3] },
      { epsilon: 1e-3, scaleShape: [1, 3] },
    ],
    ['TuneFrozenBatchNormGrad', { dy: [3, 2], x: [3, 2], scale: [2], mean: [2] }, { reuse: false }],
  ];

  test.each(KERNELS)('%s refuses an input that is not of floats, whichever it is', (name, inputs, attrs) => {
    const run = (given: tf.NamedTensorMap) => tf.engine().runKernel(name, given, attrs as tf.NamedAttrMap);
    const alive = tf.memory().numTensors;
    const right = Object.fromEntries(Object.entries(inputs).map(([key, shape]) => [key, floats(shape)]));
    tf.dispose(run(right));
    for (const dtype of ['int32', 'bool'] as const) {
      for (const [key, shape] of Object.entries(inputs)) {
        const wrong = tf.ones(shape, dtype);
        expect(() => run({ ...right, [key]: wrong })).toThrow(
          expect.objectContaining({
            name: 'TuneModeError',
            code: 'unsupported',
            message: expect.stringContaining(`found a tensor of ${dtype}, expected float32`),
          }),
        );
        wrong.dispose();
      }
    }
    tf.dispose(right);
    expect(tf.memory().numTensors).toBe(alive);
  });

  test('a kernel that refuses leaves no buffer behind', () => {
    const ids = () => (tf.backend() as unknown as { numDataIds(): number }).numDataIds();
    const [dy, y] = [tf.ones([3, 2], 'int32'), tf.ones([3, 2])];
    const before = ids();
    expect(() =>
      tf.engine().runKernel('TuneActivationGrad', { dy, y }, { activation: 'relu', reuse: false } as never),
    ).toThrow();
    const after = ids();
    tf.dispose([dy, y]);
    expect(after).toBe(before);
  });

  describe('out of memory', () => {
    const outOfMemory = (mb: RegExp) =>
      expect.objectContaining({
        name: 'TuneModeError',
        code: 'out-of-memory',
        message: expect.stringMatching(mb),
      });
    const witnesses = () => [wholeTensor([64, 65], 1), wholeTensor([1], 2), wholeTensor([4096], 3)];
    const values = (tensors: tf.Tensor[]) => tensors.map((tensor) => tensor.dataSync().slice());

    /** A training step's kernels, exact, to see that the backend goes on. */
    function stillWorks(): void {
      tf.tidy(() => {
        const [x, dy] = [wholeTensor([2, 17, 17, 3], 5), wholeTensor([2, 17, 17, 4], 6)];
        const filter = wholeTensor([1, 1, 3, 4], 7) as tf.Tensor4D;
        const y = tf.conv2d(x as tf.Tensor4D, filter, 1, 'same');
        expect(tf.sum(y).dataSync()[0]).toBe(
          tf.sum(tf.matMul(tf.reshape(x, [-1, 3]), tf.reshape(filter, [3, 4]))).dataSync()[0],
        );
        const attrs = { ...CONV, filterShape: [1, 1, 3, 4] } as never;
        const dw = tf.engine().runKernel('Conv2DBackpropFilter', { x, dy }, attrs) as tf.Tensor;
        const product = tf.matMul(tf.reshape(x, [-1, 3]), tf.reshape(dy, [-1, 4]), true);
        expect(Array.from(dw.dataSync())).toEqual(Array.from(product.dataSync()));
      });
    }

    beforeEach(() => void simd(wasmBackend()));

    test.each([
      ['4 GiB, which 32 bits cannot say', [2 ** 15, 2 ** 15], /cannot allocate 4295 MB/],
      ['a little more than 4 GiB, which 32 bits take for a little', [2 ** 15, 2 ** 15 + 1], /cannot allocate 4295 MB/],
      ['16 GiB', [2 ** 16, 2 ** 16], /cannot allocate 17180 MB: its heap has \d+ MB now .*smaller batches/],
    ])('%s', (_name, shape, message) => {
      const tensors = witnesses();
      const [before, alive] = [values(tensors), tf.memory()];
      const heap = wasmBackend().wasm.HEAPU8.length;
      expect(() => tf.fill(shape, 1)).toThrow(outOfMemory(message));
      expect(() => unwritten(shape, wasmBackend())).toThrow(outOfMemory(message));
      expect(tf.memory()).toEqual(alive);
      expect(wasmBackend().wasm.HEAPU8.length).toBe(heap);
      expect(values(tensors)).toEqual(before);
      stillWorks();
      tf.dispose(tensors);
    });

    // Last: the heap never shrinks.
    test('piece by piece until nothing is left: nothing is overwritten, and what is freed can be had again', () => {
      const tensors = witnesses();
      const before = values(tensors);
      const pieces: tf.Tensor[] = [];
      const GIB = [2 ** 28];
      // Pages that nobody writes to are not really there.
      expect(() => {
        for (let i = 0; i < 5; i++) pieces.push(unwritten(GIB, wasmBackend()));
      }).toThrow(outOfMemory(/cannot allocate 1074 MB/));
      expect(pieces.length).toBeGreaterThan(0);
      expect(pieces.map((piece) => addressOf(wasmBackend(), piece)).every((address) => address > 0)).toBe(true);
      expect(values(tensors)).toEqual(before);
      stillWorks();
      tf.dispose(pieces);
      const again = unwritten(GIB, wasmBackend());
      again.dispose();
      expect(values(tensors)).toEqual(before);
      stillWorks();
      tf.dispose(tensors);
    });
  });
});
