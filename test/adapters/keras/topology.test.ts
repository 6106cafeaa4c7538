import path from 'node:path';
import * as tfl from '@tensorflow/tfjs-layers';
import { toKerasConfig } from '../../../adapters/keras/topology';
import { describeShared } from '../../helpers/shared';
import { build, copy, deepFreeze, map, mapAndBuild, readJson, topologyOf, weightsOf } from './topology-models';

const REAL = [
  'layers_catdog_cnn_bn',
  'layers_crepe_tiny',
  'layers_emosense_separable',
  'layers_facecls_emotion_mobilenet_v1',
  'layers_mobilenet_v1_025_224',
  'layers_tm_food_mobilenetv2_035',
  'topology_only/keras_inceptionv3',
  'topology_only/keras_resnet50',
];

describeShared('topologies of real models', (shared) => {
  const file = (name: string) => readJson(path.join(shared, 'models', name, 'model.json'));

  test.each(REAL)('%s has the same weights after mapping as before', async (name) => {
    const { modelTopology } = file(name);
    const before = await build(copy(modelTopology));
    const after = await build(map(deepFreeze(modelTopology)).topology);
    expect(weightsOf(after)).toEqual(weightsOf(before));
    expect(after.outputs.map((output) => output.shape)).toEqual(before.outputs.map((output) => output.shape));
    const trainable = (model: tfl.LayersModel) => model.trainableWeights.map((weight) => weight.originalName);
    expect(trainable(after)).toEqual(trainable(before));
    // The stronger claim: tfjs-layers made the same model of both. [3] for 3 is of Keras 2.
    const text = (model: tfl.LayersModel) => JSON.stringify(topologyOf(model)).replaceAll('"axis":[3]', '"axis":3');
    expect(text(after)).toBe(text(before).replaceAll('"axis":[1]', '"axis":1'));
  });

  test.each(REAL)('%s goes to Keras and back', async (name) => {
    const first = await mapAndBuild(file(name).modelTopology);
    const keras = toKerasConfig('model.h5', topologyOf(first));
    const again = await mapAndBuild(keras, '2.15.0');
    expect(weightsOf(again)).toEqual(weightsOf(first));
  });

  test('an export of Keras 3, with a frozen model inside, is built with all its weights', async () => {
    const json = file('layers_catmood_mobilenetv2_keras3');
    const { topology, notes } = map(deepFreeze(json.modelTopology));
    const model = await build(topology);
    const expected = json.weightsManifest.flatMap((group: { weights: { name: string; shape: number[] }[] }) =>
      group.weights.map(({ name, shape }) => `${name} ${JSON.stringify(shape)}`),
    );
    expect(weightsOf(model).length).toBe(expected.length);
    const shapes = (list: string[]) => list.map((text) => text.slice(text.indexOf(' '))).sort();
    expect(shapes(weightsOf(model))).toEqual(shapes(expected));
    expect(model.trainableWeights.map((weight) => weight.originalName)).toEqual([
      'dense_4/kernel',
      'dense_4/bias',
      'dense_5/kernel',
      'dense_5/bias',
    ]);
    expect(notes).toEqual([expect.stringContaining("'mobilenetv2_0.35_224' is called with training = false")]);
    // The nested model's call is the one on the outer input, not its own construction.
    expect(model.inputs.map((input) => input.name)).toEqual(['input_layer_5']);
  });
});

