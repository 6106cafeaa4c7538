/** What the pooling kernels need to know of a pooling; 2D pooling is 3D pooling of depth 1. */
import {
  backend_util,
  type MaxPool3DAttrs,
  type MaxPool3DGradAttrs,
  type MaxPoolGradAttrs,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';

export type PoolInfo = ReturnType<typeof backend_util.computePool3DInfo>;

export function poolInfo3d(shape: number[], attrs: MaxPool3DAttrs | MaxPool3DGradAttrs): PoolInfo {
  const { filterSize, strides, pad, dimRoundingMode } = attrs;
  const shape5 = shape as [number, number, number, number, number];
  return backend_util.computePool3DInfo(shape5, filterSize, strides, 1, pad, dimRoundingMode);
}

export function poolInfo2d(shape: number[], { filterSize, strides, pad, dimRoundingMode }: MaxPoolGradAttrs): PoolInfo {
  const shape4 = shape as [number, number, number, number];
  return atDepth1(backend_util.computePool2DInfo(shape4, filterSize, strides, 1, pad, dimRoundingMode));
}

/** A 2D pooling as one of volumes of depth 1. */
export function atDepth1(info: ReturnType<typeof backend_util.computePool2DInfo>): PoolInfo {
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
    inShape: info.inShape as unknown as PoolInfo['inShape'],
    outShape: info.outShape as unknown as PoolInfo['outShape'],
    filterShape: [1, info.filterHeight, info.filterWidth, info.inChannels, 1],
  } as PoolInfo;
}

/**
 * The pooling with the number of windows that dy has: tfjs does not tell a gradient kernel how they were counted
 * (`dimRoundingMode`).
 * @throws TuneModeError `unsupported` for a `dy` of another batch, number of channels or rank.
 */
export function withWindowsOf(kernelName: string, g: PoolInfo, dy: TensorInfo): PoolInfo {
  const [batch, ...rest] = dy.shape;
  const channels = rest.pop();
  const [depth, height, width] = rest.length === 2 ? [1, ...rest] : rest;
  if (batch === g.batchSize && channels === g.inChannels && dy.shape.length === g.outShape.length) {
    return { ...g, outDepth: depth, outHeight: height, outWidth: width };
  }
  throw new TuneModeError(
    'unsupported',
    `${kernelName} on wasm: found dy of shape [${dy.shape}], expected [${g.outShape}], the output for an input of shape [${g.inShape}].`,
  );
}

export function isEmpty(g: PoolInfo): boolean {
  return util.sizeFromShape(g.inShape) * g.outDepth * g.outHeight * g.outWidth === 0;
}

/** What the SIMD module's pooling functions are told last, in their order. */
export function windowsOf(g: PoolInfo) {
  const { front, top, left } = g.padInfo;
  const input = [g.batchSize, g.inDepth, g.inHeight, g.inWidth, g.inChannels] as const;
  const output = [g.outDepth, g.outHeight, g.outWidth] as const;
  const window = [g.effectiveFilterDepth, g.effectiveFilterHeight, g.effectiveFilterWidth] as const;
  return [...input, ...output, ...window, g.strideDepth, g.strideHeight, g.strideWidth, front, top, left] as const;
}
