/**
 * SeparableConv2D: depthwise [kh, kw, in, m], then pointwise [1, 1, in · m, out], which takes the fold: s on its last
 * axis. Strides, padding and dilation belong to the depthwise stage.
 */
import type { SeparableLayer } from '../internals';
import { isChannelsFirst, isUnpadded, lastAxis, shapeOf } from './conv';
import { foldBeforeSeparable } from './fold-before';
import { conv2d, depthwiseConv2d } from './geometries';
import type { Kind } from './kind';
import { inDataFormat } from './views';

const POINTWISE = conv2d({ strides: [1, 1], pad: 'valid', dilations: [1, 1] });

export const separableKind: Kind<SeparableLayer> = {
  className: 'SeparableConv2D',
  stages: (layer) => [
    { geometry: inDataFormat(depthwiseConv2d(shapeOf(layer)), isChannelsFirst(layer)), kernel: layer.depthwiseKernel },
    { geometry: inDataFormat(POINTWISE, isChannelsFirst(layer)), kernel: layer.pointwiseKernel },
  ],
  scaleShape: lastAxis,
  channelsFirst: isChannelsFirst,
  before: { exact: isUnpadded, fold: foldBeforeSeparable },
  broken: (layer) =>
    // The layer adds its bias along axis 1 while its output is still channelsLast (tfjs-layers 4.22.0).
    isChannelsFirst(layer) && layer.useBias
      ? "with dataFormat 'channelsFirst' tfjs-layers adds its bias on the wrong axis"
      : null,
};
