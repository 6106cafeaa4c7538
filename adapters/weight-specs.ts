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
    return `'shape' must be a list of sizes, found ${shown(shape)}`;
  }
  if (typeof dtype !== 'string' || (dtype !== 'string' && !Object.hasOwn(VALUE_BYTES, dtype)))
    return `unknown dtype ${shown(dtype)}`;
  if (quantization === undefined) return undefined;
  if (typeof quantization?.dtype !== 'string' || !Object.hasOwn(QUANTIZED_BYTES, quantization.dtype))
    return `unknown quantization ${shown(quantization)}`;
  // As io.decodeWeights takes them.
  if (dtype !== 'float32' && (dtype !== 'int32' || quantization.dtype === 'float16')) {
    return `its dtype ${dtype} cannot be quantised as ${quantization.dtype}`;
  }
  if (quantization.dtype !== 'float16' && !(Number.isFinite(quantization.min) && Number.isFinite(quantization.scale))) {
    return `its ${quantization.dtype} quantization needs the numbers 'min' and 'scale'`;
  }
  return undefined;
}

const LONGEST_SHOWN = 100;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

/**
 * Bytes that these weights take; where there are texts, the least that they can take: each has its length before it, and
 * the lengths stand in the data.
 */
export function bytesNeeded(specs: readonly io.WeightsManifestEntry[]): { bytes: number; isExact: boolean } {
  const known = storedBytes(specs);
  if (known !== undefined) return { bytes: known, isExact: true };
  const least = (spec: io.WeightsManifestEntry) => storedBytes([spec]) ?? spec.shape.reduce((a, b) => a * b, 4);
  return { bytes: specs.reduce((sum, spec) => sum + least(spec), 0), isExact: false };
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
