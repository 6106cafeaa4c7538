/** Which arguments tfjs-layers 4.22.0 reads of each layer, and which others it may be spared. */
import * as k from './kinds';

type Arguments = Record<string, k.Kind>;

/** Of every layer. `activity_regularizer` is read by few, and built by none. */
export const COMMON: Arguments = {
  name: k.kept,
  trainable: k.flag,
  dtype: k.dtype,
  batch_input_shape: k.shape(),
  activity_regularizer: k.activityRegularizer,
  autocast: k.ignore,
  dynamic: k.neutral(false),
  weights: k.neutral(null),
  lora_rank: k.neutral(null),
  lora_alpha: k.ignore,
  quantization_config: k.neutral(null),
  quantization_mode: k.neutral(null),
  ragged: k.neutral(false),
  supports_masking: k.ignore,
};

/** `kernel` with its initialiser, regularizer and constraint. */
const weight = (name: string): Arguments => ({
  [`${name}_initializer`]: k.initializer,
  [`${name}_regularizer`]: k.regularizer,
  [`${name}_constraint`]: k.constraint,
});

const format = k.oneOf('channels_last', 'channels_first');
const lastOnly = k.neutral('channels_last');
const biased: Arguments = { use_bias: k.flag, ...weight('bias'), activation: k.activation };

const window = (rank: number): Arguments => ({
  kernel_size: k.counts(rank),
  strides: k.counts(rank),
  padding: k.oneOf('valid', 'same'),
  data_format: rank === 1 ? lastOnly : format,
  groups: k.neutral(1),
});

const conv = (rank: number): Arguments => ({
  filters: k.count(),
  ...window(rank),
  dilation_rate: k.counts(rank),
  ...biased,
  ...weight('kernel'),
});

const transposed = (rank: number): Arguments => ({
  ...conv(rank),
  dilation_rate: k.neutralEach(1),
  output_padding: k.neutral(null),
});

const pool = (rank: number): Arguments => ({
  pool_size: k.counts(rank),
  strides: k.counts(rank),
  padding: k.oneOf('valid', 'same'),
  data_format: rank === 1 ? lastOnly : format,
});

const globalPool = (rank: number): Arguments => ({
  data_format: rank === 1 ? lastOnly : format,
  keepdims: k.keepDims,
});

const recurrentCell: Arguments = {
  units: k.count(),
  ...biased,
  ...weight('kernel'),
  ...weight('recurrent'),
  dropout: k.number,
  recurrent_dropout: k.number,
  seed: k.ignore,
};
const gated: Arguments = {
  ...recurrentCell,
  recurrent_activation: k.activation,
  implementation: k.count(2, 0),
};
const lstmCell: Arguments = { ...gated, unit_forget_bias: k.flag };
const gruCell: Arguments = { ...gated, reset_after: k.neutral(false) };
const sequence: Arguments = {
  return_sequences: k.flag,
  return_state: k.flag,
  go_backwards: k.flag,
  stateful: k.flag,
  unroll: k.ignore, // a matter of speed, and none in tfjs-layers
  time_major: k.neutral(false),
  zero_output_for_mask: k.zeroOutputForMask,
  use_legacy_format: k.ignore,
  implementation: k.count(2, 0),
};
const { units: _units, ...lstmWithoutUnits } = lstmCell;
const convLstmCell: Arguments = { ...lstmWithoutUnits, ...conv(2) };

const normalization: Arguments = {
  epsilon: k.number,
  center: k.flag,
  scale: k.flag,
  ...weight('beta'),
  ...weight('gamma'),
};

const RESIZE = 'tfjs-layers places the pixels differently from Keras';
const RANDOM = 'tfjs-layers draws differently from Keras';