describe('what tfjs-layers writes comes through equal', () => {
  const image = (layers: tfl.layers.Layer[]) => tfl.sequential({ name: 'net', layers });
  const MODELS: Record<string, () => tfl.LayersModel> = {
    convolutions: () =>
      image([
        tfl.layers.conv2d({
          inputShape: [16, 16, 3],
          filters: 4,
          kernelSize: 3,
          dilationRate: 2,
          activation: 'relu6',
          kernelRegularizer: tfl.regularizers.l2({ l2: 0.1 }),
          kernelConstraint: tfl.constraints.maxNorm({ maxValue: 3 }),
          kernelInitializer: 'leCunNormal',
        }),
        tfl.layers.batchNormalization({ momentum: 0.9, epsilon: 1e-4 }),
        tfl.layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, useBias: false }),
        tfl.layers.separableConv2d({ filters: 5, kernelSize: [3, 3], padding: 'same', activation: 'hardSigmoid' }),
        tfl.layers.upSampling2d({ size: [2, 2], interpolation: 'bilinear' }),
        tfl.layers.zeroPadding2d({
          padding: [
            [1, 2],
            [3, 4],
          ],
        }),
        tfl.layers.cropping2D({
          cropping: [
            [1, 0],
            [0, 1],
          ],
        }),
        tfl.layers.conv2dTranspose({ filters: 2, kernelSize: 3, strides: 2 }),
        tfl.layers.leakyReLU({ alpha: 0.1 }),
        tfl.layers.reLU({ maxValue: 6 }),
        tfl.layers.prelu({ sharedAxes: [1, 2] }),
        tfl.layers.maxPooling2d({ poolSize: 2 }),
        tfl.layers.globalAveragePooling2d({}),
        tfl.layers.layerNormalization(),
        tfl.layers.dropout({ rate: 0.3, seed: 7 }),
        tfl.layers.dense({ units: 3, activation: 'softmax' }),
      ] as tfl.layers.Layer[]),
    recurrent: () =>
      image([
        tfl.layers.embedding({ inputDim: 20, outputDim: 6, maskZero: true, inputLength: 5 }),
        tfl.layers.bidirectional({
          layer: tfl.layers.lstm({ units: 3, returnSequences: true }) as never,
          mergeMode: 'sum',
        }),
        tfl.layers.timeDistributed({ layer: tfl.layers.dense({ units: 4 }) }),
        tfl.layers.gru({ units: 3, returnSequences: true }),
        tfl.layers.simpleRNN({ units: 2 }),
      ] as tfl.layers.Layer[]),
    sequence: () =>
      image([
        tfl.layers.embedding({ inputDim: 20, outputDim: 6, inputLength: 5 }),
        tfl.layers.conv1d({ filters: 2, kernelSize: 2 }),
        tfl.layers.simpleRNN({ units: 2 }),
      ] as tfl.layers.Layer[]),
    cells: () =>
      image([
        tfl.layers.rnn({
          inputShape: [4, 3],
          cell: [tfl.layers.lstmCell({ units: 2 }), tfl.layers.gruCell({ units: 3 })] as never,
        }),
      ]),
    nested: () => {
      const inner = tfl.sequential({ name: 'inner', layers: [tfl.layers.dense({ units: 4, inputShape: [4] })] });
      const a = tfl.input({ shape: [4], name: 'a' });
      const shared = tfl.layers.dense({ units: 4, name: 'shared' });
      const x = shared.apply(inner.apply(a)) as tfl.SymbolicTensor;
      const y = shared.apply(tfl.layers.activation({ activation: 'swish' }).apply(x)) as tfl.SymbolicTensor;
      const z = tfl.layers.concatenate({ axis: -1 }).apply([x, y, a]) as tfl.SymbolicTensor;
      return tfl.model({ name: 'net', inputs: a, outputs: [z, y] });
    },
    preprocessing: () =>
      image([
        tfl.layers.resizing({ inputShape: [8, 8, 3], height: 4, width: 4 } as never),
        tfl.layers.rescaling({ scale: 0.5, offset: -1 }),
        tfl.layers.flatten(),
      ] as tfl.layers.Layer[]),
  };

  test.each(Object.keys(MODELS))('%s', async (name) => {
    const first = MODELS[name]();
    const topology = topologyOf(first);
    const { topology: mapped, notes } = map(deepFreeze(copy(topology)));
    const direct = await build(copy(topology));
    const through = await build(mapped);
    // tfjs-layers counts the stacks of cells, and does not write the name it gave.
    const plain = (model: tfl.LayersModel) => JSON.stringify(topologyOf(model)).replace(/StackedRNNCells\d+/g, '');
    expect(plain(through)).toBe(plain(direct));
    expect(notes).toEqual([]);
  });

  test.each(['recurrent', 'sequence', 'cells', 'nested'])('%s goes to Keras and back', async (name) => {
    const first = MODELS[name]();
    const keras = toKerasConfig('model.h5', deepFreeze(topologyOf(first)));
    const again = await mapAndBuild(keras, '2.15.0');
    expect(weightsOf(again)).toEqual(weightsOf(first));
    expect(JSON.stringify(keras)).not.toMatch(/LeCun|"distribution":"normal"|keras_version|tfjs/);
  });

  test('a depthwise regularizer, which tfjs-layers writes a second time as constraint, does not become one', async () => {
    const model = image([
      tfl.layers.depthwiseConv2d({
        inputShape: [4, 4, 2],
        kernelSize: 3,
        depthwiseRegularizer: tfl.regularizers.l2({ l2: 0.1 }),
      }) as tfl.layers.Layer,
    ]);
    const json = topologyOf(model);
    expect(JSON.stringify(json)).toContain('"depthwise_constraint":{"class_name":"L1L2"');
    for (const config of [map(json).topology, toKerasConfig('model.h5', json)]) {
      expect(JSON.stringify(config)).not.toContain('"depthwise_constraint":{');
      expect(JSON.stringify(config)).toContain('"depthwise_regularizer":{"class_name":"L1L2"');
    }
  });
});
