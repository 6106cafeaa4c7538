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
import { cut, cutImages } from './cuts';
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
  ): void {
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

  return {
    ...kernels,

    multiply(a, panels, bias, c, rows, k, n, low, high) {
      if (rows * k * n < WORTH_IT) return kernels.multiply(a, panels, bias, c, rows, k, n, low, high);
      // The kernel takes four rows at a time.
      const parts = cut(rows, fine, 4);
      pool.run(
        'multiply',
        parts.map(({ from, count }) => [
          a + from * k * FLOAT,
          panels,
          bias,
          c + from * n * FLOAT,
          count,
          k,
          n,
          low,
          high,
        ]),
      );
    },

    activationGradient(dy, y, dz, sums, rows, channels, ...slope) {
      if (rows * channels < WORTH_IT_EACH) {
        return kernels.activationGradient(dy, y, dz, sums, rows, channels, ...slope);
      }
      const task = (from: number, count: number, to: number) => {
        const skip = from * channels * FLOAT;
        return [dy + skip, y + skip, dz + skip, to, count, channels, ...slope];
      };
      if (sums === 0) {
        pool.run(
          'activationGradient',
          cut(rows, fine).map(({ from, count }) => task(from, count, 0)),
        );
        return;
      }
      const all = [{ at: sums, count: channels, bytesEach: DOUBLE } as const];
      runSumming('activationGradient', all, cut(rows, threads), ({ from, count }, [to]) => task(from, count, to));
    },

    columnSums(x, sums, rows, channels) {
      if (rows * channels < WORTH_IT_EACH) return kernels.columnSums(x, sums, rows, channels);
      const all = [{ at: sums, count: channels, bytesEach: DOUBLE } as const];
      runSumming('columnSums', all, cut(rows, threads), ({ from, count }, [to]) => [
        x + from * channels * FLOAT,
        to,
        count,
        channels,
      ]);
    },

    scaledGradient(dy, x, scale, mean, dx, sums, products, rows, channels) {
      if (rows * channels < WORTH_IT_EACH) {
        return kernels.scaledGradient(dy, x, scale, mean, dx, sums, products, rows, channels);
      }
      const all = [sums, products].map((at) => ({ at, count: channels, bytesEach: DOUBLE }) as const);
      runSumming('scaledGradient', all, cut(rows, threads), ({ from, count }, [toSums, toProducts]) => {
        const skip = from * channels * FLOAT;
        const to = dx === 0 ? 0 : dx + skip;
        return [dy + skip, x + skip, scale, mean, to, toSums, toProducts, count, channels];
      });
    },

    conv2dBackpropFilter(x, dy, dw, images, h, w, channels, outH, outW, filters, kh, kw, sh, sw, top, left) {
      const rows = images * outH * outW;
      if (rows * channels * filters * kh * kw < WORTH_IT || rows < ROWS_WORTH_IT * threads) {
        return kernels.conv2dBackpropFilter(
          ...([x, dy, dw, images, h, w, channels, outH, outW] as const),
          ...([filters, kh, kw, sh, sw, top, left] as const),
        );
      }
      const all = [{ at: dw, count: kh * kw * channels * filters, bytesEach: FLOAT } as const];
      const isProduct = [kh, kw, sh, sw].every((n) => n === 1) && top === 0 && left === 0 && h === outH && w === outW;
      if (isProduct) {
        // Pixels are all alike, whatever their image and row.
        runSumming('conv2dBackpropFilter', all, cut(images * h * w, threads), ({ from, count }, [to]) => [
          ...[x + from * channels * FLOAT, dy + from * filters * FLOAT, to],
          ...[1, 1, count, channels, 1, count, filters, kh, kw, sh, sw, top, left],
        ]);
        return;
      }
      runSumming('conv2dBackpropFilter', all, cutImages(images, outH, threads), (band, [to]) => [
        x + band.image * h * w * channels * FLOAT,
        dy + (band.image * outH + band.row) * outW * filters * FLOAT,
        ...[to, band.images, h, w, channels, band.rows, outW, filters, kh, kw, sh, sw, top - band.row * sh, left],
      ]);
    },

    depthwiseConv2d(x, filter, bias, y, images, h, w, channels, outH, outW, kh, kw, sh, sw, top, left, low, high) {
      if (images * outH * outW * channels * kh * kw < WORTH_IT) {
        return kernels.depthwiseConv2d(
          ...([x, filter, bias, y, images, h, w, channels, outH] as const),
          ...([outW, kh, kw, sh, sw, top, left, low, high] as const),
        );
      }
      pool.run(
        'depthwiseConv2d',
        cutImages(images, outH, fine).map((band) => [
          x + band.image * h * w * channels * FLOAT,
          filter,
          bias,
          y + (band.image * outH + band.row) * outW * channels * FLOAT,
          ...[band.images, h, w, channels, band.rows, outW, kh, kw, sh, sw, top - band.row * sh, left, low, high],
        ]),
      );
    },

    depthwiseBackpropFilter(x, dy, dw, images, h, w, channels, outH, outW, kh, kw, sh, sw, top, left) {
      if (images * outH * outW * channels * kh * kw < WORTH_IT) {
        return kernels.depthwiseBackpropFilter(
          ...([x, dy, dw, images, h, w, channels, outH, outW] as const),
          ...([kh, kw, sh, sw, top, left] as const),
        );
      }
      const all = [{ at: dw, count: kh * kw * channels, bytesEach: FLOAT } as const];
      runSumming('depthwiseBackpropFilter', all, cutImages(images, outH, threads), (band, [to]) => [
        x + band.image * h * w * channels * FLOAT,
        dy + (band.image * outH + band.row) * outW * channels * FLOAT,
        ...[to, band.images, h, w, channels, band.rows, outW, kh, kw, sh, sw, top - band.row * sh, left],
      ]);
    },

    depthwiseBackpropInput(dy, filter, dx, images, h, w, channels, outH, outW, kh, kw, sh, sw, top, left) {
      if (images * outH * outW * channels * kh * kw < WORTH_IT) {
        return kernels.depthwiseBackpropInput(
          ...([dy, filter, dx, images, h, w, channels, outH, outW] as const),
          ...([kh, kw, sh, sw, top, left] as const),
        );
      }
      // Here the rows are those of dx, and `top` counts the other way.
      pool.run(
        'depthwiseBackpropInput',
        cutImages(images, h, fine).map((band) => [
          dy + band.image * outH * outW * channels * FLOAT,
          filter,
          dx + (band.image * h + band.row) * w * channels * FLOAT,
          ...[band.images, band.rows, w, channels, outH, outW, kh, kw, sh, sw, top + band.row, left],
        ]),
      );
    },

    maxPool(x, y, dy, dx, images, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window) {
      const tasks = (parts: number) =>
        cut(images, parts).map(({ from, count }) => {
          const input = from * d * h * w * channels * FLOAT;
          const output = from * outD * outH * outW * channels * FLOAT;
          const values = y === 0 ? [0, dy + output, dx + input] : [y + output, 0, 0];
          return [x + input, ...values, count, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window];
        });
      const work = images * outD * outH * outW * channels * kd * kh * kw;
      if (images > 1 && work >= WORTH_IT) pool.run('maxPool', tasks(fine));
      else kernels.maxPool(x, y, dy, dx, images, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window);
    },

    averagePoolGradient(dy, dx, images, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window) {
      const work = images * outD * outH * outW * channels * kd * kh * kw;
      if (images < 2 || work < WORTH_IT) {
        return kernels.averagePoolGradient(
          ...([dy, dx, images, d, h, w, channels, outD, outH, outW, kd, kh, kw] as const),
          ...window,
        );
      }
      pool.run(
        'averagePoolGradient',
        cut(images, fine).map(({ from, count }) => [
          dy + from * outD * outH * outW * channels * FLOAT,
          dx + from * d * h * w * channels * FLOAT,
          ...[count, d, h, w, channels, outD, outH, outW, kd, kh, kw, ...window],
        ]),
      );
    },

    adam(value, m, v, gradient, newValue, newM, newV, count, ...rest) {
      if (count < WORTH_IT_EACH) return kernels.adam(value, m, v, gradient, newValue, newM, newV, count, ...rest);
      pool.run(
        'adam',
        cut(count, fine, 4).map((part) => [
          ...[value, m, v, gradient, newValue, newM, newV].map((at) => at + part.from * FLOAT),
          part.count,
          ...rest,
        ]),
      );
    },

    momentum(value, accumulation, gradient, newValue, newAccumulation, count, mu, negativeRate, nesterov) {
      if (count < WORTH_IT_EACH) {
        return kernels.momentum(
          ...([value, accumulation, gradient, newValue, newAccumulation] as const),
          ...([count, mu, negativeRate, nesterov] as const),
        );
      }
      pool.run(
        'momentum',
        cut(count, fine, 4).map((part) => [
          ...[value, accumulation, gradient, newValue, newAccumulation].map((at) => at + part.from * FLOAT),
          ...[part.count, mu, negativeRate, Number(nesterov)],
        ]),
      );
    },
  };
}
