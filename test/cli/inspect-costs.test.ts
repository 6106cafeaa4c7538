/**
 * What a model costs and what Deploy saves: by hand for small layers, by the published figures for MobileNet, and for
 * every structure that there is a small net of, against a model that Deploy has really made.
 */
import '@tensorflow/tfjs-backend-cpu';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { setMode, toDeploy } from 'tfjs-tune-mode';
import { loadTopology } from '../../adapters/node/load-model';
import { deploySavings, type ModelCosts, modelCosts, type Savings } from '../../cli/inspect';
import { weightedLayers, weightValues } from '../helpers/models';
import { describeShared } from '../helpers/shared';
import { MODELS } from '../models/table';

const L = tfl.layers;

beforeAll(() => tf.setBackend('cpu'));

const only = (layer: tfl.layers.Layer) => tfl.sequential({ layers: [layer] });

/** Multiply-adds without those of BNs, as papers count them. */
const ofProducts = ({ layers }: ModelCosts) =>
  layers.reduce((sum, { kind, multiplyAdds }) => sum + (kind === 'BatchNormalization' ? 0 : multiplyAdds), 0);

describe('a layer by itself, counted by hand', () => {
  // [layer, parameters, multiply-adds, elements of its output]
  const inputShape = [6, 8, 3];
  const last = 3 * 4 * 5;
  const rows: [string, () => tfl.layers.Layer, number, number, number][] = [
    [
      'Conv2D with a stride',
      () => L.conv2d({ inputShape, filters: 5, kernelSize: 3, strides: 2, padding: 'same' }),
      3 * 3 * 3 * 5 + 5,
      3 * 4 * (3 * 3 * 3 * 5),
      last,
    ],
    [
      'Conv2D on channelsFirst',
      () => L.conv2d({ inputShape: [3, 6, 8], filters: 5, kernelSize: 1, dataFormat: 'channelsFirst', useBias: false }),
      3 * 5,
      6 * 8 * 3 * 5,
      6 * 8 * 5,
    ],
    ['Conv1D', () => L.conv1d({ inputShape: [10, 2], filters: 4, kernelSize: 3 }), 3 * 2 * 4 + 4, 8 * 3 * 2 * 4, 8 * 4],
    [
      'Conv3D',
      () => L.conv3d({ inputShape: [4, 4, 4, 2], filters: 3, kernelSize: 2 }),
      8 * 2 * 3 + 3,
      27 * 8 * 2 * 3,
      27 * 3,
    ],
    [
      'Conv2DTranspose',
      () => L.conv2dTranspose({ inputShape, filters: 5, kernelSize: 2, strides: 2 }),
      2 * 2 * 3 * 5 + 5,
      6 * 8 * (2 * 2 * 3 * 5),
      12 * 16 * 5,
    ],
    [
      'DepthwiseConv2D with a multiplier',
      () => L.depthwiseConv2d({ inputShape, kernelSize: 3, depthMultiplier: 2 }),
      3 * 3 * 3 * 2 + 6,
      4 * 6 * (3 * 3 * 3 * 2),
      4 * 6 * 6,
    ],
    [
      'SeparableConv2D',
      () => L.separableConv2d({ inputShape, filters: 5, kernelSize: 3 }),
      3 * 3 * 3 + 3 * 5 + 5,
      4 * 6 * (3 * 3 * 3 + 3 * 5),
      4 * 6 * 5,
    ],
    ['Dense', () => L.dense({ inputShape: [7], units: 2 }), 7 * 2 + 2, 14, 2],
    ['BatchNormalization', () => L.batchNormalization({ inputShape }), 12, 6 * 8 * 3, 6 * 8 * 3],
    ['ReLU', () => L.reLU({ inputShape }), 0, 0, 6 * 8 * 3],
    [
      'Conv2D in a TimeDistributed',
      () => L.timeDistributed({ layer: L.conv2d({ filters: 2, kernelSize: 2 }), inputShape: [4, 3, 3, 1] }),
      4 * 2 + 2,
      4 * (4 * 4 * 2),
      4 * 4 * 2,
    ],
  ];

  test.each(rows)('%s', (_name, make, parameters, multiplyAdds, elements) => {
    const { total, uncounted } = modelCosts(only(make()));
    expect(total).toEqual({ parameters, multiplyAdds, activationBytes: 4 * elements });
    expect(uncounted).toEqual([]);
  });

  test('what has weights and is not counted is named', () => {
    const { total, uncounted } = modelCosts(only(L.prelu({ inputShape: [4, 4, 2] })));
    expect(total.multiplyAdds).toBe(0);
    expect(uncounted).toMatchObject([{ kind: 'PReLU' }]);
  });
});

