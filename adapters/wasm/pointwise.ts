/** A pointwise convolution, forward and backward: one matrix product on tensors as they lie. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { addressOf, type WasmBackend, withScratch } from './heap';
import { simd } from './simd';

export interface Product {
  /** [rows, inner] */
  a: TensorInfo;
  /** [inner, columns], or, `transposed`, [columns, inner]. */
  b: TensorInfo;
  transposed: boolean;
  bias: TensorInfo | null;
  rows: number;
  inner: number;
  columns: number;
  /** What results are clamped to. */
  low: number;
  high: number;
}

/** c [rows, columns] = clamp(a · b + bias). NaN stays NaN. */
export function multiplyInto(backend: WasmBackend, c: TensorInfo, p: Product): void {
  const { multiply, packedFloats, packPanels } = simd(backend);
  const { rows, inner, columns } = p;
  withScratch(backend, packedFloats(inner, columns) * 4, (panels) => {
    const [rowStride, columnStride] = p.transposed ? [4, inner * 4] : [columns * 4, 4];
    packPanels(addressOf(backend, p.b), rowStride, columnStride, inner, columns, panels);
    const bias = p.bias === null ? 0 : addressOf(backend, p.bias);
    multiply(addressOf(backend, p.a), panels, bias, addressOf(backend, c), rows, inner, columns, p.low, p.high);
  });
}
