/**
 * A 3D convolution as 2D convolutions of its slices in depth, each of which lies in one piece in memory:
 *
 *   y[n, d] = Σ_k conv2d(x[n, d·s + k − front], w[k]).
 *
 * For one image and one tap k of depth, the slices of x and y that belong together form *runs*: with stride 1 a single
 * run of neighbours, which one 2D kernel takes as a batch; with larger strides each slice is a run of its own.
 */
import { backend_util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { type Axis, outputsInside } from './conv-geometry';

export interface VolumeAttrs {
  strides: [number, number, number] | number;
  pad: 'same' | 'valid';
}

export interface Volume {
  batch: number;
  depth: Axis;
  /** Shapes of one slice of x, of y and of w. */
  xSlice: [height: number, width: number, channels: number];
  ySlice: [height: number, width: number, channels: number];
  wSlice: [height: number, width: number, inChannels: number, outChannels: number];
  /** The attributes of the 2D convolution of the slices. */
  attrs: { strides: [number, number]; pad: [number, number][]; dataFormat: 'NHWC' };
}

/** @throws TuneModeError `unsupported` for a `dy` that is no output of this convolution. */
export function volumeOf(
  kernelName: string,
  inputShape: number[],
  filterShape: number[],
  dyShape: number[],
  { strides, pad }: VolumeAttrs,
): Volume {
  type Shape5 = [number, number, number, number, number];
  const info = backend_util.computeConv3DInfo(inputShape as Shape5, filterShape as Shape5, strides, 1, pad);
  if (dyShape.join() !== info.outShape.join()) {
    throw new TuneModeError(
      'unsupported',
      `${kernelName} on wasm: found dy of shape [${dyShape}], expected [${info.outShape}], ` +
        `the output for an input of shape [${inputShape}] and a filter of shape [${filterShape}].`,
    );
  }
  const { front, top, bottom, left, right } = info.padInfo;
  return {
    batch: info.batchSize,
    depth: {
      size: info.inDepth,
      out: info.outDepth,
      taps: info.filterDepth,
      stride: info.strideDepth,
      before: front,
    },
    xSlice: [info.inHeight, info.inWidth, info.inChannels],
    ySlice: [info.outHeight, info.outWidth, info.outChannels],
    wSlice: [info.filterHeight, info.filterWidth, info.inChannels, info.outChannels],
    attrs: {
      strides: [info.strideHeight, info.strideWidth],
      pad: [
        [0, 0],
        [top, bottom],
        [left, right],
        [0, 0],
      ],
      dataFormat: 'NHWC',
    },
  };
}

export interface Run {
  /** The first slice of x and of y, counted through the whole batch, and how many follow one another in both. */
  x: number;
  y: number;
  count: number;
}

/** The runs of one tap of depth, over the whole batch. */
export function runsOf({ batch, depth }: Volume, tap: number): Run[] {
  const [from, to] = outputsInside(depth, tap);
  const runs: Run[] = [];
  for (let n = 0; n < batch; n++) {
    for (let d = from; d < to; d += depth.stride === 1 ? to - from : 1) {
      runs.push({
        x: n * depth.size + d * depth.stride + tap - depth.before,
        y: n * depth.out + d,
        count: depth.stride === 1 ? to - from : 1,
      });
    }
  }
  return runs;
}
