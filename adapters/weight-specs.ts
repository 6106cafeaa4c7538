/** The descriptions of weights in a model.json, and how many bytes they ask for. */
import type { io } from '@tensorflow/tfjs-core';

/** Bytes of one value as stored. */
const VALUE_BYTES: Record<string, number> = { float32: 4, int32: 4, bool: 1, complex64: 8 };
const QUANTIZED_BYTES: Record<string, number> = { uint8: 1, uint16: 2, float16: 2 };

/** What is wrong with the description of one weight, or undefined. */
export function specProblem(spec: io.WeightsManifestEntry | undefined): string | undefined {
  if (typeof spec?.name !== 'string') return "'name' is missing";
  const { shape, dtype, quantization } = spec;
  if (!Array.isArray(shape) || !shape.every((size) => Number.isInteger(size) && size >= 0)) {
    return `'shape' must be a list of sizes, found ${JSON.stringify(shape)}`;
  }
  if (dtype !== 'string' && !(dtype in VALUE_BYTES)) return `unknown dtype ${JSON.stringify(dtype)}`;
  if (quantization === undefined) return undefined;
  if (!(quantization?.dtype in QUANTIZED_BYTES)) return `unknown quantization ${JSON.stringify(quantization)}`;
  if (quantization.dtype !== 'float16' && !(Number.isFinite(quantization.min) && Number.isFinite(quantization.scale))) {
    return `its ${quantization.dtype} quantization needs the numbers 'min' and 'scale'`;
  }
  return undefined;
}

/** Bytes that these weights take, or undefined if there are strings among them, whose length only the data tells. */
export function storedBytes(specs: readonly io.WeightsManifestEntry[]): number | undefined {
  let total = 0;
  for (const { shape, dtype, quantization } of specs) {
    if (dtype === 'string' && !quantization) return undefined;
    const bytes = quantization ? QUANTIZED_BYTES[quantization.dtype] : VALUE_BYTES[dtype];
    total += shape.reduce((product, size) => product * size, bytes);
  }
  return total;
}
