import * as tfc from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { mapTopology, toKerasConfig } from '../../../adapters/keras/topology';
import { COMMON, LAYERS, MODELS } from '../../../adapters/keras/topology/table';
import { chain2, deepFreeze, map, mapAndBuild, refusal, topologyOf, weightsOf } from './topology-models';

// biome-ignore lint/suspicious/noExplicitAny: JSON
type Json = any;
const keras = (topology: object): Json => toKerasConfig('model.h5', deepFreeze(topology));

describe('toKerasConfig', () => {
  test('a Sequential begins with an input layer, and no other layer has a shape', () => {
    const model = tfl.sequential({
      name: 'net',
      layers: [
        tfl.layers.conv2d({
          name: 'c',
          inputShape: [8, 8, 3],
          filters: 2,
          kernelSize: 3,
          kernelInitializer: 'leCunNormal',
        }),
        tfl.layers.flatten({ name: 'f' }),
        tfl.layers.dense({ name: 'd', units: 2, kernelInitializer: 'heNormal' }),
      ],
    });
    const { class_name, config, ...rest } = keras(topologyOf(model));
    expect(class_name).toBe('Sequential');
    expect(rest).toEqual({});
    expect(config.layers.map((layer: Json) => layer.class_name)).toEqual(['InputLayer', 'Conv2D', 'Flatten', 'Dense']);
    expect(config.layers[0].config).toEqual({
      batch_input_shape: [null, 8, 8, 3],
      dtype: 'float32',
      sparse: false,
      name: 'c_input',
    });
    for (const layer of config.layers.slice(1)) expect(layer.config).not.toHaveProperty('batch_input_shape');
    expect(config.layers[1].config).toMatchObject({
      kernel_initializer: {
        class_name: 'VarianceScaling',
        config: { mode: 'fan_in', distribution: 'truncated_normal' },
      },
      padding: 'valid',
      data_format: 'channels_last',
      activation: 'linear',
    });
  });

  test('a functional model is a Model with inputs in lists of lists', () => {
    const { class_name, config } = keras(map(chain2([['Dense', { name: 'd', units: 1 }]], [null, 2])).topology);
    expect(class_name).toBe('Model');
    expect(config.layers[1].inbound_nodes).toEqual([[['in', 0, 0, {}]]]);
    expect(config.input_layers).toEqual([['in', 0, 0]]);
    expect(config.layers[0].config.batch_input_shape).toEqual([null, 2]);
  });

  test('depth_multiplier is kept where the caller has put it', async () => {
    const topology = map(
      chain2([['SeparableConv2D', { name: 's', filters: 2, kernel_size: 3, depth_multiplier: 3 }]]),
    ).topology;
    const config = keras(topology);
    expect(JSON.stringify(config)).toContain('"depth_multiplier":3');
    expect(weightsOf(await mapAndBuild(config, '2.15.0'))[0]).toBe('s/depthwise_kernel [3,3,2,3]');
  });

  test('a GRU says that it is the variant that is not the default of Keras, also in a wrapper', () => {
    const gru = { units: 2, reset_after: false };
    const layer = { class_name: 'GRU', config: { ...gru, name: 'inner' } };
    const config = keras(
      map(
        chain2(
          [
            ['GRU', { ...gru, return_sequences: true, name: 'g' }],
            ['Bidirectional', { name: 'b', layer }],
          ],
          [null, 4, 3],
        ),
      ).topology,
    ).config;
    expect(config.layers[1].config.reset_after).toBe(false);
    expect(config.layers[2].config.layer.config.reset_after).toBe(false);
  });

  test('what Keras lacks or computes differently is refused, all of it', () => {
    const topology = {
      ...chain2([
        ['GraphOperation', { name: 'op' }],
        ['UpSampling2D', { name: 'up', size: [2, 2], interpolation: 'bilinear' }],
        ['Resizing', { name: 'small', height: 2, width: 2 }],
      ]),
      keras_version: 'tfjs-layers 4.22.0',
    };
    const { code, message } = refusal(() => keras(topology));
    expect(code).toBe('unsupported');
    for (const part of ["'op' (GraphOperation)", "'up' (UpSampling2D)", "'small' (Resizing)", "'model.h5'"]) {
      expect(message).toContain(part);
    }
    expect(message).not.toContain('allowCustom');
  });

  test('no topology at all', () => {
    expect(refusal(() => toKerasConfig('model.h5', {})).code).toBe('invalid-model-file');
    expect(refusal(() => toKerasConfig('model.h5', chain2([['Dense', { units: -1 }]]))).code).toBe(
      'invalid-model-file',
    );
  });
});

