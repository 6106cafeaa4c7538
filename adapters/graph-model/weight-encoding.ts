/** Weights as the bytes of a weight file, in the forms that `io.decodeWeights` reads. */
import type { io } from '@tensorflow/tfjs-core';
import type { Constant } from './graph';

type Quantization = NonNullable<Constant['quantization']>;

export interface NamedValues {
  name: string;
  constant: Constant;
}

/**
 * @param quantized whether constants that were stored quantised are so again, with a minimum and scale of their own.
 */
export function encodeConstants(
  constants: readonly NamedValues[],
  quantized: boolean,
): { weightSpecs: io.WeightsManifestEntry[]; weightData: ArrayBuffer } {
  const weightSpecs: io.WeightsManifestEntry[] = [];
  const parts: Uint8Array[] = [];
  for (const { name, constant } of constants) {
    const { shape, dtype, values, quantization } = constant;
    const spec: io.WeightsManifestEntry = { name, shape, dtype: dtype as io.WeightsManifestEntry['dtype'] };
    if (dtype === 'string') parts.push(encodeStrings(values as string[]));
    else if (quantized && quantization !== undefined) {
      const encoded = quantize(values as ArrayLike<number>, quantization);
      spec.quantization = encoded.quantization;
      parts.push(encoded.bytes);
    } else parts.push(encodeNumbers(values as ArrayLike<number>, dtype));
    weightSpecs.push(spec);
  }
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { weightSpecs, weightData: bytes.buffer };
}

function encodeNumbers(values: ArrayLike<number>, dtype: string): Uint8Array {
  const typed =
    dtype === 'int32'
      ? Int32Array.from(values)
      : dtype === 'bool'
        ? Uint8Array.from(values)
        : Float32Array.from(values);
  return new Uint8Array(typed.buffer);
}

/** Each string behind its length in bytes. */
function encodeStrings(values: readonly string[]): Uint8Array {
  const encoded = values.map((value) => new TextEncoder().encode(value));
  const bytes = new Uint8Array(encoded.reduce((sum, { length }) => sum + 4 + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const each of encoded) {
    view.setUint32(at, each.length, true);
    bytes.set(each, at + 4);
    at += 4 + each.length;
  }
  return bytes;
}

/**
 * One weight, quantised.
 * @param before how it was quantised, whose minimum and scale are kept where the values still lie on its levels; or the
 *     dtype alone.
 */
export function encodeQuantized(
  values: ArrayLike<number>,
  before: Quantization | { dtype: Quantization['dtype'] },
): { quantization: Quantization; bytes: Uint8Array } {
  return quantize(values, before as Quantization);
}

/** value = level · scale + min; what came from such levels gives the same ones again, as the old minimum and scale fit it. */
function quantize(values: ArrayLike<number>, before: Quantization): { quantization: Quantization; bytes: Uint8Array } {
  if (before.dtype === 'float16') {
    const halves = new Uint16Array(values.length);
    for (let i = 0; i < halves.length; i++) halves[i] = toHalf(values[i]);
    return { quantization: { dtype: 'float16' } as Quantization, bytes: new Uint8Array(halves.buffer) };
  }
  const highest = before.dtype === 'uint8' ? 255 : 65535;
  const { min, scale } = fits(values, before as Required<Quantization>, highest)
    ? (before as Required<Quantization>)
    : range(values, highest);
  const stored = before.dtype === 'uint8' ? new Uint8Array(values.length) : new Uint16Array(values.length);
  for (let i = 0; i < stored.length; i++) stored[i] = Math.round((values[i] - min) / scale);
  return { quantization: { ...before, min, scale }, bytes: new Uint8Array(stored.buffer) };
}

/** Whether the values lie on the levels that they had, to float32 rounding. */
function fits(values: ArrayLike<number>, { min, scale }: Required<Quantization>, highest: number): boolean {
  if (!Number.isFinite(min) || !(scale > 0)) return false;
  const rounding = 2 ** -22;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const level = Math.round((value - min) / scale);
    if (
      level < 0 ||
      level > highest ||
      !(Math.abs(Math.fround(level * scale + min) - value) <= Math.abs(value) * rounding)
    )
      return false;
  }
  return true;
}

function range(values: ArrayLike<number>, highest: number): { min: number; scale: number } {
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < min) min = values[i];
    if (values[i] > max) max = values[i];
  }
  // A constant tensor, or an empty one, has no range.
  return max > min ? { min, scale: (max - min) / highest } : { min: Number.isFinite(min) ? min : 0, scale: 1 };
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The nearest half-precision number (ties to even), as its 16 bits. */
function toHalf(value: number): number {
  float[0] = value;
  const sign = (bits[0] >>> 16) & 0x8000;
  const magnitude = bits[0] & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to infinity
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // Subnormal: a whole number of 2⁻²⁴.
  const scaled = Math.abs(value) * 2 ** 24;
  const low = Math.floor(scaled);
  const rest = scaled - low;
  return sign | (low + (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? 1 : 0));
}
