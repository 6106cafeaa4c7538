/**
 * The specs of tfjs-core 4.22.0 that fail on the wasm backend with our kernels, and why. They run all the same: one that
 * passes, or a new one that fails, turns peers.test.ts red. `[name]` is a part of the spec's name, `[message]` of its error.
 */
export interface Known {
  reason: string;
  name?: RegExp;
  message: RegExp;
  count: number;
}

const lacks = (kernel: string) => new RegExp(`Kernel '${kernel}' not registered for backend 'wasm'`);

export const KNOWN: Known[] = [
  { reason: 'complex numbers: none on wasm, nor in any layer', message: lacks('Complex'), count: 115 },
  { reason: 'ragged tensors: none on wasm, nor in any layer', message: lacks('Ragged\\w+'), count: 41 },
  { reason: 'strings: none on wasm, nor in any layer', message: lacks('StaticRegexReplace'), count: 3 },
  { reason: 'strings: no dtype of the wasm heap', message: /Unknown dtype string/, count: 8 },
  { reason: 'strings: compared as bytes on wasm', name: /string comparison/, message: /Arrays differ/, count: 6 },
  { reason: 'strings: the backend aborts', name: /^(sparseToDense|tile) .*string/, message: /Aborted/, count: 4 },
  { reason: 'NCHW: XNNPACK has none; refused by name', message: /found dataFormat 'NCHW'/, count: 33 },
  { reason: 'whole numbers have no matrix product on wasm', message: /BatchMatMul for non non-float32/, count: 9 },
  {
    reason: 'a "bias" as large as the output, which no layer has, is refused by the backend',
    name: /^fused .* with bias$/,
    message: /only supports rank-1 bias but got rank 4/,
    count: 2,
  },
  {
    reason: 'clipByValue loses NaN on wasm (XNNPACK)',
    name: /^clipByValue /,
    message: /expected\[\d\] = NaN/,
    count: 2,
  },
  { reason: "Otsu's threshold of uint8 histograms: not for training", name: /^threshold /, message: /1536/, count: 2 },
];