describe('the table of layers', () => {
  const registered = tfc.serialization.SerializationMap.getMap().classNameMap as Record<string, [unknown, unknown]>;
  const isLayer = ([cls]: [unknown, unknown]) =>
    (cls as { prototype: unknown }).prototype instanceof tfl.layers.Layer && !MODELS.has((cls as Json).className);

  test('has every layer class of tfjs-layers, and no other', () => {
    const names = Object.keys(registered).filter((name) => isLayer(registered[name]));
    expect([...LAYERS.keys()].sort()).toEqual(names.sort());
  });

  // The arguments of each class that its constructor needs; a layer made of them tells the others it reads.
  const ARGUMENTS: Record<string, object> = {
    InputLayer: { inputShape: [2] },
    Conv1D: { filters: 1, kernelSize: 1 },
    Conv2D: { filters: 1, kernelSize: 1 },
    Conv3D: { filters: 1, kernelSize: 1 },
    Conv2DTranspose: { filters: 1, kernelSize: 1 },
    Conv3DTranspose: { filters: 1, kernelSize: 1 },
    SeparableConv2D: { filters: 1, kernelSize: 1 },
    DepthwiseConv2D: { kernelSize: 1 },
    ConvLSTM2D: { filters: 1, kernelSize: 1 },
    ConvLSTM2DCell: { filters: 1, kernelSize: 1 },
    Cropping2D: { cropping: 1 },
    Dense: { units: 1 },
    SimpleRNN: { units: 1 },
    LSTM: { units: 1 },
    GRU: { units: 1 },
    SimpleRNNCell: { units: 1 },
    LSTMCell: { units: 1 },
    GRUCell: { units: 1 },
    Embedding: { inputDim: 1, outputDim: 1 },
    Activation: { activation: 'relu' },
    Dropout: { rate: 0.5 },
    SpatialDropout1D: { rate: 0.5 },
    GaussianNoise: { stddev: 1 },
    GaussianDropout: { rate: 0.5 },
    AlphaDropout: { rate: 0.5 },
    RepeatVector: { n: 2 },
    Reshape: { targetShape: [1] },
    Permute: { dims: [1] },
    Dot: { axes: 1 },
    CategoryEncoding: { numTokens: 3, outputMode: 'count' },
    CenterCrop: { height: 1, width: 1 },
    Resizing: { height: 1, width: 1 },
    RandomWidth: { factor: 0.5 },
    Rescaling: { scale: 1 },
  };
  const wrappers = ['TimeDistributed', 'Bidirectional', 'RNN', 'StackedRNNCells']; // in topology.test.ts

  test.each([...LAYERS.keys()].filter((name) => !wrappers.includes(name)))('%s as tfjs-layers writes it', (name) => {
    const layer = new (registered[name][0] as new (args: object) => tfl.layers.Layer)({ ...ARGUMENTS[name] });
    const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const config = layer.getConfig();
    for (const key of Object.keys(config)) {
      expect([key, Object.hasOwn(LAYERS.get(name)!, snake(key)) || Object.hasOwn(COMMON, snake(key))]).toEqual([
        key,
        true,
      ]);
    }
    if (name.endsWith('Cell')) return;
    const written = JSON.parse(
      JSON.stringify(Object.fromEntries(Object.entries(config).map(([k, v]) => [snake(k), v]))),
    );
    const sequential = {
      class_name: 'Sequential',
      config: [{ class_name: name, config: { batch_input_shape: [null, 2], ...written } }],
    };
    for (const key of ['activation', 'recurrent_activation']) delete sequential.config[0].config[key];
    for (const key of ['data_format', 'output_mode', 'axis']) if (written[key]) delete sequential.config[0].config[key];
    const { notes } = mapTopology('m', sequential, 'tfjs-layers 4.22.0', { allowCustom: false });
    expect(notes).toEqual([]);
  });
});
