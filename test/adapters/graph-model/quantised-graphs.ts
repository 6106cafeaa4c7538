/** Weights as the converter's `--quantize_…` options store them. */
import type { io } from '@tensorflow/tfjs-core';

export type Quantisation = 'uint8' | 'uint16' | 'float16';

interface Stored {
  spec: io.WeightsManifestEntry;
  bytes: Uint8Array;
}

/** Only float32 is quantised; value = stored · scale + min, or a half. */
export function quantise({ spec, bytes }: Stored, dtype: Quantisation): Stored {
  if (spec.dtype !== 'float32') return { spec, bytes };
  const values = new Float32Array(bytes.slice().buffer);
  if (dtype === 'float16') {
    const halves = Uint16Array.from(values, toHalf);
    return { spec: { ...spec, quantization: { dtype } }, bytes: new Uint8Array(halves.buffer) };
  }
  const levels = dtype === 'uint8' ? 255 : 65535;
  const min = Math.min(...values);
  const scale = (Math.max(...values) - min) / levels || 1;
  const steps = Array.from(values, (value) => Math.round((value - min) / scale));
  const stored = dtype === 'uint8' ? Uint8Array.from(steps) : Uint16Array.from(steps);
  return { spec: { ...spec, quantization: { dtype, min, scale } }, bytes: new Uint8Array(stored.buffer) };
}

/** The bits of the half next to a number; those below 2⁻¹⁴ become 0. */
function toHalf(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size < 2 ** -14) return sign;
  const exponent = Math.floor(Math.log2(size));
  const mantissa = Math.round((size / 2 ** exponent - 1) * 1024);
  return sign | (((exponent + 15) << 10) + mantissa);
}
