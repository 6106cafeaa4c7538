import { chain2, map, mapAndBuild, refusal, weightsOf } from './topology-models';

const V1 = '1.2.2';
const CONV = {
  nb_filter: 4,
  nb_row: 3,
  nb_col: 2,
  border_mode: 'same',
  subsample: [2, 2],
  dim_ordering: 'tf',
  bias: true,
  init: 'glorot_uniform',
  activation: 'relu',
  W_regularizer: { name: 'WeightRegularizer', l1: 0.0, l2: 0.0005 },
  b_regularizer: null,
  activity_regularizer: null,
  W_constraint: { name: 'MaxNorm', m: 3, axis: 0 },
  b_constraint: null,
  trainable: true,
};

describe('Keras 1', () => {
  test('a Sequential that is a bare list', async () => {
    const config = {
      class_name: 'Sequential',
      config: [
        {
          class_name: 'Convolution2D',
          config: { ...CONV, name: 'conv', batch_input_shape: [null, 8, 8, 3], input_dtype: 'float32' },
        },
        {
          class_name: 'BatchNormalization',
          config: {
            name: 'bn',
            mode: 0,
            axis: -1,
            epsilon: 0.001,
            momentum: 0.99,
            beta_init: 'zero',
            gamma_init: 'one',
          },
        },
        { class_name: 'ZeroPadding2D', config: { name: 'pad', padding: [1, 0, 2, 0], dim_ordering: 'tf' } },
        {
          class_name: 'MaxPooling2D',
          config: { name: 'pool', pool_size: [2, 2], strides: [2, 2], border_mode: 'valid', dim_ordering: 'tf' },
        },
        { class_name: 'Flatten', config: { name: 'flat' } },
        { class_name: 'Dropout', config: { name: 'drop', p: 0.25 } },
        {
          class_name: 'Dense',
          config: {
            name: 'dense',
            output_dim: 5,
            input_dim: null,
            init: 'uniform',
            bias: false,
            activation: 'softmax',
          },
        },
      ],
    };
    const model = await mapAndBuild(config, V1);
    expect(weightsOf(model)).toEqual([
      'conv/kernel [3,2,3,4]',
      'conv/bias [4]',
      'bn/gamma [4]',
      'bn/beta [4]',
      'dense/kernel [24,5]',
      'bn/moving_mean [4]',
      'bn/moving_variance [4]',
    ]);
    expect(model.getLayer('conv').getConfig()).toMatchObject({
      strides: [2, 2],
      padding: 'same',
      kernelRegularizer: { config: { l1: 0, l2: 0.0005 } },
      kernelConstraint: { className: 'MaxNorm', config: { maxValue: 3, axis: 0 } },
    });
    expect(model.getLayer('drop').getConfig()).toMatchObject({ rate: 0.25 });
    expect(model.getLayer('pad').outputShape).toEqual([null, 5, 6, 4]);
    expect(weightsOf(await mapAndBuild(config.config, undefined))).toEqual(weightsOf(model)); // the list alone, no version
  });

  test.each([
    ['concat', 'Concatenate', [null, 8, 8, 4]],
    ['sum', 'Add', [null, 8, 8, 2]],
    ['mul', 'Multiply', [null, 8, 8, 2]],
    ['ave', 'Average', [null, 8, 8, 2]],
    ['max', 'Maximum', [null, 8, 8, 2]],
  ])('Merge with mode %s is %s', async (mode, className, shape) => {
    const merge = { mode, concat_axis: -1, dot_axes: -1, mode_type: 'raw', output_shape: null, output_mask: null };
    const config = chain2([['Merge', { ...merge, name: 'm' }]]);
    config.config.layers[1].inbound_nodes = [[['in', 0, 0] as never, ['in', 0, 0] as never]];
    const model = await mapAndBuild(config, V1);
    expect(model.getLayer('m').getClassName()).toBe(className);
    expect(model.outputs[0].shape).toEqual(shape);
  });

  test('Embedding, separable and dilated convolutions', async () => {
    const embedding = { input_dim: 9, output_dim: 3, init: 'uniform', input_length: 4, mask_zero: false, dropout: 0.0 };
    const model = await mapAndBuild(chain2([['Embedding', { ...embedding, name: 'e' }]], [null, 4]), V1);
    expect(weightsOf(model)).toEqual(['e/embeddings [9,3]']);
    const { W_regularizer, W_constraint, init, ...conv } = CONV;
    const separable = { ...conv, subsample: [1, 1], depth_multiplier: 2, depthwise_init: 'glorot_uniform', name: 's' };
    const dilated = { ...CONV, subsample: [1, 1], atrous_rate: [2, 2], name: 'd' };
    const images = await mapAndBuild(
      chain2([
        ['SeparableConvolution2D', separable],
        ['AtrousConvolution2D', dilated],
      ]),
      V1,
    );
    expect(weightsOf(images).slice(0, 2)).toEqual(['s/depthwise_kernel [3,2,2,2]', 's/pointwise_kernel [1,1,4,4]']);
    expect(images.getLayer('d').getConfig()).toMatchObject({ dilationRate: [2, 2], filters: 4 });
  });

  test.each([
    ['Convolution2D', { ...CONV, dim_ordering: 'th' }, "dim_ordering = 'th'"],
    ['BatchNormalization', { mode: 1 }, 'mode = 1'],
    ['LSTM', { output_dim: 3, inner_init: 'orthogonal' }, 'gate by gate'],
    ['GRU', { output_dim: 3 }, 'gate by gate'],
    ['Merge', { mode: 'cos' }, "mode = 'cos'"],
    ['Merge', { mode: 'concat', layers: [] }, 'functional API'],
    ['Highway', {}, 'no layer class'],
    ['Embedding', { input_dim: 9, output_dim: 3, dropout: 0.5 }, 'dropout = 0.5'],
  ])('%s %j must not pass', (className, config, expected) => {
    expect(refusal(() => map(chain2([[className, { ...config, name: 'it' }]]), V1)).message).toContain(expected);
  });

  test('the names of Keras 1 are no other names for Keras 2', () => {
    const error = refusal(() => map(chain2([['Dense', { output_dim: 3, units: 3, name: 'it' }]]), '2.4.0'));
    expect(error.message).toContain("'it' (Dense): output_dim = 3, an argument unknown");
  });
});
