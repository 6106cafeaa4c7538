/** Small nets that cover what blocks are joined by. */
import * as tfl from '@tensorflow/tfjs-layers';
import type { TuneOptions } from 'tfjs-tune-mode';

type Layer = tfl.layers.Layer;
type Symbolic = tfl.SymbolicTensor;

export interface Net {
  name: string;
  blocks: number;
  build(): tfl.LayersModel;
  options?: TuneOptions;
  /** Whether tfjs 4.22.0 lacks a gradient that Eval needs: then Tune on the cpu backend is the reference. */
  onlyTuneTrains?: boolean;
}

const L = tfl.layers;
const chain = (x: Symbolic, ...layers: Layer[]): Symbolic => layers.reduce((y, layer) => layer.apply(y) as Symbolic, x);
const line = (shape: number[], ...layers: Layer[]): tfl.LayersModel => {
  const inputs = tfl.input({ shape });
  return tfl.model({ inputs, outputs: chain(inputs, ...layers) });
};
const bn = (args = {}) => L.batchNormalization(args);
const act = (activation: 'relu6' | 'sigmoid' | 'tanh') => L.activation({ activation });

export const NETS: Net[] = [
  {
    name: 'pictures: residual, depthwise and separable convs, a Dense with BN',
    blocks: 6,
    build: () => {
      const inputs = tfl.input({ shape: [12, 12, 3] });
      const stem = L.conv2d({ filters: 6, kernelSize: 3, strides: 2, padding: 'same', useBias: false });
      const start = chain(inputs, stem, bn(), L.reLU({ maxValue: 6 }));
      const wide = chain(start, L.conv2d({ filters: 8, kernelSize: 1, useBias: false }), bn(), L.reLU());
      const deep = chain(wide, L.depthwiseConv2d({ kernelSize: 3, padding: 'same' }), bn(), act('relu6'));
      const narrow = chain(deep, L.conv2d({ filters: 6, kernelSize: 1, useBias: false }), bn());
      const sum = L.add().apply([start, narrow]) as Symbolic;
      const separable = chain(sum, L.separableConv2d({ filters: 6, kernelSize: 3, padding: 'same' }), bn(), L.elu());
      const pooled = L.globalAveragePooling2d({}).apply(separable) as Symbolic;
      const outputs = chain(pooled, L.dense({ units: 5 }), bn(), act('tanh'), L.dense({ units: 2 }));
      return tfl.model({ inputs, outputs });
    },
  },
  {
    name: 'pictures: uneven ZeroPadding2D before strided convs, cheap outputs recomputed',
    blocks: 4,
    options: { recompute: true },
    build: () =>
      line(
        [11, 11, 3],
        L.zeroPadding2d({
          padding: [
            [0, 1],
            [0, 1],
          ],
        }),
        L.conv2d({ filters: 3, kernelSize: 3, strides: 2, useBias: false }),
        bn(),
        L.reLU({ maxValue: 6 }),
        L.conv2d({ filters: 12, kernelSize: 1, useBias: false }),
        bn(),
        L.reLU({ maxValue: 6 }),
        L.zeroPadding2d({
          padding: [
            [1, 0],
            [0, 2],
          ],
        }),
        L.depthwiseConv2d({ kernelSize: 3, strides: 2, useBias: false }),
        bn(),
        L.reLU({ maxValue: 6 }),
        L.conv2d({ filters: 4, kernelSize: 1 }),
        bn(),
        L.globalAveragePooling2d({}),
        L.dense({ units: 2 }),
      ),
  },
  {
    name: 'pictures to pictures: a transposed conv, LeakyReLU, sigmoid',
    blocks: 3,
    build: () =>
      line(
        [8, 8, 2],
        L.conv2d({ filters: 4, kernelSize: 3, strides: 2, padding: 'same' }),
        bn(),
        L.leakyReLU({ alpha: 0.1 }),
        L.conv2dTranspose({ filters: 3, kernelSize: 3, strides: 2, padding: 'same' }),
        bn(),
        L.leakyReLU({ alpha: 0.1 }),
        L.conv2d({ filters: 2, kernelSize: 3, padding: 'same' }),
        bn(),
        act('sigmoid'),
      ),
  },
  {
    name: 'channelsFirst, BN without scale or center',
    blocks: 2,
    build: () => {
      const dataFormat = 'channelsFirst';
      return line(
        [3, 8, 8],
        L.conv2d({ filters: 4, kernelSize: 3, dataFormat }),
        bn({ axis: 1, scale: false }),
        L.reLU(),
        L.conv2d({ filters: 4, kernelSize: 3, strides: 2, dataFormat, useBias: false }),
        bn({ axis: 1, center: false }),
        act('tanh'),
        L.flatten(),
        L.dense({ units: 2 }),
      );
    },
  },
  {
    name: 'dilated convs',
    blocks: 2,
    onlyTuneTrains: true,
    build: () =>
      line(
        [10, 10, 3],
        L.conv2d({ filters: 4, kernelSize: 3, dilationRate: 2, padding: 'same' }),
        bn(),
        L.reLU(),
        L.conv2d({ filters: 4, kernelSize: 3, dilationRate: 3 }),
        bn({ scale: false, center: false }),
        L.elu(),
        L.globalAveragePooling2d({}),
        L.dense({ units: 2 }),
      ),
  },
  {
    name: 'sequences: Conv1D',
    blocks: 2,
    build: () =>
      line(
        [12, 3],
        L.conv1d({ filters: 5, kernelSize: 3, padding: 'same' }),
        bn(),
        L.reLU(),
        L.conv1d({ filters: 4, kernelSize: 3, strides: 2 }),
        bn(),
        L.elu(),
        L.flatten(),
        L.dense({ units: 2 }),
      ),
  },
  {
    name: 'volumes: Conv3D',
    blocks: 2,
    build: () =>
      line(
        [4, 6, 6, 2],
        L.conv3d({ filters: 3, kernelSize: 3, padding: 'same', useBias: false }),
        bn(),
        L.leakyReLU({ alpha: 0.1 }),
        L.conv3d({ filters: 3, kernelSize: 2, strides: 2 }),
        bn(),
        act('relu6'),
        L.flatten(),
        L.dense({ units: 2 }),
      ),
  },
];
