/**
 * Max pooling, as far as the backend's own kernels (4.22.0) are wrong: MaxPool3D, MaxPoolGrad and MaxPool3DGrad take the
 * smallest positive number for the smallest of all, so a window of negative numbers has the maximum 1.2e−38 and passes no
 * gradient on. After a ReLU nobody sees it, after a leaky one training goes wrong. (MaxPool itself is XNNPACK's, and right.)
 *
 *   y[n, o, c] = max over the window of x;   dx[n, p, c] = Σ dy[n, o, c] over the windows o whose first maximum is p.
 *
 * 2D pooling is 3D pooling of depth 1. NaN is no maximum, as on the cpu backend.
 */
import {
  backend_util,
  type MaxPool3DAttrs,
  type MaxPool3DGradAttrs,
  type MaxPoolGradAttrs,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { heapOf, kernel, zeros } from '../heap';

type PoolInfo = ReturnType<typeof backend_util.computePool3DInfo>;

export const maxPool3d = kernel<{ x: TensorInfo }, MaxPool3DAttrs>(({ x }, backend, attrs) => {
  const info = poolInfo3d(x.shape, attrs);
  const y = zeros(info.outShape);
  const from = heapOf(backend, x);
  const to = heapOf(backend, y);
  eachMaximum(info, from, (output, position) => {
    to[output] = position < 0 ? Number.NEGATIVE_INFINITY : from[position];
  });
  return y;
});

interface GradInputs {
  dy: TensorInfo;
  input: TensorInfo;
}

export const maxPool3dGrad = kernel<GradInputs, MaxPool3DGradAttrs>(({ dy, input }, backend, attrs) => {
  const dx = zeros(input.shape);
  const from = heapOf(backend, dy);
  const to = heapOf(backend, dx);
  eachMaximum(poolInfo3d(input.shape, attrs), heapOf(backend, input), (output, position) => {
    if (position >= 0) to[position] += from[output];
  });
  return dx;
});

export const maxPoolGrad = kernel<GradInputs, MaxPoolGradAttrs>(({ dy, input }, backend, attrs) => {
  const dx = zeros(input.shape);
  const from = heapOf(backend, dy);
  const to = heapOf(backend, dx);
  eachMaximum(poolInfo2d(input.shape, attrs), heapOf(backend, input), (output, position) => {
    if (position >= 0) to[position] += from[output];
  });
  return dx;
});

function poolInfo3d(shape: number[], attrs: MaxPool3DAttrs | MaxPool3DGradAttrs): PoolInfo {
  const { filterSize, strides, pad, dimRoundingMode } = attrs;
  const shape5 = shape as [number, number, number, number, number];
  return backend_util.computePool3DInfo(shape5, filterSize, strides, 1, pad, dimRoundingMode);
}

function poolInfo2d(shape: number[], { filterSize, strides, pad, dimRoundingMode }: MaxPoolGradAttrs): PoolInfo {
  const shape4 = shape as [number, number, number, number];
  const info = backend_util.computePool2DInfo(shape4, filterSize, strides, 1, pad, dimRoundingMode);
  return {
    ...info,
    dataFormat: 'channelsLast',
    inDepth: 1,
    outDepth: 1,
    strideDepth: 1,
    filterDepth: 1,
    effectiveFilterDepth: 1,
    dilationDepth: 1,
    padInfo: { ...info.padInfo, front: 0, back: 0 },
    inShape: shape as PoolInfo['inShape'],
    outShape: info.outShape as unknown as PoolInfo['outShape'],
    filterShape: [1, info.filterHeight, info.filterWidth, info.inChannels, 1],
  } as PoolInfo;
}

/** Calls `use` for every output with the place in x of its window's first maximum, −1 where the window holds none. */
function eachMaximum(g: PoolInfo, x: Float32Array, use: (output: number, position: number) => void): void {
  const { front, top, left } = g.padInfo;
  const channels = g.inChannels;
  let output = 0;
  for (let n = 0; n < g.batchSize; n++) {
    for (let d = 0; d < g.outDepth; d++) {
      const [d0, d1] = window(d * g.strideDepth - front, g.filterDepth, g.inDepth);
      for (let r = 0; r < g.outHeight; r++) {
        const [r0, r1] = window(r * g.strideHeight - top, g.filterHeight, g.inHeight);
        for (let s = 0; s < g.outWidth; s++) {
          const [s0, s1] = window(s * g.strideWidth - left, g.filterWidth, g.inWidth);
          for (let c = 0; c < channels; c++) {
            let largest = Number.NEGATIVE_INFINITY;
            let position = -1;
            for (let i = d0; i < d1; i++) {
              for (let j = r0; j < r1; j++) {
                let at = (((n * g.inDepth + i) * g.inHeight + j) * g.inWidth + s0) * channels + c;
                for (let k = s0; k < s1; k++, at += channels) {
                  if (x[at] > largest) {
                    largest = x[at];
                    position = at;
                  }
                }
              }
            }
            use(output++, position);
          }
        }
      }
    }
  }
}

function window(start: number, length: number, size: number): [from: number, to: number] {
  return [Math.max(0, start), Math.min(size, start + length)];
}