export const LAYERS = new Map<string, Arguments>(
  Object.entries<Arguments>({
    InputLayer: { sparse: k.neutral(false), optional: k.neutral(false), type_spec: k.neutral(null) },
    Conv1D: conv(1),
    Conv2D: conv(2),
    Conv3D: conv(3),
    Conv2DTranspose: transposed(2),
    Conv3DTranspose: transposed(3),
    DepthwiseConv2D: {
      ...window(2),
      ...biased,
      depth_multiplier: k.count(),
      dilation_rate: k.neutralEach(1), // tfjs-layers reads it and computes without
      ...weight('depthwise'),
      depthwise_constraint: k.depthwiseConstraint,
      // tf.keras 2 has written these of its base class; they belong to no weight
      kernel_initializer: k.ignore,
      kernel_regularizer: k.neutral(null),
      kernel_constraint: k.neutral(null),
    },
    SeparableConv2D: {
      ...conv(2),
      depth_multiplier: k.count(),
      ...weight('depthwise'),
      ...weight('pointwise'),
      kernel_initializer: k.ignore,
      kernel_regularizer: k.neutral(null),
      kernel_constraint: k.neutral(null),
    },
    Cropping2D: { cropping: k.margins, data_format: format },
    UpSampling2D: { size: k.counts(2), data_format: format, interpolation: k.interpolation },
    ZeroPadding2D: { padding: k.margins, data_format: format },
    Dense: { units: k.count(), ...biased, ...weight('kernel') },
    Flatten: { data_format: format },
    Activation: { activation: k.activation },
    Dropout: { rate: k.number, noise_shape: k.shape(), seed: k.seed },
    SpatialDropout1D: { rate: k.number, noise_shape: k.ignore, seed: k.seed },
    GaussianNoise: { stddev: k.number, seed: k.ignore },
    GaussianDropout: { rate: k.number, seed: k.ignore },
    AlphaDropout: { rate: k.number, noise_shape: k.neutral(null), seed: k.ignore },
    RepeatVector: { n: k.count() },
    Reshape: { target_shape: k.shape(-1) },
    Permute: { dims: k.list },
    Masking: { mask_value: k.number },
    Embedding: {
      input_dim: k.count(2 ** 31 - 1),
      output_dim: k.count(),
      input_length: k.kept,
      mask_zero: k.maskZero,
      ...weight('embeddings'),
    },
    Add: {},
    Multiply: {},
    Average: {},
    Maximum: {},
    Minimum: {},
    Concatenate: { axis: k.axis(false) },
    Dot: { axes: k.axis(true), normalize: k.flag },
    BatchNormalization: {
      ...normalization,
      axis: k.axis(false),
      momentum: k.number,
      moving_mean_initializer: k.initializer,
      moving_variance_initializer: k.initializer,
      fused: k.ignore,
      synchronized: k.ignore, // one device here
      renorm: k.neutral(false),
      renorm_clipping: k.ignore,
      renorm_momentum: k.ignore,
      virtual_batch_size: k.neutral(null),
      adjustment: k.neutral(null),
    },
    LayerNormalization: {
      ...normalization,
      axis: k.axis(true),
      beta_constraint: k.neutral(null),
      gamma_constraint: k.neutral(null),
      rms_scaling: k.neutral(false),
    },
    MaxPooling1D: pool(1),
    AveragePooling1D: pool(1),
    MaxPooling2D: pool(2),
    AveragePooling2D: pool(2),
    MaxPooling3D: pool(3),
    AveragePooling3D: pool(3),
    GlobalAveragePooling1D: globalPool(1),
    GlobalMaxPooling1D: globalPool(1),
    GlobalAveragePooling2D: globalPool(2),
    GlobalMaxPooling2D: globalPool(2),
    ReLU: { max_value: k.number, negative_slope: k.neutral(0), threshold: k.neutral(0) },
    LeakyReLU: { alpha: k.number },
    PReLU: { ...weight('alpha'), shared_axes: k.kept },
    ELU: { alpha: k.neutral(1) },
    ThresholdedReLU: { theta: k.number },
    Softmax: { axis: k.axis(false) },
    TimeDistributed: { layer: k.inner },
    Bidirectional: { layer: k.inner, merge_mode: k.kept, backward_layer: k.kept },
    RNN: { cell: k.inner, ...sequence },
    StackedRNNCells: { cells: k.inners },
    SimpleRNN: { ...recurrentCell, ...sequence },
    SimpleRNNCell: recurrentCell,
    LSTM: { ...lstmCell, ...sequence },
    LSTMCell: lstmCell,
    GRU: { ...gruCell, ...sequence },
    GRUCell: gruCell,
    ConvLSTM2D: { ...convLstmCell, ...sequence },
    ConvLSTM2DCell: convLstmCell,
    Rescaling: { scale: k.number, offset: k.number },
    CategoryEncoding: {
      num_tokens: k.count(),
      output_mode: k.oneOf('one_hot', 'multi_hot', 'count'),
      sparse: k.neutral(false),
    },
    CenterCrop: { height: k.tfjsOnly(k.count(), RESIZE), width: k.count(), data_format: lastOnly },
    Resizing: {
      height: k.tfjsOnly(k.count(), RESIZE),
      width: k.count(),
      interpolation: k.oneOf('nearest', 'bilinear'),
      crop_to_aspect_ratio: k.flag,
    },
    RandomWidth: { factor: k.tfjsOnly(k.kept, RANDOM), interpolation: k.kept, seed: k.kept, auto_vectorize: k.kept },
  }),
);

