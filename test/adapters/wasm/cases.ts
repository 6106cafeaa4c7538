/**
 * Cases for the wasm kernels and their reference, the cpu backend.
 *
 * Inputs are small whole numbers, so every product and every sum here is a whole number far below 2²⁴: exact in float32
 * in whatever order it is summed. The tolerance is therefore none: results must be equal.
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { useBackend } from '../../helpers/backends';

export interface Result {
  shape: number[];
  values: Float32Array;
}

export type Pad = 'same' | 'valid' | number | [number, number][];

export interface ConvCase {
  x: [batch: number, height: number, width: number, channels: number];
  taps: [height: number, width: number];
  strides: [height: number, width: number];
  pad: Pad;
  /** Output channels; the multiplier for depthwise convolutions. */
  out: number;
  seed: number;
}

/** Whole numbers from −3 to 3, the same for the same seed. */
export function wholeNumbers(size: number, seed: number): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 16) % 7) - 3;
  });
}

export function wholeTensor(shape: number[], seed: number): tf.Tensor {
  return tf.tensor(wholeNumbers(tf.util.sizeFromShape(shape), seed), shape, 'float32');
}

/** Runs a kernel by name on one backend, with fresh inputs, and frees all. */
export async function runOn(
  backend: 'cpu' | 'wasm',
  kernelName: string,
  inputs: Record<string, { shape: number[]; values: Float32Array }>,
  attrs: object,
): Promise<Result> {
  await useBackend(backend);
  return tf.tidy(() => {
    const tensors = Object.fromEntries(
      Object.entries(inputs).map(([name, { shape, values }]) => [name, tf.tensor(values, shape, 'float32')]),
    );
    const y = tf.engine().runKernel(kernelName, tensors, attrs as tf.NamedAttrMap) as tf.Tensor;
    return { shape: y.shape, values: y.dataSync() as Float32Array };
  });
}

export function input(shape: number[], seed: number): Result {
  return { shape, values: wholeNumbers(tf.util.sizeFromShape(shape), seed) };
}

/** −0 and 0 are the same number here; NaN equals NaN. */
export function expectEqual(found: Result, expected: Result): void {
  expect(found.shape).toEqual(expected.shape);
  const plain = (values: Float32Array) => Array.from(values, (v) => v + 0);
  expect(plain(found.values)).toEqual(plain(expected.values));
}

/** The output shape of a case, or null where no window fits. */
export function outputShape(c: ConvCase, depthwise: boolean, dilations: [number, number] = [1, 1]): number[] | null {
  const filter = [...c.taps, c.x[3], c.out] as [number, number, number, number];
  const info = tf.backend_util.computeConv2DInfo(
    c.x,
    filter,
    c.strides,
    dilations,
    c.pad as never,
    undefined,
    depthwise,
  );
  return info.outHeight >= 1 && info.outWidth >= 1 ? info.outShape : null;
}

const axis = (max: number) => fc.integer({ min: 1, max });

/** Padding in numbers that stays below the filter's size, as padding does. */
function explicitPad([kh, kw]: [number, number]): fc.Arbitrary<[number, number][]> {
  const pair = (k: number) =>
    fc.tuple(fc.integer({ min: 0, max: k - 1 }), fc.integer({ min: 0, max: k - 1 })) as fc.Arbitrary<[number, number]>;
  return fc.tuple(pair(kh), pair(kw)).map(([h, w]) => [[0, 0], h, w, [0, 0]] as [number, number][]);
}

export const convCases: fc.Arbitrary<ConvCase> = fc
  .record({
    x: fc.tuple(axis(3), axis(10), axis(10), axis(5)),
    taps: fc.tuple(axis(4), axis(5)),
    strides: fc.tuple(axis(4), axis(4)),
    out: axis(5),
    seed: fc.integer({ min: 0, max: 1e6 }),
  })
  .chain((c) =>
    fc
      .oneof(fc.constant<Pad>('same'), fc.constant<Pad>('valid'), explicitPad(c.taps) as fc.Arbitrary<Pad>)
      .map((pad) => ({ ...c, pad })),
  ) as fc.Arbitrary<ConvCase>;
