/** Nets of ConvBN blocks with random statistics, deployed: what `restoreBatchNorm` is tested on. */
import * as tfl from '@tensorflow/tfjs-layers';
import { toDeploy } from 'tfjs-tune-mode';
import { randomise } from '../../helpers/models';

const L = tfl.layers;
type Layer = tfl.layers.Layer;
type Symbolic = tfl.SymbolicTensor;

const chain = (x: Symbolic, ...layers: Layer[]) => layers.reduce((y, layer) => layer.apply(y) as Symbolic, x);

/** A block in the middle of a net: something to normalise before it, and a prediction behind it. */
function around(shape: number[], conv: Layer, head: Layer): tfl.LayersModel {
  const x = tfl.input({ shape });
  const y = chain(x, conv, L.batchNormalization(), L.reLU(), head, L.flatten());
  return tfl.model({ inputs: x, outputs: y });
}

/** By kind: the convs (their names are in the tests' expectations), all with a BN behind them, and a head. */
export const KINDS: Record<string, () => tfl.LayersModel> = {
  Conv1D: () =>
    around(
      [9, 3],
      L.conv1d({ name: 'conv', filters: 4, kernelSize: 3, strides: 2 }),
      L.conv1d({ filters: 2, kernelSize: 1 }),
    ),
  Conv2D: () =>
    around(
      [7, 6, 3],
      L.conv2d({ name: 'conv', filters: 4, kernelSize: [3, 2], strides: 2, padding: 'same' }),
      L.conv2d({ filters: 2, kernelSize: 1 }),
    ),
  'Conv2D, dilated, one channel': () =>
    around(
      [7, 7, 2],
      L.conv2d({ name: 'conv', filters: 1, kernelSize: 2, dilationRate: 2, useBias: false }),
      L.conv2d({ filters: 2, kernelSize: 1 }),
    ),
  Conv2DTranspose: () =>
    around(
      [4, 4, 3],
      L.conv2dTranspose({ name: 'conv', filters: 4, kernelSize: 3, strides: 2, padding: 'same' }),
      L.conv2d({ filters: 2, kernelSize: 1 }),
    ),
  DepthwiseConv2D: () =>
    around(
      [6, 6, 3],
      L.depthwiseConv2d({ name: 'conv', kernelSize: 3, depthMultiplier: 2, useBias: false }),
      L.conv2d({ filters: 2, kernelSize: 1 }),
    ),
  SeparableConv2D: () =>
    around(
      [6, 6, 3],
      L.separableConv2d({ name: 'conv', filters: 4, kernelSize: 3, depthMultiplier: 2 }),
      L.conv2d({ filters: 2, kernelSize: 1 }),
    ),
};

