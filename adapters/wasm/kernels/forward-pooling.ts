/**
 * Repair of MaxPool and AvgPool of the wasm backend (4.22.0), which XNNPACK computes.
 *
 * XNNPACK works out the number of windows from the padding, rounding down. Where tfjs counts in another way
 * (`dimRoundingMode`, or one number as padding: tfjs then takes the window for as wide as high), XNNPACK writes rows of
 * another length than the output has, and beyond its end. And where the padding is as wide as the window, it gives up and
 * the output is whatever lay in that memory. Those cases are computed here as the formula stands, maxima as MaxPool3D
 * has them; all others are XNNPACK's.
 *
 *   y[n, o, c] = the maximum, or the mean, of what the window sees of x: −∞, or NaN, where it sees padding alone.
 */
import {
  backend_util,
  Identity,
  type KernelFunc,
  type MaxPoolAttrs,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import { addressOf, heapOf, kernel, runKernel, unwritten } from '../heap';
import { atDepth1, windowsOf } from '../pool-geometry';
import { simd } from '../simd';

type PoolInfo = ReturnType<typeof backend_util.computePool2DInfo>;

/** The part of x that a window sees along one axis. */
interface Seen {
  from: number;
  to: number;
}

export function repairedPooling(kind: 'max' | 'mean', native: KernelFunc): KernelFunc {
  const poolOdd = kernel<{ x: TensorInfo }, { info: PoolInfo }>(({ x }, backend, { info }) => {
    if (isIdentity(info)) return runKernel(Identity, { x }, {});
    const y = unwritten(info.outShape, backend);
    if (kind === 'max')
      simd(backend).maxPool(addressOf(backend, x), addressOf(backend, y), 0, 0, ...windowsOf(atDepth1(info)));
    // After the allocation: it may have moved the heap.
    else averages(info, heapOf(backend, x), heapOf(backend, y));
    return y;
  });
  return (args) => {
    const x = args.inputs.x as TensorInfo;
    const { filterSize, strides, pad, dimRoundingMode } = args.attrs as unknown as MaxPoolAttrs;
    const shape = x.shape as [number, number, number, number];
    const info = backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
    if (x.dtype !== 'float32' || (isUnderstood(info) && !isIdentity(info))) return native(args);
    return poolOdd({ ...args, attrs: { info } as never });
  };
}

/** A window of one number with as many outputs as inputs gives x, whatever stride and padding say: so all of tfjs' backends. */
function isIdentity(g: PoolInfo): boolean {
  return g.filterHeight === 1 && g.filterWidth === 1 && util.arraysEqual(g.inShape, g.outShape);
}

function isUnderstood(g: PoolInfo): boolean {
  const { top, bottom, left, right } = g.padInfo;
  return (
    util.sizeFromShape(g.outShape) > 0 &&
    counts(g.inHeight, top, bottom, g.filterHeight, g.strideHeight) === g.outHeight &&
    counts(g.inWidth, left, right, g.filterWidth, g.strideWidth) === g.outWidth
  );
}

/** XNNPACK's number of windows along an axis; NaN where it refuses to compute any. */
function counts(size: number, before: number, after: number, filter: number, stride: number): number {
  if (before >= filter || after >= filter) return Number.NaN;
  return Math.floor((size + before + after - filter) / stride) + 1;
}

function averages(g: PoolInfo, x: Float32Array, y: Float32Array): void {
  const channels = g.inChannels;
  let output = 0;
  for (let n = 0; n < g.batchSize; n++) {
    for (let r = 0; r < g.outHeight; r++) {
      const rows = seen(r * g.strideHeight - g.padInfo.top, g.filterHeight, g.inHeight);
      for (let s = 0; s < g.outWidth; s++) {
        const columns = seen(s * g.strideWidth - g.padInfo.left, g.filterWidth, g.inWidth);
        const count = Math.max(0, rows.to - rows.from) * Math.max(0, columns.to - columns.from);
        for (let c = 0; c < channels; c++) {
          let total = 0;
          for (let i = rows.from; i < rows.to; i++) {
            for (let j = columns.from; j < columns.to; j++) {
              total += x[((n * g.inHeight + i) * g.inWidth + j) * channels + c];
            }
          }
          y[output++] = total / count;
        }
      }
    }
  }
}

function seen(start: number, length: number, size: number): Seen {
  return { from: Math.max(0, start), to: Math.min(size, start + length) };
}
