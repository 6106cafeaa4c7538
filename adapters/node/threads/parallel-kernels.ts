/**
 * The SIMD kernels spread over the pool's threads: the same functions, each cut along its rows or images.
 *
 * What a kernel writes for a row does not depend on the cut, so it is bit-identical with one thread. What kernels add up
 * over rows (the gradients of filters and biases) is added up per part and then part by part, in order: the same numbers
 * in every run with the same number of threads, and with another number the same to rounding.
 *
 * A band of rows of an image is the convolution of the whole image with another `top`: padding that is negative by the
 * rows that were left out.
 */
import type { SimdKernels } from '../../wasm/simd';
import { cut, cutImages, type Part } from './cuts';
import type { KernelPool } from './kernel-pool';

/** What is used of Emscripten's module. HEAPU8 is replaced when the heap grows. */
export interface Heap {
  _malloc(bytes: number): number;
  _free(address: number): void;
  HEAPU8: Uint8Array;
}

/** Multiplications below which a job is not worth waking a thread: about 50 µs of work. */
const WORTH_IT = 400_000;

/** Numbers that are only read, changed and written: so many take 50 µs. */
const WORTH_IT_EACH = 100_000;

/**
 * Rows for each number that is added up, below which adding up parts costs more than the parts save: about 1 ns for a
 * number of a part, and 0.15 ns for a row of it.
 */
const ROWS_WORTH_IT = 64;

/** Parts for each thread where parts cost nothing: a thread that is late takes fewer of them. */
const FINE = 4;

const FLOAT = 4;
const DOUBLE = 8;

/** Where a kernel adds up numbers. */
interface Sums {
  at: number;
  count: number;
  bytesEach: typeof FLOAT | typeof DOUBLE;
}

