/**
 * The layer classes of tfjs-layers 4.22.0 that are no convolutions. What is neither here nor in the table of kinds is
 * somebody's own layer, of which nothing is known.
 */
const BUILT_IN: ReadonlySet<string> = new Set(
  `
  Activation Add AlphaDropout Average AveragePooling1D AveragePooling2D AveragePooling3D
  BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate ConvLSTM2D Cropping2D Dot
  Dropout ELU EinsumDense Embedding Flatten GRU GaussianDropout GaussianNoise GlobalAveragePooling1D
  GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D InputLayer LSTM LayerNormalization
  LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention
  Multiply PReLU Permute RNN RandomHeight RandomWidth ReLU RepeatVector Rescaling Reshape Resizing
  SimpleRNN Softmax SpatialDropout1D ThresholdedReLU TimeDistributed UpSampling2D ZeroPadding2D
`
    .trim()
    .split(/\s+/),
);

export function isBuiltIn(className: string): boolean {
  return BUILT_IN.has(className);
}
