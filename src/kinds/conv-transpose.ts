/** Conv2DTranspose [kh, kw, out, in] and Conv3DTranspose [kd, kh, kw, out, in]: s on the last axis but one. */
import type { ConvLayer } from '../internals';
import { isChannelsFirst, shapeOf } from './conv';
import { convTranspose } from './geometries';
import type { Kind } from './kind';
import { inDataFormat } from './views';

function transposeKind(className: string, spatial: 2 | 3): Kind<ConvLayer> {
  return {
    className,
    stages: (layer) => {
      const geometry = convTranspose(spatial, shapeOf(layer), (xShape) => outputShape(layer, xShape));
      return [{ geometry: inDataFormat(geometry, isChannelsFirst(layer)), kernel: layer.kernel }];
    },
    scaleShape: (kernelShape) => kernelShape.map((size, axis) => (axis === kernelShape.length - 2 ? size : 1)),
    channelsFirst: isChannelsFirst,
  };
}

/** The layer's own output shape, asked for and given in channelsLast. */
function outputShape(layer: ConvLayer, xShape: number[]): number[] {
  const [batch, ...rest] = xShape;
  const channels = rest.pop() as number;
  if (!isChannelsFirst(layer)) return layer.computeOutputShape(xShape) as number[];
  const [, filters, ...spatial] = layer.computeOutputShape([batch, channels, ...rest]) as number[];
  return [batch, ...spatial, filters];
}

export const conv2dTransposeKind = transposeKind('Conv2DTranspose', 2);
export const conv3dTransposeKind = transposeKind('Conv3DTranspose', 3);
