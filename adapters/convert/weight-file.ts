/** Weights as bytes of weight files, in plain values or quantised. */
import { type io, type TypedArray, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { encodeQuantized } from '../graph-model/weight-encoding';
import { shown } from './failures';

export const QUANTIZATIONS = ['float16', 'uint8', 'uint16'] as const;
export type QuantizationDtype = (typeof QUANTIZATIONS)[number];

const QUANTIZED_BYTES = { float16: 2, uint8: 1, uint16: 2 };
const VALUE_BYTES = { float32: 4, int32: 4, bool: 1 };

/** A weight to be written; its values are asked for when their turn comes, and let go of afterwards. */
export interface OutgoingWeight {
  name: string;
  shape: number[];
  dtype: 'float32' | 'int32' | 'bool';
  /** Stored so; undefined for plain values. */
  quantize?: QuantizationDtype;
  read(): Promise<TypedArray> | TypedArray;
}

/**
 * What is worth quantising. Vectors stay as they are: a variance of which 255 levels are left ruins a BatchNorm, and
 * together they are a hundredth of a net. So do, for uint8, the kernels of depthwise convolutions, whose channels differ
 * in size a thousandfold: one scale for all leaves nothing of the small ones. They are a few hundredths.
 * @param isDepthwise whether it is the kernel of one.
 */
export function quantizationOf(
  { dtype, shape }: { dtype: string; shape: number[] },
  quantize: QuantizationDtype | undefined,
  isDepthwise: boolean,
): QuantizationDtype | undefined {
  if (dtype !== 'float32' || shape.length < 2 || util.sizeFromShape(shape) === 0) return undefined;
  return quantize === 'uint8' && isDepthwise ? undefined : quantize;
}

export function bytesOf({ shape, dtype, quantize }: OutgoingWeight): number {
  return util.sizeFromShape(shape) * (quantize === undefined ? VALUE_BYTES[dtype] : QUANTIZED_BYTES[quantize]);
}

/** A weight in its bytes, and how the manifest describes it. */
export async function encode(weight: OutgoingWeight): Promise<{ spec: io.WeightsManifestEntry; bytes: Uint8Array }> {
  const { name, shape, dtype, quantize } = weight;
  const values = await weight.read();
  if (quantize !== undefined) {
    checkRange(name, values, quantize);
    const { quantization, bytes } = encodeQuantized(values, { dtype: quantize });
    return { spec: { name, shape, dtype, quantization }, bytes };
  }
  const plain =
    dtype === 'float32'
      ? asTyped(values, Float32Array)
      : dtype === 'int32'
        ? asTyped(values, Int32Array)
        : asTyped(values, Uint8Array);
  return { spec: { name, shape, dtype }, bytes: new Uint8Array(plain.buffer, plain.byteOffset, plain.byteLength) };
}

/** From here on half precision rounds to infinity. */
const HALF_OVERFLOW = 65520;

/** @throws TuneModeError `invalid-option` for values that float16 does not reach. */
export function checkRange(name: string, values: ArrayLike<number>, quantize: QuantizationDtype): void {
  if (quantize !== 'float16') return;
  for (let i = 0; i < values.length; i++) {
    if (values[i] < HALF_OVERFLOW && values[i] > -HALF_OVERFLOW) continue;
    throw new TuneModeError(
      'invalid-option',
      `The weight '${shown(name)}' has ${values[i]} at position ${i}, and float16 ends at 65504. ` +
        "Take uint16 for 'quantize', or leave it out. Nothing was written.",
    );
  }
}

function asTyped<T extends Float32Array | Int32Array | Uint8Array>(
  values: TypedArray,
  type: { new (values: ArrayLike<number>): T; BYTES_PER_ELEMENT: number },
): T {
  // By name: in jest an array may come from another realm.
  return Object.prototype.toString.call(values) === `[object ${(type as unknown as { name: string }).name}]`
    ? (values as unknown as T)
    : new type(values);
}
