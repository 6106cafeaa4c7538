/** Pooling over windows, and over all positions. */
import { layers } from '@tensorflow/tfjs-layers';
import type { Layer } from '../../../src/internals';
import { flag, numbers, text } from '../attributes';
import { graphOperation } from '../graph-operation';
import { Unliftable } from '../lifting';
import { firstInput, type Op, requireChannelsLast, requireRank, requireSizes } from './op';

interface PoolConfig {
  name: string;
  poolSize: [number, number];
  strides: [number, number];
  padding: 'same' | 'valid';
}

function pooling(make: (config: PoolConfig) => Layer, suffix: string): Op {
  return {
    data: firstInput,
    lift: (node, lifting) => {
      const x = lifting.input(node);
      requireRank(x.shape, 4);
      requireChannelsLast(node);
      const [batch, height, width, channels] = numbers(node, 'ksize');
      const [, down, right] = numbers(node, 'strides');
      if (batch !== 1 || channels !== 1) throw new Unliftable(`it pools over windows of [${numbers(node, 'ksize')}]`);
      requireSizes('windows', [height, width]);
      requireSizes('strides', [down, right]);
      const padding = text(node, 'padding', 'VALID');
      if (padding !== 'SAME' && padding !== 'VALID') throw new Unliftable(`its padding is '${padding}'`);
      const layer = make({
        name: lifting.names.of(node.name, suffix),
        poolSize: [height, width],
        strides: [down, right],
        padding: padding === 'SAME' ? 'same' : 'valid',
      });
      lifting.give(node, lifting.apply(node, layer, x));
    },
  };
}

/** Mean and Max over axes. */
function reduction(operation: 'mean' | 'max'): Op {
  return {
    data: firstInput,
    lift: (node, lifting) => {
      const x = lifting.input(node);
      const rank = x.shape.length;
      const axes = lifting.numbersOf(node, 1).map((axis) => (axis < 0 ? axis + rank : axis));
      const keepDims = flag(node, 'keep_dims') || flag(node, 'keepdims');
      if (axes.includes(0)) throw new Unliftable('it goes over the batch');
      const isGlobal = rank === 4 && [...axes].sort().join() === '1,2';
      if (!isGlobal) {
        if (operation === 'max')
          throw new Unliftable(`it is over the axes ${axes.join(', ')}, and only 1, 2 are lifted`);
        const name = lifting.names.of(node.name, '_mean');
        const layer = graphOperation({ name, operation: 'mean', settings: { axes, keepDims } });
        lifting.give(node, lifting.apply(node, layer, x));
        return;
      }
      const name = lifting.names.of(node.name);
      const pool = operation === 'mean' ? layers.globalAveragePooling2d({ name }) : layers.globalMaxPooling2d({ name });
      const pooled = lifting.apply(node, pool as Layer, x);
      if (!keepDims) {
        lifting.give(node, pooled);
        return;
      }
      const targetShape = [1, 1, x.shape[3] as number];
      const spread = layers.reshape({ name: lifting.names.of(node.name, '_keep_dims'), targetShape }) as Layer;
      lifting.give(node, lifting.apply(node, spread, pooled));
    },
  };
}

export const poolings: Record<string, Op> = {
  MaxPool: pooling((config) => layers.maxPooling2d(config) as Layer, '_max_pool'),
  AvgPool: pooling((config) => layers.averagePooling2d(config) as Layer, '_avg_pool'),
  Mean: reduction('mean'),
  Max: reduction('max'),
};
