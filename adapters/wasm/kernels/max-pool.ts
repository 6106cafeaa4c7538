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
import { addressOf, kernel, unwritten, type WasmBackend, zeros } from '../heap';
import { simd } from '../simd';

type PoolInfo = ReturnType<typeof backend_util.computePool3DInfo>;

export const maxPool3d = kernel<{ x: TensorInfo }, MaxPool3DAttrs>(({ x }, backend, attrs) => {
  const info = poolInfo3d(x.shape, attrs);
  const y = unwritten(info.outShape, backend);
  pool(info, backend, x, addressOf(backend, y), 0, 0);
  return y;
});

interface GradInputs {
  dy: TensorInfo;
  input: TensorInfo;
}

export const maxPool3dGrad = kernel<GradInputs, MaxPool3DGradAttrs>(({ dy, input }, backend, attrs) => {
  const dx = zeros(input.shape);
  pool(poolInfo3d(input.shape, attrs), backend, input, 0, addressOf(backend, dy), addressOf(backend, dx));
  return dx;
});

export const maxPoolGrad = kernel<GradInputs, MaxPoolGradAttrs>(({ dy, input }, backend, attrs) => {
  const dx = zeros(input.shape);
  pool(poolInfo2d(input.shape, attrs), backend, input, 0, addressOf(backend, dy), addressOf(backend, dx));
  return dx;
});

/** Writes y, or adds to dx: see `maxPool` in ../simd/pools.ts. */
function pool(g: PoolInfo, backend: WasmBackend, x: TensorInfo, y: number, dy: number, dx: number): void {
  if (g.batchSize * g.inDepth * g.inHeight * g.inWidth * g.inChannels === 0) return;
  const { front, top, left } = g.padInfo;
  simd(backend).maxPool(
    addressOf(backend, x),
    y,
    dy,
    dx,
    g.batchSize,
    g.inDepth,
    g.inHeight,
    g.inWidth,
    g.inChannels,
    g.outDepth,
    g.outHeight,
    g.outWidth,
    g.effectiveFilterDepth,
    g.effectiveFilterHeight,
    g.effectiveFilterWidth,
    g.strideDepth,
    g.strideHeight,
    g.strideWidth,
    front,
    top,
    left,
  );
}

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
