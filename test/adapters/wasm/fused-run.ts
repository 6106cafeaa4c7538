/** Runs this package's own fused kernels on wasm and formulas in tfjs's ops on the cpu backend, and compares the results. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import type { FusedKernel } from '../../../src/own-op';
import { useBackend } from '../../helpers/backends';
import { expectEqual, type Result } from './cases';

export const U = 2 ** -24;

export const sizeOf = (shape: number[]) => shape.reduce((a, b) => a * b, 1);
export const tensorOf = ({ values, shape }: Result) => tf.tensor(values, shape, 'float32');
const resultOf = (tensor: tf.Tensor): Result => ({ shape: tensor.shape, values: tensor.dataSync() as Float32Array });

/** Runs a fused kernel on wasm, checks that it leaves its outputs and nothing else, and frees all. */
export function runFused(name: FusedKernel, inputs: Record<string, Result | null>, attrs: object): Result[] {
  const given: tf.NamedTensorMap = {};
  for (const [key, value] of Object.entries(inputs)) if (value !== null) given[key] = tensorOf(value);
  const ids = () => (tf.backend() as unknown as { numDataIds(): number }).numDataIds();
  const before = { ...tf.memory(), ids: ids() };
  const outputs = tf.engine().runKernel(name, given, attrs as tf.NamedAttrMap) as tf.Tensor[];
  const after = tf.memory();
  expect(after.numTensors).toBe(before.numTensors + outputs.length);
  expect(ids()).toBe(before.ids + outputs.length);
  const results = outputs.map(resultOf);
  for (const [key, value] of Object.entries(inputs)) if (value !== null) expectEqual(resultOf(given[key]), value);
  tf.dispose([outputs, given]);
  return results;
}

export async function onCpu(run: () => tf.Tensor[]): Promise<Result[]> {
  await useBackend('cpu');
  const results: Result[] = [];
  tf.tidy(() => void results.push(...run().map(resultOf)));
  await useBackend('wasm');
  return results;
}

/** Each off by at most its own bound. */
export function expectWithin(found: Result, expected: Result, bound: (index: number) => number): void {
  expect(found.shape).toEqual(expected.shape);
  found.values.forEach((value, i) => {
    const error = Math.abs(value - expected.values[i]);
    if (!(error <= bound(i))) throw new Error(`[${i}]: ${value}, expected ${expected.values[i]} ± ${bound(i)}`);
  });
}

/** Few rows, rows around a chunk's end (8 KiB of a column's bytes), and none. */
export const rowsAndChannels = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 33 })),
  fc.tuple(fc.integer({ min: 55, max: 70 }), fc.integer({ min: 28, max: 33 })),
  fc.tuple(fc.integer({ min: 2040, max: 2060 }), fc.integer({ min: 1, max: 2 })),
  fc.tuple(fc.integer({ min: 250, max: 260 }), fc.integer({ min: 7, max: 9 })),
);

/** [rows, channels], with the rows as up to three axes. */
export const shaped = (rows: number, channels: number, axes: number): number[] =>
  axes === 3 && rows % 2 === 0 ? [2, rows / 2, 1, channels] : axes === 2 ? [1, rows, channels] : [rows, channels];