test('a shared model counts at each of its calls, its parameters once; a repeated one once for each step', () => {
  const conv = L.conv2d({ inputShape: [5, 5, 2], filters: 3, kernelSize: 2 });
  const inner = tfl.sequential({ layers: [conv, L.flatten()] });
  const asLayer = inner as unknown as tfl.layers.Layer;
  const one = modelCosts(inner);
  const [a, b] = [tfl.input({ shape: [5, 5, 2] }), tfl.input({ shape: [5, 5, 2] })];
  const twice = tfl.model({
    inputs: [a, b],
    outputs: [asLayer.apply(a) as tfl.SymbolicTensor, asLayer.apply(b) as tfl.SymbolicTensor],
  });
  expect(modelCosts(twice).total).toEqual({
    parameters: one.total.parameters,
    multiplyAdds: 2 * one.total.multiplyAdds,
    activationBytes: 2 * one.total.activationBytes,
  });
  expect(modelCosts(twice).layers.map(({ use }) => use)).toContain(1);
  const steps = tfl.sequential({ layers: [L.timeDistributed({ layer: asLayer, inputShape: [6, 5, 5, 2] })] });
  expect(modelCosts(steps).total).toEqual({
    parameters: one.total.parameters,
    multiplyAdds: 6 * one.total.multiplyAdds,
    activationBytes: 6 * one.total.activationBytes,
  });
});

describe('sizes that a model leaves open', () => {
  const open = () => only(L.conv2d({ inputShape: [null, null, 3] as number[], filters: 2, kernelSize: 1 }));

  test('are 224 × 224, or what is asked for, and told', () => {
    expect(modelCosts(open())).toMatchObject({
      inputs: [{ shape: [null, null, null, 3], counted: [1, 224, 224, 3] }],
      outputs: [{ counted: [1, 224, 224, 2] }],
      total: { multiplyAdds: 224 * 224 * 6 },
    });
    expect(modelCosts(open(), [10, 20]).total.multiplyAdds).toBe(10 * 20 * 6);
  });

  test('are what fits, where 224 × 224 does not; what does not fit is told', () => {
    const x = tfl.input({ shape: [null, null, 1] as number[] });
    const down = L.maxPooling2d({ poolSize: 64 }).apply(x);
    const up = L.upSampling2d({ size: [64, 64] }).apply(down) as tfl.SymbolicTensor;
    const outputs = L.concatenate({ name: 'join' }).apply([x, up]) as tfl.SymbolicTensor;
    const net = tfl.model({ inputs: x, outputs });
    expect(modelCosts(net)).toMatchObject({ inputs: [{ counted: [1, 256, 256, 1] }], misfit: null });
    expect(modelCosts(net, [224, 224]).misfit).toBe('join');
  });
});

describe('what Deploy saves is what a model that it made has less', () => {
  const foldable = MODELS.filter(({ pairs }) => pairs.length > 0);

  test.each(foldable)('$name', ({ build }) => {
    const model = build();
    const weights = weightValues(model);
    const before = modelCosts(model);
    const alive = tf.memory().numTensors;
    let savings: Savings;
    let deployed: tfl.LayersModel;
    try {
      savings = deploySavings(model);
      expect(tf.memory().numTensors).toBe(alive);
      deployed = toDeploy(model);
    } catch (error) {
      // Somebody's own `call`, or a conv that tfjs-layers cannot run once it has a bias.
      expect(error).toMatchObject({ code: 'unsupported' });
      return;
    }
    expect(weightValues(model)).toEqual(weights);
    const after = modelCosts(deployed);
    expect(savings.before).toEqual(before.total);
    expect(savings.after).toEqual(after.total);
    expect(savings.difference.parameters).toBe(before.total.parameters - after.total.parameters);
    const sizes = weightedLayers(model).flatMap((layer) => layer.weights.map(({ shape }) => shape as number[]));
    expect(before.total.parameters).toBe(sizes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0));
    setMode(model, 'tune');
    expect(deploySavings(model)).toEqual(savings);
  });
});

describeShared('real models', (shared) => {
  const load = (name: string) => loadTopology(path.join(shared, 'models', name));

  test('MobileNet v1 0.25 has the 41 million multiply-adds and 470 thousand parameters of its paper', async () => {
    const model = await load('layers_mobilenet_v1_025_224');
    expect(ofProducts(modelCosts(model)) / 1e6).toBeCloseTo(41, 0);
    // Once deployed nothing but products is left, and 27 BNs became biases.
    expect(deploySavings(model).after.multiplyAdds).toBe(ofProducts(modelCosts(model)));
    expect(deploySavings(model).after.parameters / 1e4).toBeCloseTo(47, 0);
    model.dispose();
  });

  test.each([
    'layers_mobilenet_v1_025_224',
    'layers_tm_food_mobilenetv2_035',
    'layers_emosense_separable',
    'layers_catdog_cnn_bn',
  ])('what Deploy saves of %s', async (name) => {
    const model = await load(name);
    const savings = deploySavings(model);
    const deployed = toDeploy(model);
    expect(savings.before).toEqual(modelCosts(model).total);
    expect(savings.after).toEqual(modelCosts(deployed).total);
    expect(savings.before.parameters).toBe(model.countParams());
    for (const weight of deployed.weights) weight.dispose();
    model.dispose();
  });

  test('ResNet50: 3.8 billion multiply-adds, 25.6 million parameters', async () => {
    const model = await load('topology_only/keras_resnet50');
    const costs = modelCosts(model);
    expect(ofProducts(costs) / 1e9).toBeCloseTo(3.8, 1);
    expect(costs.total.parameters / 1e6).toBeCloseTo(25.6, 1);
    model.dispose();
  });
});
