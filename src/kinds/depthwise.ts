/** DepthwiseConv2D, kernel [kh, kw, in, multiplier]: s, [in · multiplier], on axes 2 and 3. */
import type { DepthwiseLayer } from '../internals';
import { isChannelsFirst, isUnpadded, shapeOf } from './conv';
import { foldBeforeDepthwise } from './fold-before';
import { depthwiseConv2d } from './geometries';
import type { Kind } from './kind';
import { inDataFormat } from './views';

export const depthwiseKind: Kind<DepthwiseLayer> = {
  className: 'DepthwiseConv2D',
  stages: (layer) => {
    // tfjs-layers 4.22.0 takes a dilationRate here and ignores it; the block must compute what the layer computes.
    const geometry = depthwiseConv2d({ ...shapeOf(layer), dilations: [1, 1] });
    return [{ geometry: inDataFormat(geometry, isChannelsFirst(layer)), kernel: layer.depthwiseKernel }];
  },
  scaleShape: ([, , channels, multiplier]) => [1, 1, channels, multiplier],
  channelsFirst: isChannelsFirst,
  before: { exact: isUnpadded, fold: foldBeforeDepthwise },
};
