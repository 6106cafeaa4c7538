/** From the argument names of Keras 1 to those of Keras 2. */
import type { Findings } from './findings';
import { own, type Plain, show } from './plain';

const RENAMED: Plain = {
  W_regularizer: 'kernel_regularizer',
  U_regularizer: 'recurrent_regularizer',
  b_regularizer: 'bias_regularizer',
  W_constraint: 'kernel_constraint',
  U_constraint: 'recurrent_constraint',
  b_constraint: 'bias_constraint',
  init: 'kernel_initializer',
  inner_init: 'recurrent_initializer',
  inner_activation: 'recurrent_activation',
  dropout_W: 'dropout',
  dropout_U: 'recurrent_dropout',
  bias: 'use_bias',
  border_mode: 'padding',
  subsample: 'strides',
  subsample_length: 'strides',
  atrous_rate: 'dilation_rate',
  nb_filter: 'filters',
  filter_length: 'kernel_size',
  pool_length: 'pool_size',
  p: 'rate',
  sigma: 'stddev',
  beta_init: 'beta_initializer',
  gamma_init: 'gamma_initializer',
  depthwise_init: 'depthwise_initializer',
  pointwise_init: 'pointwise_initializer',
};

const BY_CLASS: Record<string, Plain> = {
  Dense: { output_dim: 'units' },
  SimpleRNN: { output_dim: 'units' },
  Embedding: {
    init: 'embeddings_initializer',
    W_regularizer: 'embeddings_regularizer',
    W_constraint: 'embeddings_constraint',
  },
  PReLU: { init: 'alpha_initializer' },
  MaxPooling1D: { stride: 'strides' },
  AveragePooling1D: { stride: 'strides' },
};

const MERGE_MODES: Record<string, string> = {
  concat: 'Concatenate',
  sum: 'Add',
  mul: 'Multiply',
  ave: 'Average',
  max: 'Maximum',
};

/** Any of these shows that Keras 1 wrote the layer, whatever version the file claims. */
const TELLTALES = (
  'nb_filter nb_row nb_col filter_length kernel_dim1 border_mode subsample subsample_length dim_ordering W_regularizer ' +
  'W_constraint init inner_init pool_length p sigma mode beta_init consume_less'
).split(' ');

export function isKeras1(className: string, config: Plain, major: number | undefined): boolean {
  if (major !== undefined) return major === 1;
  return className === 'Merge' || TELLTALES.some((key) => Object.hasOwn(config, key));
}

/** @returns undefined where the layer is refused. */
export function fromKeras1(
  path: string,
  givenClass: string,
  config: Plain,
  findings: Findings,
): { className: string; config: Plain } | undefined {
  const refuse = (text: string) => findings.unsupported(path, givenClass, text);
  if (givenClass === 'Merge') return fromMerge(config, refuse);
  if (givenClass === 'LSTM' || givenClass === 'GRU') {
    refuse('Keras 1 keeps its weights gate by gate, tfjs-layers in one array');
    return undefined;
  }
  const className = givenClass.replace(/^AtrousConvolution([12])D$/, 'Conv$1D');
  const result: Plain = {};
  for (const key of Object.keys(config)) {
    const renamed = own(BY_CLASS[className] ?? {}, key) ?? own(RENAMED, key);
    result[(renamed as string | undefined) ?? key] = config[key];
  }
  joinKernelSize(result);
  takeDimOrdering(result, refuse);
  takeNeutral(className, result, refuse);
  if ((className === 'ZeroPadding2D' || className === 'Cropping2D') && Array.isArray(result.padding)) {
    const [top, bottom, left, right] = result.padding;
    if (result.padding.length === 4) {
      result.padding = [
        [top, bottom],
        [left, right],
      ];
    }
  }
  return { className, config: result };
}

function fromMerge(config: Plain, refuse: (text: string) => void): { className: string; config: Plain } | undefined {
  const mode = own(config, 'mode');
  const className = typeof mode === 'string' && Object.hasOwn(MERGE_MODES, mode) ? MERGE_MODES[mode] : undefined;
  if (Array.isArray(own(config, 'layers'))) {
    refuse(
      'it merges branches at the start of a Sequential; build that model with the functional API and save it again',
    );
    return undefined;
  }
  if (className === undefined || (config.mode_type !== undefined && config.mode_type !== 'raw')) {
    refuse(`mode = ${show(mode)}, expected one of ${Object.keys(MERGE_MODES).join(', ')}`);
    return undefined;
  }
  const result: Plain = { name: config.name };
  if (mode === 'concat') result.axis = config.concat_axis ?? -1;
  return { className, config: result };
}

function joinKernelSize(result: Plain): void {
  const keys = ['nb_row', 'nb_col'].every((key) => Object.hasOwn(result, key))
    ? ['nb_row', 'nb_col']
    : ['kernel_dim1', 'kernel_dim2', 'kernel_dim3'].filter((key) => Object.hasOwn(result, key));
  if (keys.length < 2) return;
  result.kernel_size = keys.map((key) => result[key]);
  for (const key of keys) delete result[key];
}

function takeDimOrdering(result: Plain, refuse: (text: string) => void): void {
  const ordering = own(result, 'dim_ordering');
  delete result.dim_ordering;
  if (ordering === undefined || ordering === null || ordering === 'default') return;
  if (ordering === 'tf') result.data_format = 'channels_last';
  // With 'th' the kernels themselves lie in the file as [filters, channels, rows, columns].
  else refuse(`dim_ordering = ${show(ordering)}, expected 'tf'; set it in Keras 1 and convert the kernels there`);
}

/** Arguments without a successor: they may only have the value that changes nothing. */
function takeNeutral(className: string, result: Plain, refuse: (text: string) => void): void {
  if (result.mode !== undefined && result.mode !== null && result.mode !== 0) {
    refuse(`mode = ${show(result.mode)}, expected 0`);
  }
  if (className === 'Embedding' && result.dropout === 0) delete result.dropout;
  for (const key of ['mode', 'consume_less', 'forget_bias_init']) delete result[key];
}