/** Whole nets, with the paths of the convs that get a BN. */
export const NETS: Record<string, { net: () => tfl.LayersModel; restored: string[]; calls?: 'shared' }> = {
  'a Sequential whose conv names the input': {
    net: () =>
      tfl.sequential({
        layers: [
          L.conv2d({ name: 'a', filters: 4, kernelSize: 3, inputShape: [8, 8, 3] }),
          L.batchNormalization(),
          L.reLU({ maxValue: 6 }),
          L.depthwiseConv2d({ name: 'b', kernelSize: 3, depthMultiplier: 1 }),
          L.batchNormalization(),
          L.leakyReLU({ alpha: 0.1 }),
          L.flatten(),
          L.dense({ units: 3, activation: 'softmax' }),
        ],
      }),
    restored: ['a', 'b'],
  },
  'activations inside of the convs': {
    net: () => {
      const x = tfl.input({ shape: [8, 8, 3] });
      const conv = (name: string, activation: string) =>
        L.conv2d({ name, filters: 4, kernelSize: 3, padding: 'same', activation: activation as 'relu' });
      const y = chain(x, conv('a', 'relu'), conv('b', 'relu6'), conv('c', 'elu'), conv('d', 'swish'));
      return tfl.model({ inputs: x, outputs: chain(y, L.globalAveragePooling2d({}), L.dense({ units: 2 })) });
    },
    restored: ['a', 'b', 'c', 'd'],
  },
  'residual, two outputs, one of them a feature map': {
    net: () => {
      const x = tfl.input({ shape: [6, 6, 3], name: 'picture' });
      const conv = (name: string, activation?: 'relu') =>
        L.conv2d({ name, filters: 3, kernelSize: 3, padding: 'same', activation });
      const a = chain(x, conv('a'), L.batchNormalization(), L.reLU());
      const b = chain(a, conv('b'), L.batchNormalization());
      const sum = L.add().apply([a, b]) as Symbolic;
      const features = conv('features', 'relu').apply(sum) as Symbolic;
      const scores = chain(features, conv('scores'), L.flatten());
      return tfl.model({ inputs: x, outputs: [features, scores] });
    },
    restored: ['a', 'b', 'features'],
  },
  'Sequential in Sequential in a functional model': {
    net: () => {
      const base = tfl.sequential({ name: 'base' });
      base.add(L.conv2d({ name: 'a', filters: 3, kernelSize: 3, inputShape: [8, 8, 2] }));
      base.add(L.batchNormalization());
      base.add(L.reLU());
      const top = tfl.sequential({ name: 'top' });
      top.add(L.conv2d({ name: 'b', filters: 2, kernelSize: 3, inputShape: [6, 6, 3] }));
      top.add(L.batchNormalization());
      top.add(L.reLU());
      const whole = tfl.sequential({ name: 'whole', layers: [base, top] });
      const x = tfl.input({ shape: [8, 8, 2] });
      return tfl.model({ inputs: x, outputs: chain(x, whole as unknown as Layer, L.flatten(), L.dense({ units: 2 })) });
    },
    restored: ['whole/base/a', 'whole/top/b'],
  },
  'a conv that two branches share': {
    net: () => {
      const [left, right] = ['left', 'right'].map((name) => tfl.input({ shape: [5, 5, 2], name }));
      const [conv, bn, relu] = [
        L.conv2d({ name: 'shared', filters: 3, kernelSize: 3 }),
        L.batchNormalization(),
        L.reLU(),
      ];
      const both = L.concatenate().apply([left, right].map((x) => chain(x, conv, bn, relu))) as Symbolic;
      return tfl.model({ inputs: [left, right], outputs: chain(both, L.flatten(), L.dense({ units: 2 })) });
    },
    restored: ['shared'],
    calls: 'shared',
  },
  'a nested model that is called twice': {
    net: () => {
      const inner = tfl.sequential({ name: 'inner' });
      inner.add(L.conv2d({ name: 'a', filters: 2, kernelSize: 3, padding: 'same', inputShape: [5, 5, 2] }));
      inner.add(L.batchNormalization());
      inner.add(L.reLU());
      const x = tfl.input({ shape: [5, 5, 2] });
      const y = chain(x, inner as unknown as Layer, inner as unknown as Layer, L.flatten(), L.dense({ units: 2 }));
      return tfl.model({ inputs: x, outputs: y });
    },
    restored: ['inner/a'],
    calls: 'shared',
  },
  'pictures of any size': {
    net: () => {
      const x = tfl.input({ shape: [null, null, 3] });
      const y = chain(
        x,
        L.zeroPadding2d({ padding: 1 }),
        L.conv2d({ name: 'a', filters: 4, kernelSize: 3, strides: 2 }),
        L.batchNormalization(),
        L.reLU(),
        L.globalAveragePooling2d({}),
        L.dense({ units: 2 }),
      );
      return tfl.model({ inputs: x, outputs: y });
    },
    restored: ['a'],
  },
};

/** The net with random weights, deployed; its own weights are gone. */
export function deployed(net: () => tfl.LayersModel, seed = 1): tfl.LayersModel {
  const model = net();
  randomise(model, seed);
  const result = toDeploy(model);
  free(model);
  return result;
}

/** Not model.dispose(): it counts a layer's uses and keeps the weights of a shared one alive (tfjs-layers 4.22.0). */
export function free(...models: tfl.LayersModel[]): void {
  for (const { weights } of models) for (const weight of weights) weight.dispose();
}
