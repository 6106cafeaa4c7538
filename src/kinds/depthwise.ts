/** DepthwiseConv2D, kernel [kh, kw, in, multiplier]: s, [in · multiplier], on axes 2 and 3. */
import type { DepthwiseLayer } from '../internals';
import { absorbsPadding, isChannelsFirst, isUnpadded, shapeOf } from './conv';
import { foldBeforeDepthwise } from './fold-before';
import { type ConvShape, depthwiseConv2d, padded } from './geometries';
import type { Kind } from './kind';
import { inDataFormat } from './views';

export const depthwiseKind: Kind<DepthwiseLayer> = {
  className: 'DepthwiseConv2D',
  stages: (layer) => {
    const geometry = depthwiseConv2d(undilated(layer));
    return [{ geometry: inDataFormat(geometry, isChannelsFirst(layer)), kernel: layer.depthwiseKernel }];
  },
  padded: (layer, padding) =>
    absorbsPadding(layer)
      ? [{ geometry: padded(depthwiseConv2d, undilated(layer), padding), kernel: layer.depthwiseKernel }]
      : null,
  cheap: () => true,
  scaleShape: ([, , channels, multiplier]) => [1, 1, channels, multiplier],
  channelsFirst: isChannelsFirst,
  before: { exact: isUnpadded, fold: foldBeforeDepthwise },
};

/** tfjs-layers 4.22.0 takes a dilationRate here and ignores it; the block must compute what the layer computes. */
function undilated(layer: DepthwiseLayer): ConvShape {
  return { ...shapeOf(layer), dilations: [1, 1] };
}
