/**
 * The wasm backend's other kernels that training a vision model calls, our repairs among them, against the cpu backend on
 * random inputs: negative numbers, odd sizes, strides above windows, axes of length 1.
 *
 * Tolerance, relative to the largest entry of an output: sums have at most n ≈ 400 terms, rounding in float32 has u = 6e−8
 * and its errors grow like √n·u ≈ 1.2e−6; a bilinear position near 12 is off by 12·u, times a slope of 6: 4e−6; exponentials
 * and logarithms are series of their own, good to 1e−6. 2e−5 leaves a factor of five; a wrong row gives 1e−2 or more.
 */
import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../../helpers/backends';
import { type Case, type Input, KERNELS, Random } from './peers-kernel-cases';

const TOLERANCE = 2e-5;
const RUNS = 60;

async function runOn(backend: 'cpu' | 'wasm', name: string, { inputs, attrs }: Case) {
  await useBackend(backend);
  const before = tf.memory().numTensors;
  const result = tf.tidy(() => {
    const make = ({ shape, values, dtype }: Input) => tf.tensor(values, shape, dtype ?? 'float32');
    const tensors = Array.isArray(inputs)
      ? inputs.map(make)
      : Object.fromEntries(Object.entries(inputs).map(([key, input]) => [key, make(input)]));
    const y = tf.engine().runKernel(name, tensors as tf.NamedTensorMap, attrs as tf.NamedAttrMap) as tf.Tensor;
    return { shape: y.shape, dtype: y.dtype as string, values: Array.from(y.dataSync()) };
  });
  expect(tf.memory().numTensors).toBe(before);
  return result;
}

test.each(KERNELS)('%s equals cpu', async (name, generate) => {
  let ran = 0;
  for (let seed = 0; seed < RUNS; seed++) {
    const c = generate(new Random(seed * 7919 + 1));
    if (c === undefined) continue;
    const kernel = c.kernel ?? name;
    const expected = await runOn('cpu', kernel, c);
    const found = await runOn('wasm', kernel, c);
    const finite = expected.values.filter(Number.isFinite).map(Math.abs);
    const largest = Math.max(0, ...finite);
    const far = expected.values.findIndex(
      (v, i) =>
        !Object.is(v, found.values[i]) &&
        !(Math.abs(v - found.values[i]) <= TOLERANCE * largest) &&
        v !== found.values[i],
    );
    const what = { shape: found.shape, dtype: found.dtype, far: far < 0 ? null : [far, found.values[far]], case: c };
    expect(what).toEqual({ shape: expected.shape, dtype: expected.dtype, far: null, case: c });
    ran++;
  }
  expect(ran).toBeGreaterThan(RUNS / 4);
});

test('pooling writes nowhere but into its output, however windows are counted', async () => {
  await useBackend('wasm');
  const x = tf.ones([2, 7, 7, 3]) as tf.Tensor4D;
  for (const [filter, strides, pad, rounding] of [
    [[2, 3], 1, 0, 'floor'],
    [[3, 2], [1, 3], 2, 'ceil'],
    [[1, 1], 2, 1, 'floor'],
    [[2, 4], [3, 1], 1, 'round'],
  ] as [[number, number], number | [number, number], number, 'floor' | 'ceil' | 'round'][]) {
    const guards = Array.from({ length: 30 }, () => tf.fill([2, 7, 7, 3], 7));
    for (let i = 0; i < 30; i += 2) guards[i].dispose();
    const pooled = [tf.maxPool(x, filter, strides, pad, rounding), tf.avgPool(x, filter, strides, pad, rounding)];
    const kept = guards.filter((guard) => !guard.isDisposed);
    for (const guard of kept) expect(guard.dataSync().every((v) => v === 7)).toBe(true);
    tf.dispose([kept, pooled]);
  }
  x.dispose();
});

test('grayscale pictures are made on wasm as on cpu', async () => {
  const make = () =>
    tf.tidy(() =>
      Array.from(
        tf.image
          .rgbToGrayscale(
            tf.tensor3d([
              [
                [10, 20, 30],
                [250, 128, 0],
              ],
            ]),
          )
          .dataSync(),
      ),
    );
  await useBackend('cpu');
  const expected = make();
  await useBackend('wasm');
  for (const [i, v] of make().entries()) expect(v).toBeCloseTo(expected[i], 3);
});

test('what the cpu backend has and wasm has not: complex numbers, ragged tensors, strings, drawing', async () => {
  await useBackend('wasm');
  const names = (backend: string) => tf.getKernelsForBackend(backend).map(({ kernelName }) => kernelName);
  const wasm = new Set(names('wasm'));
  // Every kernel that a gradient of tfjs asks for is one of cpu's; of these only the gradients of complex numbers ask for one.
  expect(
    names('cpu')
      .filter((name) => !wasm.has(name) && !name.startsWith('Tune'))
      .sort(),
  ).toEqual(
    'Complex ComplexAbs Draw FFT IFFT Imag RaggedGather RaggedRange RaggedTensorToTensor Real StaticRegexReplace'.split(
      ' ',
    ),
  );
});
