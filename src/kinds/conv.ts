/** Conv1D [k, in, out], Conv2D [kh, kw, in, out], Conv3D [kd, kh, kw, in, out]: s on the last axis of the kernel. */
import type { ConvLayer } from '../internals';
import { foldBeforeProduct } from './fold-before';
import { type ConvShape, conv2d, conv3d, padded } from './geometries';
import type { Kind } from './kind';
import { asConv2d, inDataFormat } from './views';

/** Strides, padding and dilations of a conv layer. */
export function shapeOf(layer: ConvLayer): ConvShape {
  const spatial = layer.strides.length;
  const rate = layer.dilationRate;
  return {
    strides: layer.strides,
    pad: layer.padding === 'same' ? 'same' : 'valid',
    dilations: typeof rate === 'number' ? Array(spatial).fill(rate) : rate,
  };
}

export function isChannelsFirst(layer: ConvLayer): boolean {
  return layer.dataFormat === 'channelsFirst';
}

/** Whether zeros never enter the convolution: `valid`, or a kernel of a single tap. */
export function isUnpadded(layer: ConvLayer): boolean {
  return layer.padding === 'valid' || layer.kernelSize.every((size) => size === 1);
}

/** Whether a layer can take in a ZeroPadding2D before it. */
export function absorbsPadding(layer: ConvLayer): boolean {
  return layer.padding === 'valid' && !isChannelsFirst(layer) && shapeOf(layer).dilations.every((rate) => rate === 1);
}

/** s on the last axis of the kernel. */
export const lastAxis = (kernelShape: number[]): number[] =>
  kernelShape.map((size, axis) => (axis === kernelShape.length - 1 ? size : 1));

/** How many times as many channels as its input a pointwise conv must have for its output to be worth recomputing. */
const EXPANSION = 4;

export const conv1dKind: Kind<ConvLayer> = {
  className: 'Conv1D',
  stages: (layer) => {
    const { strides, pad, dilations } = shapeOf(layer);
    const geometry = conv2d({ strides: [1, ...strides], pad, dilations: [1, ...dilations] });
    return [{ geometry: asConv2d(geometry), kernel: layer.kernel }];
  },
  scaleShape: lastAxis,
  channelsFirst: isChannelsFirst,
  before: { exact: isUnpadded, fold: foldBeforeProduct },
  broken: (layer) => {
    if (layer.padding === 'causal') return "tfjs-layers has no 'causal' padding";
    // conv1dWithBias brings x to channelsLast and forgets to bring y back (tfjs-layers 4.22.0).
    if (isChannelsFirst(layer)) return "with dataFormat 'channelsFirst' tfjs-layers returns it channelsLast";
    return null;
  },
};

export const conv2dKind: Kind<ConvLayer> = {
  className: 'Conv2D',
  stages: (layer) => [{ geometry: inDataFormat(conv2d(shapeOf(layer)), isChannelsFirst(layer)), kernel: layer.kernel }],
  padded: (layer, padding) =>
    absorbsPadding(layer) ? [{ geometry: padded(conv2d, shapeOf(layer), padding), kernel: layer.kernel }] : null,
  cheap: ({ kernel, strides }) => {
    const [height, width, channels, filters] = kernel.read().shape as number[];
    return height * width * strides[0] * strides[1] === 1 && filters >= EXPANSION * channels;
  },
  scaleShape: lastAxis,
  channelsFirst: isChannelsFirst,
  before: { exact: isUnpadded, fold: foldBeforeProduct },
};

export const conv3dKind: Kind<ConvLayer> = {
  className: 'Conv3D',
  stages: (layer) => [{ geometry: inDataFormat(conv3d(shapeOf(layer)), isChannelsFirst(layer)), kernel: layer.kernel }],
  scaleShape: lastAxis,
  channelsFirst: isChannelsFirst,
  before: { exact: isUnpadded, fold: foldBeforeProduct },
};
