import * as tfc from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import {
  build,
  chain2,
  deepFreeze,
  functional3,
  input3,
  KERAS3,
  layer3,
  map,
  mapAndBuild,
  policy3,
  refusal,
  tensor3,
  weightsOf,
} from './topology-models';

const ONES = { module: 'keras.initializers', class_name: 'Ones', config: {}, registered_name: null };
const dense3 = (name: string, units: number, ...calls: unknown[]) =>
  layer3(
    'Dense',
    name,
    { units, activation: 'linear', use_bias: false, kernel_initializer: ONES, lora_rank: null },
    ...calls,
  );

async function outputs(model: LayersModel, ...inputs: number[][]): Promise<number[][]> {
  const tensors = inputs.map((row) => tfc.tensor2d([row]));
  const result = model.predict(tensors.length === 1 ? tensors[0] : tensors);
  return Promise.all([result].flat().map(async (tensor) => [...(await tensor.data())]));
}

describe('Keras 3', () => {
  test('a shared layer, two inputs, Concatenate', async () => {
    const config = functional3(
      'net',
      [
        input3('a'),
        input3('b'),
        dense3('shared', 2, tensor3('a'), tensor3('b')),
        layer3('Concatenate', 'joined', { axis: -1 }, [tensor3('shared', 1), tensor3('shared', 0)]),
      ],
      { first: ['a', 0, 0], second: ['b', 0, 0] },
      ['joined', 0, 0],
    );
    const model = await mapAndBuild(config, KERAS3);
    expect(model.inputs.map((input) => input.name.replace(/_\d+$/, ''))).toEqual(['a', 'b']);
    expect(weightsOf(model)).toEqual(['shared/kernel [4,2]']);
    // The second call comes first: 4 ones of b, then 4 halves of a.
    expect(await outputs(model, [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1])).toEqual([[4, 4, 2, 2]]);
  });

  const inner = (className: 'Functional' | 'Sequential') =>
    className === 'Sequential'
      ? {
          ...layer3('Sequential', 'inner', {}, tensor3('a')),
          config: {
            name: 'inner',
            trainable: true,
            layers: [input3('i'), dense3('d', 4)],
            build_input_shape: [null, 4],
          },
        }
      : {
          ...functional3('inner', [input3('i'), dense3('d', 4, tensor3('i'))], [['i', 0, 0]], [['d', 0, 0]]),
          name: 'inner',
          inbound_nodes: [{ args: [tensor3('a')], kwargs: { training: null, mask: [null] } }],
        };

  test.each([
    ['Functional', 1],
    ['Sequential', 0],
  ] as const)('a nested %s is the one that was called, inside the model and as its output', async (className, node) => {
    const config = functional3(
      'net',
      [input3('a'), inner(className), dense3('after', 1, tensor3('inner', 0))],
      ['a', 0, 0],
      [
        ['after', 0, 0],
        ['inner', node, 0],
      ],
    );
    const model = await mapAndBuild(config, KERAS3);
    expect(weightsOf(model)).toEqual(['d/kernel [4,4]', 'after/kernel [4,1]']);
    expect(await outputs(model, [1, 2, 3, 4])).toEqual([[40], [10, 10, 10, 10]]);
  });

  test('a layer called in another order than it is listed keeps its calls apart', async () => {
    // shared's first call waits for 'late', its second does not: tfjs-layers makes the second first.
    const config = functional3(
      'net',
      [
        input3('a'),
        dense3('shared', 4, tensor3('late'), tensor3('a')),
        dense3('late', 4, tensor3('middle')),
        dense3('middle', 4, tensor3('a')),
      ],
      ['a', 0, 0],
      [
        ['shared', 0, 0],
        ['shared', 1, 0],
      ],
    );
    const model = await mapAndBuild(config, KERAS3);
    expect(await outputs(model, [1, 0, 0, 0])).toEqual([
      [16, 16, 16, 16],
      [1, 1, 1, 1],
    ]);
  });

  test('a layer called on its own output', async () => {
    const config = functional3(
      'net',
      [input3('a'), dense3('shared', 4, tensor3('shared', 1), tensor3('a'))],
      ['a', 0, 0],
      ['shared', 0, 0],
    );
    expect(await outputs(await mapAndBuild(config, KERAS3), [1, 0, 0, 0])).toEqual([[4, 4, 4, 4]]);
  });

  test('renamed and wrapped arguments', async () => {
    const config = functional3(
      'net',
      [
        input3('a', [null, 8, 8, 3]),
        layer3(
          'Conv2D',
          'conv',
          {
            filters: 2,
            kernel_size: [3, 3],
            groups: 1,
            activation: { module: 'builtins', class_name: 'function', config: 'silu', registered_name: 'function' },
            kernel_initializer: { module: 'keras.initializers', class_name: 'LecunUniform', config: { seed: null } },
            bias_initializer: { module: 'mine', class_name: 'MyInit', config: {}, registered_name: 'mine>MyInit' },
            kernel_regularizer: { module: 'keras.regularizers', class_name: 'L2', config: { l2: 0.5 } },
            kernel_constraint: {
              module: 'keras.constraints',
              class_name: 'MaxNorm',
              config: { max_value: 3, axis: [0, 1, 2] },
            },
          },
          tensor3('a'),
        ),
        layer3('LeakyReLU', 'leaky', { negative_slope: 0.25 }, tensor3('conv')),
        layer3('ReLU', 'relu', { max_value: 6.0, negative_slope: 0.0, threshold: 0.0 }, tensor3('leaky')),
        layer3('BatchNormalization', 'bn', { axis: [3], synchronized: false, renorm: false }, tensor3('relu')),
      ],
      [['a', 0, 0]],
      [['bn', 0, 0]],
    );
    const model = await mapAndBuild(config, KERAS3);
    const arguments_ = (name: string) => model.getLayer(name).getConfig();
    expect(arguments_('conv')).toMatchObject({
      activation: 'swish',
      kernelRegularizer: { className: 'L1L2', config: { l1: 0, l2: 0.5 } },
      kernelConstraint: { className: 'MaxNorm', config: { maxValue: 3, axis: [0, 1, 2] } },
      kernelInitializer: { className: 'VarianceScaling', config: { mode: 'fanIn', distribution: 'uniform' } },
      biasInitializer: { className: 'Zeros' },
    });
    expect(arguments_('leaky')).toMatchObject({ alpha: 0.25 });
    expect(arguments_('bn')).toMatchObject({ axis: 3 });
  });

  test('half precision is told, once', () => {
    const config = chain2([
      ['Dense', { units: 1, dtype: policy3('mixed_float16') }],
      ['Dense', { units: 1, dtype: 'mixed_float16' }],
      ['Dense', { units: 1, dtype: { class_name: 'Policy', config: { name: 'mixed_float16' } } }],
    ]);
    const { topology, notes } = map(config, '2.9.0');
    expect(notes).toEqual(['mixed_float16 computes in float32 here.']);
    expect(JSON.stringify(topology)).not.toContain('float16');
  });

  test('a frozen model freezes its layers, since tfjs-layers does not read that of models', async () => {
    const config = chain2([['Dense', { units: 1, trainable: true }]]);
    (config.config as { trainable?: boolean }).trainable = false;
    expect((await mapAndBuild(config, KERAS3)).trainableWeights).toEqual([]);
  });

  test.each(['TimeDistributed', 'Bidirectional'])('a frozen %s freezes what it wraps', async (className) => {
    const layer =
      className === 'TimeDistributed'
        ? { class_name: 'Dense', config: { name: 'd', units: 2, trainable: true } }
        : { class_name: 'LSTM', config: { name: 'd', units: 2, trainable: true, return_sequences: true } };
    const config = chain2([[className, { layer, trainable: false }]], [null, 3, 4]);
    const model = await mapAndBuild(config, KERAS3);
    expect(model.weights.length).toBeGreaterThan(0);
    expect(model.trainableWeights).toEqual([]);
  });

  test('Bidirectional with the backward layer that Keras 3 always writes', async () => {
    const lstm = (name: string, go_backwards: boolean, units = 2) => ({
      module: 'keras.layers',
      class_name: 'LSTM',
      registered_name: null,
      config: { name, units, go_backwards, activation: 'tanh', recurrent_activation: 'sigmoid' },
    });
    const both = { layer: lstm('forward_lstm', false), backward_layer: lstm('backward_lstm', true) };
    const model = await mapAndBuild(chain2([['Bidirectional', both]], [null, 3, 4]), KERAS3);
    expect(model.outputs[0].shape).toEqual([null, 4]);
    const other = { layer: lstm('forward_lstm', false), backward_layer: lstm('backward_lstm', true, 3) };
    const error = refusal(() => map(chain2([['Bidirectional', other]], [null, 3, 4]), KERAS3));
    expect(error.message).toContain('not the mirror of the forward layer');
  });

  test('zero_output_for_mask, which Keras 3 sets in every Bidirectional, counts only where steps are masked', async () => {
    const layer = (name: string) => ({
      class_name: 'LSTM',
      config: { name, units: 2, zero_output_for_mask: true, activation: 'tanh', recurrent_activation: 'sigmoid' },
    });
    const both: [string, object] = ['Bidirectional', { name: 'bi', layer: layer('forward_l') }];
    const model = await mapAndBuild(chain2([both], [null, 3, 4]), KERAS3);
    expect(weightsOf(model)[0]).toBe('bi/forward_l/kernel [4,8]');
    const error = refusal(() => map(chain2([['Masking', { mask_value: 0 }], both], [null, 3, 4]), KERAS3));
    expect(error.message).toContain('zero_output_for_mask');
  });

  test('training = false is told only of layers that have a mode', () => {
    const call = { args: [tensor3('a')], kwargs: { training: false } };
    const notes = (className: string, config: object) => {
      const layer = { ...layer3(className, 'd', config), inbound_nodes: [call] };
      return map(functional3('net', [input3('a', [null, 3, 4]), layer], ['a', 0, 0], ['d', 0, 0]), KERAS3).notes;
    };
    expect(notes('SimpleRNN', { units: 1, dropout: 0.0 })).toEqual([]);
    expect(notes('SimpleRNN', { units: 1, dropout: 0.5 })).toHaveLength(1);
    expect(notes('BatchNormalization', {})).toHaveLength(1);
  });

  test('states passed by keyword become further inputs', async () => {
    const lstm = { units: 4, return_state: true, activation: 'tanh', recurrent_activation: 'sigmoid' };
    const decoder = layer3('LSTM', 'decoder', { ...lstm, return_state: false }) as { inbound_nodes: unknown[] };
    decoder.inbound_nodes = [
      {
        args: [tensor3('s')],
        kwargs: { initial_state: [tensor3('encoder', 0, 1), tensor3('encoder', 0, 2)], mask: null },
      },
    ];
    const config = functional3(
      'net',
      [input3('s', [null, 3, 4]), layer3('LSTM', 'encoder', lstm, tensor3('s')), decoder],
      ['s', 0, 0],
      ['decoder', 0, 0],
    );
    const { topology } = map(deepFreeze(config), KERAS3);
    expect(JSON.stringify(topology)).toContain('[["s",0,0,{}],["encoder",0,1,{}],["encoder",0,2,{}]]');
    expect((await build(topology)).outputs[0].shape).toEqual([null, 4]);
  });

  test('Sequential without input layer takes the shape it was built with', async () => {
    const config = {
      class_name: 'Sequential',
      config: {
        name: 'net',
        layers: [{ class_name: 'Dense', config: { name: 'd', units: 3 } }],
        build_input_shape: [null, 5],
      },
    };
    expect(weightsOf(await mapAndBuild(config, KERAS3))[0]).toBe('d/kernel [5,3]');
  });
});

