/**
 * What the four gradient kernels need to know of a 2D convolution, axis by axis.
 *
 * Forward: y[n, oh, ow, ·] = Σ_{i,j} x[n, oh·s + i − before, ow·s + j − before, ·] · w[i, j, ·], x being zero outside.
 * Only `before` counts: what lies after the last row is zero however far the padding is said to reach, which is also
 * what the cpu backend does under `dimRoundingMode: 'ceil'`.
 */
import { backend_util, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';

export interface Axis {
  /** Length of x, y and w along this axis. */
  size: number;
  out: number;
  taps: number;
  stride: number;
  /** Zeros before the first row of x. */
  before: number;
}

export interface ConvGeometry {
  batch: number;
  inChannels: number;
  outChannels: number;
  h: Axis;
  w: Axis;
}

type Shape4 = [number, number, number, number];

/** The attributes that `Conv2DBackprop*` and `DepthwiseConv2dNativeBackprop*` share. */
export interface ConvAttrs {
  strides: [number, number] | number;
  pad: Parameters<typeof backend_util.computeConv2DInfo>[4];
  dimRoundingMode?: Parameters<typeof backend_util.computeConv2DInfo>[5];
  dataFormat?: string;
  dilations?: [number, number] | number;
}

export type ConvInfo = ReturnType<typeof backend_util.computeConv2DInfo>;

export function geometryOfInfo(info: ConvInfo): ConvGeometry {
  return {
    batch: info.batchSize,
    inChannels: info.inChannels,
    outChannels: info.outChannels,
    h: {
      size: info.inHeight,
      out: info.outHeight,
      taps: info.filterHeight,
      stride: info.strideHeight,
      before: info.padInfo.top,
    },
    w: {
      size: info.inWidth,
      out: info.outWidth,
      taps: info.filterWidth,
      stride: info.strideWidth,
      before: info.padInfo.left,
    },
  };
}

/**
 * The convolution whose gradient a kernel is asked for.
 * @throws TuneModeError `unsupported` for channelsFirst and for dilation, which tfjs never asks of a gradient kernel.
 */
export function forwardGeometry(
  kernelName: string,
  depthwise: boolean,
  inputShape: number[],
  filterShape: number[],
  attrs: ConvAttrs,
): ConvGeometry {
  refuseChannelsFirst(kernelName, attrs.dataFormat);
  const dilations = [attrs.dilations ?? 1].flat();
  if (dilations.some((rate) => rate !== 1)) {
    throw new TuneModeError(
      'unsupported',
      `${kernelName} on wasm: found dilations [${dilations}], expected 1. ` +
        'Split x into its phases (space to batch) and ask for the undilated gradient of each.',
    );
  }
  return geometryOfInfo(
    backend_util.computeConv2DInfo(
      inputShape as Shape4,
      filterShape as Shape4,
      attrs.strides,
      1,
      attrs.pad,
      attrs.dimRoundingMode,
      depthwise,
    ),
  );
}

/** The shape of y. */
export function outputShape({ batch, h, w, outChannels }: ConvGeometry): Shape4 {
  return [batch, h.out, w.out, outChannels];
}

/**
 * The same for a given `dy`.
 * @throws TuneModeError `unsupported` also for a `dy` that is no output of this convolution.
 */
export function geometryOf(
  kernelName: string,
  depthwise: boolean,
  inputShape: number[],
  filterShape: number[],
  dyShape: number[],
  attrs: ConvAttrs,
): ConvGeometry {
  const g = forwardGeometry(kernelName, depthwise, inputShape, filterShape, attrs);
  requireOutput(kernelName, g, dyShape, inputShape, filterShape);
  return g;
}

export function requireOutput(
  kernelName: string,
  g: ConvGeometry,
  dyShape: number[],
  inputShape: number[],
  filterShape: number[],
): void {
  const expected = outputShape(g);
  if (util.arraysEqual(dyShape, expected)) return;
  throw new TuneModeError(
    'unsupported',
    `${kernelName} on wasm: found dy of shape [${dyShape}], expected [${expected}], ` +
      `the output for an input of shape [${inputShape}] and a filter of shape [${filterShape}].`,
  );
}

/** What every convolution of the SIMD module is told last, in its order. */
export function windowOf({ h, w }: ConvGeometry): [number, number, number, number, number, number] {
  return [h.taps, w.taps, h.stride, w.stride, h.before, w.before];
}

/** Whether the convolution is one matrix product on x as it lies: a 1 × 1 filter with stride 1 and no padding. */
export function isPointwise(g: ConvGeometry): boolean {
  return [g.h, g.w].every((a) => a.taps === 1 && a.stride === 1 && a.before === 0 && a.out === a.size);
}

export function refuseChannelsFirst(kernelName: string, dataFormat: string | undefined): void {
  if (dataFormat === undefined || dataFormat === 'NHWC') return;
  throw new TuneModeError(
    'unsupported',
    `${kernelName} on wasm: found dataFormat '${dataFormat}', expected 'NHWC'. Transpose x to [batch, height, width, channels].`,
  );
}

/** The output rows whose tap `tap` falls inside x: from (included) and to (excluded). */
export function outputsInside({ size, out, stride, before }: Axis, tap: number): [from: number, to: number] {
  const from = Math.max(0, Math.ceil((before - tap) / stride));
  const to = Math.min(out, Math.floor((size - 1 + before - tap) / stride) + 1);
  return [from, Math.max(from, to)];
}