export function parallelKernels(kernels: SimdKernels, pool: KernelPool, heap: Heap): SimdKernels {
  const { threads } = pool;
  const fine = threads * FINE;

  /** Runs one task for each part: the first adds to `sums` itself, the others to zeros of their own, added up after it. */
  function runSumming<P>(
    kernel: keyof SimdKernels,
    sums: readonly Sums[],
    parts: readonly P[],
    task: (part: P, sumsAt: number[]) => number[],
  ): true {
    const size = sums.reduce((bytes, { count, bytesEach }) => bytes + count * bytesEach, 0);
    const bytes = size * (parts.length - 1);
    const scratch = heap._malloc(Math.max(16, bytes)) >>> 0;
    try {
      heap.HEAPU8.fill(0, scratch, scratch + bytes);
      const placesOf = (part: number) => {
        if (part === 0) return sums.map(({ at }) => at);
        let next = scratch + size * (part - 1);
        return sums.map(({ count, bytesEach }) => {
          const at = next;
          next += count * bytesEach;
          return at;
        });
      };
      pool.run(
        kernel,
        parts.map((part, i) => task(part, placesOf(i))),
      );
      for (let part = 1; part < parts.length; part++) {
        placesOf(part).forEach((from, i) => {
          addUp(sums[i], from);
        });
      }
    } finally {
      heap._free(scratch);
    }
    return true;
  }

  function addUp({ at, count, bytesEach }: Sums, from: number): void {
    const view = (address: number) =>
      bytesEach === FLOAT
        ? new Float32Array(heap.HEAPU8.buffer, address, count)
        : new Float64Array(heap.HEAPU8.buffer, address, count);
    const to = view(at);
    const terms = view(from);
    for (let k = 0; k < count; k++) to[k] += terms[k];
  }

  /**
   * A kernel that is cut where that is worth it.
   * @param run Runs it on the threads, or gives false: then it is run here, whole.
   */
  function orWhole<K extends keyof SimdKernels>(
    name: K,
    run: (...args: Parameters<SimdKernels[K]>) => boolean,
  ): (...args: Parameters<SimdKernels[K]>) => void {
    const whole = kernels[name] as (...args: Parameters<SimdKernels[K]>) => unknown;
    return (...args) => {
      if (!run(...args)) whole(...args);
    };
  }

  /** Runs tasks that write to places of their own. */
  function runEach<P>(kernel: keyof SimdKernels, parts: readonly P[], task: (part: P) => readonly number[]): true {
    pool.run(kernel, parts.map(task));
    return true;
  }

  return {
    ...kernels,

    multiply: orWhole('multiply', (a, panels, bias, c, rows, k, n, low, high) => {
      if (rows * k * n < WORTH_IT) return false;
      // The kernel takes four rows at a time.
      return runEach('multiply', cut(rows, fine, 4), ({ from, count }) => [
        ...[a + from * k * FLOAT, panels, bias, c + from * n * FLOAT],
        ...[count, k, n, low, high],
      ]);
    }),

    activationGradient: orWhole('activationGradient', (dy, y, dz, sums, rows, channels, ...slope) => {
      if (rows * channels < WORTH_IT_EACH) return false;
      const task = ({ from, count }: Part, to: number) => {
        const skip = from * channels * FLOAT;
        return [dy + skip, y + skip, dz + skip, to, count, channels, ...slope];
      };
      if (sums === 0) return runEach('activationGradient', cut(rows, fine), (part) => task(part, 0));
      const all = [{ at: sums, count: channels, bytesEach: DOUBLE } as const];
      return runSumming('activationGradient', all, cut(rows, threads), (part, [to]) => task(part, to));
    }),

    columnSums: orWhole('columnSums', (x, sums, rows, channels) => {
      if (rows * channels < WORTH_IT_EACH) return false;
      const all = [{ at: sums, count: channels, bytesEach: DOUBLE } as const];
      return runSumming('columnSums', all, cut(rows, threads), ({ from, count }, [to]) => [
        x + from * channels * FLOAT,
        to,
        count,
        channels,
      ]);
    }),

    scaledGradient: orWhole('scaledGradient', (dy, x, scale, mean, dx, sums, products, rows, channels) => {
      if (rows * channels < WORTH_IT_EACH) return false;
      const all = [sums, products].map((at) => ({ at, count: channels, bytesEach: DOUBLE }) as const);
      return runSumming('scaledGradient', all, cut(rows, threads), ({ from, count }, [toSums, toProducts]) => {
        const skip = from * channels * FLOAT;
        const to = dx === 0 ? 0 : dx + skip;
        return [dy + skip, x + skip, scale, mean, to, toSums, toProducts, count, channels];
      });
    }),

    conv2dBackpropFilter: orWhole(
      'conv2dBackpropFilter',
      (x, dy, dw, images, h, w, channels, outH, outW, filters, kh, kw, sh, sw, top, left) => {
        const rows = images * outH * outW;
        if (rows * channels * filters * kh * kw < WORTH_IT || rows < ROWS_WORTH_IT * threads) return false;
        const all = [{ at: dw, count: kh * kw * channels * filters, bytesEach: FLOAT } as const];
        const isProduct = [kh, kw, sh, sw].every((n) => n === 1) && top === 0 && left === 0 && h === outH && w === outW;
        if (isProduct) {
          // Pixels are all alike, whatever their image and row.
          return runSumming('conv2dBackpropFilter', all, cut(images * h * w, threads), ({ from, count }, [to]) => [
            ...[x + from * channels * FLOAT, dy + from * filters * FLOAT, to],
            ...[1, 1, count, channels, 1, count, filters, kh, kw, sh, sw, top, left],
          ]);
        }
        return runSumming('conv2dBackpropFilter', all, cutImages(images, outH, threads), (band, [to]) => [
          x + band.image * h * w * channels * FLOAT,
          dy + (band.image * outH + band.row) * outW * filters * FLOAT,
          ...[to, band.images, h, w, channels, band.rows, outW, filters, kh, kw, sh, sw, top - band.row * sh, left],
        ]);
      },
    ),

    depthwiseConv2d: orWhole(
      'depthwiseConv2d',
      (x, filter, bias, y, images, h, w, channels, outH, outW, kh, kw, sh, sw, top, left, low, high) => {
        if (images * outH * outW * channels * kh * kw < WORTH_IT) return false;
        return runEach('depthwiseConv2d', cutImages(images, outH, fine), (band) => [
          x + band.image * h * w * channels * FLOAT,
          filter,
          bias,
          y + (band.image * outH + band.row) * outW * channels * FLOAT,
          ...[band.images, h, w, channels, band.rows, outW, kh, kw, sh, sw, top - band.row * sh, left, low, high],
        ]);
      },
    ),

    depthwiseBackpropFilter: orWhole(
      'depthwiseBackpropFilter',
      (x, dy, dw, images, h, w, channels, outH, outW, kh, kw, sh, sw, top, left) => {
        if (images * outH * outW * channels * kh * kw < WORTH_IT) return false;
        const all = [{ at: dw, count: kh * kw * channels, bytesEach: FLOAT } as const];
        return runSumming('depthwiseBackpropFilter', all, cutImages(images, outH, threads), (band, [to]) => [
          x + band.image * h * w * channels * FLOAT,
          dy + (band.image * outH + band.row) * outW * channels * FLOAT,
          ...[to, band.images, h, w, channels, band.rows, outW, kh, kw, sh, sw, top - band.row * sh, left],
        ]);
      },
    ),

    depthwiseBackpropInput: orWhole(
      'depthwiseBackpropInput',
      (dy, filter, dx, images, h, w, channels, outH, outW, kh, kw, sh, sw, top, left) => {
        if (images * outH * outW * channels * kh * kw < WORTH_IT) return false;
        // Here the rows are those of dx, and `top` counts the other way.
        return runEach('depthwiseBackpropInput', cutImages(images, h, fine), (band) => [
          dy + band.image * outH * outW * channels * FLOAT,
          filter,
          dx + (band.image * h + band.row) * w * channels * FLOAT,
          ...[band.images, band.rows, w, channels, outH, outW, kh, kw, sh, sw, top + band.row, left],
        ]);
      },
    ),

    maxPool: orWhole('maxPool', (x, y, dy, dx, images, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window) => {
      if (images < 2 || images * outD * outH * outW * channels * kd * kh * kw < WORTH_IT) return false;
      return runEach('maxPool', cut(images, fine), ({ from, count }) => {
        const input = from * d * h * w * channels * FLOAT;
        const output = from * outD * outH * outW * channels * FLOAT;
        const values = y === 0 ? [0, dy + output, dx + input] : [y + output, 0, 0];
        return [x + input, ...values, count, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window];
      });
    }),

    averagePoolGradient: orWhole(
      'averagePoolGradient',
      (dy, dx, images, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window) => {
        if (images < 2 || images * outD * outH * outW * channels * kd * kh * kw < WORTH_IT) return false;
        return runEach('averagePoolGradient', cut(images, fine), ({ from, count }) => [
          dy + from * outD * outH * outW * channels * FLOAT,
          dx + from * d * h * w * channels * FLOAT,
          ...[count, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window],
        ]);
      },
    ),

    adam: orWhole('adam', (value, m, v, gradient, newValue, newM, newV, count, ...rest) => {
      if (count < WORTH_IT_EACH) return false;
      return runEach('adam', cut(count, fine, 4), (part) => [
        ...[value, m, v, gradient, newValue, newM, newV].map((at) => at + part.from * FLOAT),
        part.count,
        ...rest,
      ]);
    }),

    momentum: orWhole('momentum', (value, accumulation, gradient, newValue, newAccumulation, count, ...rest) => {
      if (count < WORTH_IT_EACH) return false;
      const [mu, negativeRate, nesterov] = rest;
      return runEach('momentum', cut(count, fine, 4), (part) => [
        ...[value, accumulation, gradient, newValue, newAccumulation].map((at) => at + part.from * FLOAT),
        ...[part.count, mu, negativeRate, Number(nesterov)],
      ]);
    }),
  };
}
