/**
 * The rest of what training needs, against the cpu backend, number by number (see cases.ts for why no tolerance is needed):
 * 3D convolutions, pooling, upsampling. The stock kernels fail here for Conv3DBackprop*, MaxPool*Grad and MaxPool3D
 * (backend 4.22.0).
 */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { useBackend } from '../../helpers/backends';
import { expectEqual, input, type Result, runOn, wholeTensor } from './cases';

const upTo = (max: number) => fc.integer({ min: 1, max });
const three = (max: number) => fc.tuple(upTo(max), upTo(max), upTo(max));
const pads = fc.constantFrom<'same' | 'valid'>('same', 'valid');

async function compare(kernelName: string, inputs: Record<string, Result>, attrs: object): Promise<void> {
  const expected = await runOn('cpu', kernelName, inputs, attrs);
  expectEqual(await runOn('wasm', kernelName, inputs, attrs), expected);
}

/** Different whole numbers around 0 in random order: every window has one maximum, and many have a negative one. */
function distinct(shape: number[], seed: number): Result {
  const size = tf.util.sizeFromShape(shape);
  const values = Float32Array.from({ length: size }, (_, i) => i - Math.floor(size / 2));
  let state = seed + 1;
  for (let i = size - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = (state >>> 8) % (i + 1);
    [values[i], values[j]] = [values[j], values[i]];
  }
  return { shape, values };
}

test('Conv3D and its gradients equal cpu for any shape', async () => {
  const shapes = fc.tuple(upTo(2), upTo(6), upTo(6), upTo(6), upTo(3)) as fc.Arbitrary<number[]>;
  await fc.assert(
    fc.asyncProperty(shapes, three(4), three(3), pads, upTo(3), async (x, taps, strides, pad, out) => {
      const filterShape = [...taps, x[4], out];
      const info = tf.backend_util.computeConv3DInfo(x as never, filterShape as never, strides, 1, pad);
      fc.pre(Math.min(info.outDepth, info.outHeight, info.outWidth) > 0);
      const attrs = { strides, pad, dataFormat: 'NDHWC', dilations: [1, 1, 1] };
      const dy = input(info.outShape, 1);
      await compare('Conv3D', { x: input(x, 2), filter: input(filterShape, 3) }, attrs);
      await compare('Conv3DBackpropFilterV2', { x: input(x, 2), dy }, { ...attrs, filterShape });
      const dx = { ...attrs, inputShape: x };
      await compare('Conv3DBackpropInputV2', { dy, filter: input(filterShape, 3) }, dx);
    }),
    { numRuns: 100 },
  );
});

test('2D pooling and its gradients equal cpu, also for windows of negative numbers', async () => {
  const shapes = fc.tuple(upTo(2), upTo(7), upTo(7), upTo(3)) as fc.Arbitrary<number[]>;
  const two = fc.tuple(upTo(3), upTo(3));
  await fc.assert(
    fc.asyncProperty(shapes, two, two, pads, fc.nat(999), async (x, filterSize, strides, pad, seed) => {
      const info = tf.backend_util.computePool2DInfo(x as never, filterSize, strides, 1, pad);
      fc.pre(Math.min(info.outHeight, info.outWidth) > 0);
      const attrs = { filterSize, strides, pad };
      const given = distinct(x, seed);
      const y = await runOn('cpu', 'MaxPool', { x: given }, attrs);
      await compare('MaxPool', { x: given }, attrs);
      await compare('MaxPoolGrad', { dy: input(y.shape, seed), input: given, output: y }, attrs);
      // Multiples of 36, so that averages over windows of up to 9 are whole numbers.
      const dy = input(y.shape, seed);
      const multiples = { shape: dy.shape, values: dy.values.map((v) => v * 2520) };
      await compare('AvgPoolGrad', { dy: multiples, input: given }, attrs);
    }),
    { numRuns: 100 },
  );
});

test('3D pooling and its gradients equal cpu, also for windows of negative numbers', async () => {
  const shapes = fc.tuple(upTo(2), upTo(5), upTo(5), upTo(5), upTo(3)) as fc.Arbitrary<number[]>;
  await fc.assert(
    fc.asyncProperty(shapes, upTo(3), upTo(3), three(3), pads, fc.nat(999), async (x, d, side, strides, pad, seed) => {
      // The cpu backend's MaxPool3DGrad is wrong for windows that are not as high as wide (tfjs 4.22.0).
      const filterSize: [number, number, number] = [d, side, side];
      const info = tf.backend_util.computePool3DInfo(x as never, filterSize, strides, 1, pad);
      fc.pre(Math.min(info.outDepth, info.outHeight, info.outWidth) > 0);
      const attrs = { filterSize, strides, pad, dataFormat: 'NDHWC' };
      const given = distinct(x, seed);
      const y = await runOn('cpu', 'MaxPool3D', { x: given }, attrs);
      await compare('MaxPool3D', { x: given }, attrs);
      await compare('MaxPool3DGrad', { dy: input(y.shape, seed), input: given, output: y }, attrs);
    }),
    { numRuns: 100 },
  );
});

test('a maximum below zero takes the whole gradient', async () => {
  const x = { shape: [1, 2, 2, 1], values: Float32Array.from([-4, -2, -3, -5]) };
  const output = { shape: [1, 1, 1, 1], values: Float32Array.from([-2]) };
  const dy = { shape: [1, 1, 1, 1], values: Float32Array.from([7]) };
  const attrs = { filterSize: [2, 2], strides: [2, 2], pad: 'valid' };
  const { values } = await runOn('wasm', 'MaxPoolGrad', { dy, input: x, output }, attrs);
  expect(Array.from(values)).toEqual([0, 7, 0, 0]);
});

// By its definition: the cpu backend's own gradient is wrong for batches above 1 (tfjs 4.22.0).
test('the gradient of UpSampling2D is its adjoint: ⟨dy, up(x)⟩ = ⟨dx, x⟩', async () => {
  await useBackend('wasm');
  fc.assert(
    fc.property(upTo(3), upTo(4), upTo(4), upTo(3), upTo(3), (batch, h, w, timesH, timesW) => {
      tf.tidy(() => {
        const images = wholeTensor([batch, h, w, 3], 1);
        const dy = wholeTensor([batch, h * timesH, w * timesW, 3], 2);
        const attrs = { alignCorners: false, halfPixelCenters: false, size: [h * timesH, w * timesW] };
        const y = tf.engine().runKernel('ResizeNearestNeighbor', { images }, attrs) as tf.Tensor;
        const dx = tf.engine().runKernel('ResizeNearestNeighborGrad', { images, dy }, attrs) as tf.Tensor;
        expect(tf.sum(tf.mul(dx, images)).dataSync()).toEqual(tf.sum(tf.mul(dy, y)).dataSync());
      });
    }),
    { numRuns: 100 },
  );
});