/** Without these a layer means nothing. */
export const REQUIRED = new Map<string, string[]>(
  Object.entries({
    Conv1D: ['filters', 'kernel_size'],
    Conv2D: ['filters', 'kernel_size'],
    Conv3D: ['filters', 'kernel_size'],
    Conv2DTranspose: ['filters', 'kernel_size'],
    Conv3DTranspose: ['filters', 'kernel_size'],
    SeparableConv2D: ['filters', 'kernel_size'],
    ConvLSTM2D: ['filters', 'kernel_size'],
    DepthwiseConv2D: ['kernel_size'],
    Dense: ['units'],
    SimpleRNN: ['units'],
    LSTM: ['units'],
    GRU: ['units'],
    Embedding: ['input_dim', 'output_dim'],
    Reshape: ['target_shape'],
    Permute: ['dims'],
    Dot: ['axes'],
    RepeatVector: ['n'],
    Dropout: ['rate'],
    Cropping2D: ['cropping'],
    TimeDistributed: ['layer'],
    Bidirectional: ['layer'],
    RNN: ['cell'],
    StackedRNNCells: ['cells'],
    InputLayer: ['batch_input_shape'],
  }),
);

/** Other names of the same layers. */
export const ALIASES = new Map<string, string>(
  Object.entries({
    BatchNormalizationV1: 'BatchNormalization',
    BatchNormalizationV2: 'BatchNormalization',
    FusedBatchNorm: 'BatchNormalization',
    SyncBatchNormalization: 'BatchNormalization',
    Convolution1D: 'Conv1D',
    Convolution2D: 'Conv2D',
    Convolution3D: 'Conv3D',
    Convolution2DTranspose: 'Conv2DTranspose',
    Convolution3DTranspose: 'Conv3DTranspose',
    SeparableConvolution2D: 'SeparableConv2D',
    DepthwiseConvolution2D: 'DepthwiseConv2D',
    MaxPool1D: 'MaxPooling1D',
    MaxPool2D: 'MaxPooling2D',
    MaxPool3D: 'MaxPooling3D',
    AvgPool1D: 'AveragePooling1D',
    AvgPool2D: 'AveragePooling2D',
    AvgPool3D: 'AveragePooling3D',
    GlobalAvgPool1D: 'GlobalAveragePooling1D',
    GlobalAvgPool2D: 'GlobalAveragePooling2D',
    GlobalMaxPool1D: 'GlobalMaxPooling1D',
    GlobalMaxPool2D: 'GlobalMaxPooling2D',
    LSTMV1: 'LSTM',
    LSTMV2: 'LSTM',
    GRUV1: 'GRU',
    GRUV2: 'GRU',
  }),
);

export const RECURRENT = new Set(['RNN', 'SimpleRNN', 'LSTM', 'GRU', 'ConvLSTM2D', 'Bidirectional']);
export const MODELS = new Set(['Functional', 'Model', 'Sequential']);
