/** How many multiply-adds one call of a layer takes. */
import type { Shape } from '@tensorflow/tfjs-layers';
import {
  type ConvLayer,
  classOf,
  type DenseLayer,
  type DepthwiseLayer,
  type Layer,
  type LayerVariable,
  type SeparableLayer,
} from '../../src/internals';
import { elementsOf } from './calls';

/** The product of the sizes without the channels; 0 where one is open. */
function positions(layer: Layer, shape: Shape): number {
  const channels = (layer as ConvLayer).dataFormat === 'channelsFirst' ? shape.length - 1 - spatialRank(layer) : -1;
  const axis = channels < 0 ? shape.length - 1 : channels;
  return shape.reduce<number>((all, length, i) => (i === axis ? all : all * (length ?? 0)), 1);
}

const spatialRank = (layer: Layer): number => Number(/([123])D/.exec(classOf(layer))?.[1] ?? 0);

const sizeOf = (weight: LayerVariable): number => weight.read().size;

/** At every place of the output the whole kernel; transposed, at every place of the input. */
const conv = (layer: Layer, _: Shape, output: Shape) => positions(layer, output) * sizeOf((layer as ConvLayer).kernel);
const transposed = (layer: Layer, input: Shape) => positions(layer, input) * sizeOf((layer as ConvLayer).kernel);

const RULES: Record<string, (layer: Layer, input: Shape, output: Shape) => number> = {
  Conv1D: conv,
  Conv2D: conv,
  Conv3D: conv,
  Conv2DTranspose: transposed,
  Conv3DTranspose: transposed,
  DepthwiseConv2D: (layer, _, output) => positions(layer, output) * sizeOf((layer as DepthwiseLayer).depthwiseKernel),
  SeparableConv2D: (layer, _, output) => {
    const { depthwiseKernel, pointwiseKernel } = layer as SeparableLayer;
    return positions(layer, output) * (sizeOf(depthwiseKernel) + sizeOf(pointwiseKernel));
  },
  Dense: (layer, _, output) => positions(layer, output) * sizeOf((layer as DenseLayer).kernel),
  BatchNormalization: (_, __, output) => elementsOf(output),
};

/** The classes of layers that have any. */
export const COUNTED: ReadonlySet<string> = new Set(Object.keys(RULES));

export function multiplyAdds(layer: Layer, input: Shape, output: Shape): number {
  return RULES[classOf(layer)]?.(layer, input, output) ?? 0;
}