describe('Keras 3, what must not pass', () => {
  const refused = (layers: [string, object][], shape?: unknown[]) =>
    refusal(() => map(chain2(layers, shape), KERAS3)).message;

  test.each([
    ['Activation', { activation: 'hard_sigmoid' }, 'x / 6 + 0.5'],
    ['ReLU', { negative_slope: 0.1 }, 'negative_slope = 0.1'],
    ['UpSampling2D', { size: [2, 2], interpolation: 'bilinear' }, 'pixel centres'],
    ['GRU', { units: 1, reset_after: true }, 'reset_after = true'],
    ['DepthwiseConv2D', { kernel_size: 3, dilation_rate: [2, 2] }, 'dilation_rate = [2,2]'],
    ['Conv1D', { filters: 1, kernel_size: 3, padding: 'causal' }, "padding = 'causal'"],
    ['Conv1D', { filters: 1, kernel_size: 3, data_format: 'channels_first' }, 'channels_first'],
    ['SeparableConv2D', { filters: 1, kernel_size: 3, data_format: 'channels_first' }, 'misplaces the bias'],
    ['LayerNormalization', { rms_scaling: true }, 'rms_scaling = true'],
    ['Resizing', { height: 2, width: 2 }, 'places the pixels differently'],
    [
      'Dense',
      { units: 1, dtype: { class_name: 'QuantizedDTypePolicy', config: { name: 'int8_from_float32' } } },
      'dtype',
    ],
    [
      'Dense',
      { units: 1, kernel_regularizer: { class_name: 'OrthogonalRegularizer', config: {} } },
      'kernel_regularizer',
    ],
    [
      'Dense',
      { units: 1, activation: { class_name: 'function', config: 'f', registered_name: 'mine>f' } },
      'activation',
    ],
  ])('%s %j', (className, config, expected) => {
    const message = refused([[className, { ...config, name: 'it' }]]);
    expect(message).toContain(`'it' (${className}): `);
    expect(message).toContain(expected);
  });

  test('a class of somebody’s own that is called like one of Keras is not taken for it', () => {
    expect(refused([['Custom>Dense', { units: 1 }]])).toContain('(Custom>Dense): no layer class of tfjs-layers');
    const layer = {
      ...layer3('Dense', 'd', { units: 1 }, tensor3('a')),
      module: 'my.layers',
      registered_name: 'mine>Dense',
    };
    const config = functional3('net', [input3('a'), layer], ['a', 0, 0], ['d', 0, 0]);
    expect(refusal(() => map(config, KERAS3)).message).toContain("'d' (Dense): no layer class of tfjs-layers");
  });

  test.each([
    [{ training: true }, 'training = true'],
    [{ mask: tensor3('a') }, 'mask = a tensor'],
    [{ scale: 2 }, 'scale = 2'],
  ])('a call with %j', (kwargs, expected) => {
    const layer = { ...layer3('Dropout', 'd', { rate: 0.5 }), inbound_nodes: [{ args: [tensor3('a')], kwargs }] };
    const config = functional3('net', [input3('a'), layer], ['a', 0, 0], ['d', 0, 0]);
    expect(refusal(() => map(config, KERAS3)).message).toContain(`'d' (Dropout): is called with ${expected}`);
  });

  test('inputs by name', () => {
    const layer = layer3('Add', 'd', {}, { left: tensor3('a'), right: tensor3('a') });
    const config = functional3('net', [input3('a'), layer], ['a', 0, 0], ['d', 0, 0]);
    expect(refusal(() => map(config, KERAS3)).message).toContain("'d' (Add): is called on");
  });
});
