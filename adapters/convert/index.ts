/** tfjs-tune-mode/convert: any saved model made tuneable or deployed, compared, and handed back to Keras. */
export type { Comparison, OutputComparison } from './compare';
export { convert } from './convert';
export type { ConvertMode, ConvertOptions, ConvertProgress, ConvertTarget } from './options';
export type { ConvertReport } from './report';
export type { ModelFormat } from './source';
export { type VerifyOptions, verifyModels } from './verify';
export type { QuantizationDtype } from './weight-file';
