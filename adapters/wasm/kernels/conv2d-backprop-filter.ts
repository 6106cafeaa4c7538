/**
 * Conv2DBackpropFilter: dw [kh, kw, in, out] from x [batch, h, w, in] and dy [batch, h′, w′, out]:
 *
 *   dw[i, j, ·, ·] = Σ_{n,r,c} x[n, r·s + i − top, c·s + j − left, ·]ᵀ · dy[n, r, c, ·].
 *
 * Tile by tile (see tiles.ts) x is transposed and padded once; every tap is then one matrix product
 * [in, positions] · [positions, out] on the same memory, begun at another place. XNNPACK packs dy once per tile for all
 * taps. What is kept beside x, dy and dw is one tile.
 */
import {
  BatchMatMul,
  type Conv2DBackpropFilterAttrs,
  type Tensor,
  type TensorInfo,
  Transpose,
  util,
} from '@tensorflow/tfjs-core';
import { type ConvAttrs, type ConvGeometry, geometryOf, outputsInside } from '../conv-geometry';
import { finiteness, heapOf, kernel, nativeKernel, viewAs, type WasmBackend, withAlias, zeros } from '../heap';
import { fillGrid, fillPlanes, largestTile, type TilePlan, tapStart, tileOf } from '../tiles';

interface Inputs {
  x: TensorInfo;
  dy: TensorInfo;
}

/**
 * 2 MiB of floats. Measured from 32 to 1024 · 1024 numbers on seven shapes: 3 × 3 filters gain up to here (14² × 256: 129 ms
 * at 32 · 1024, 43 at 256 · 1024, 38 at 512 · 1024, 39 at twice that), pointwise ones are the same from 64 · 1024 on.
 */
const TILE_BUDGET = 512 * 1024;

/** XNNPACK's wasm kernels may read up to 16 bytes past the end of a matrix. */
const OVERREAD = 4;

const NOT_TRANSPOSED = { transposeA: false, transposeB: false };

/** @param budget About how many numbers a tile may take. */
export const conv2dBackpropFilterWithin = (budget: number) =>
  kernel<Inputs, Conv2DBackpropFilterAttrs>(({ x, dy }, backend, attrs) => {
    const { filterShape } = attrs;
    const g = geometryOf('Conv2DBackpropFilter', false, x.shape, filterShape, dy.shape, attrs as ConvAttrs);
    const dw = zeros(filterShape);
    if (util.sizeFromShape(dy.shape) === 0 || util.sizeFromShape(x.shape) === 0) return dw;
    const largest = largestTile(g, budget);
    if (largest.pointwise) return pointwise(dw, x, dy, largest, g, backend);
    const { rowPhases, columnPhases, positions, reach } = largest;
    const planes = zeros([rowPhases * columnPhases * g.inChannels * positions + reach + OVERREAD]);
    const grid = largest.dense ? null : zeros([positions * g.outChannels + OVERREAD]);
    let last = largest;
    for (let n = 0; n < g.batch; n += largest.images) {
      for (let top = 0; top < g.h.out; top += largest.rows) {
        const images = Math.min(largest.images, g.batch - n);
        const tile = tileOf(g, images, Math.min(largest.rows, g.h.out - top));
        // Whole images have their padding in the same places every time; bands of rows have not.
        const moved = tile.positions !== last.positions || tile.rows < g.h.out;
        if (moved) heapOf(backend, planes).fill(0);
        if (moved && grid !== null) heapOf(backend, grid).fill(0);
        last = tile;
        fillPlanes(heapOf(backend, planes), heapOf(backend, x), tile, g, n, top);
        if (grid !== null) fillGrid(heapOf(backend, grid), heapOf(backend, dy), tile, g, n, top);
        const start = grid === null ? (n * g.h.out + top) * g.w.out * g.outChannels : 0;
        withAlias(backend, grid ?? dy, start, [1, tile.positions, g.outChannels], (b) => {
          addTaps(dw, planes, b, tile, g, backend);
        });
      }
    }
    // A product with a position that is no output, or with padding, is 0 · 0 only if everything there is finite.
    if (finiteness(heapOf(backend, dw)) !== 'finite' && finiteness(heapOf(backend, dy)) !== 'nan') {
      exact(heapOf(backend, dw), heapOf(backend, x), heapOf(backend, dy), g);
    }
    return dw;
  });

export const conv2dBackpropFilter = conv2dBackpropFilterWithin(TILE_BUDGET);

/** dw = xᵀ · dy, some rows at a time: both lie in memory as the products want them, but for the transposition. */
function pointwise(
  dw: Tensor,
  x: TensorInfo,
  dy: TensorInfo,
  largest: TilePlan,
  g: ConvGeometry,
  backend: WasmBackend,
): Tensor {
  const rows = g.batch * g.h.size * g.w.size;
  const { inChannels, outChannels } = g;
  for (let start = 0; start < rows; start += largest.positions) {
    const count = Math.min(largest.positions, rows - start);
    withAlias(backend, x, start * inChannels, [count, inChannels], (tile) => {
      const transposed = nativeKernel(Transpose)({ x: tile }, backend, { perm: [1, 0] });
      const a = viewAs(transposed, [1, inChannels, count]);
      withAlias(backend, dy, start * outChannels, [1, count, outChannels], (b) => {
        const product = nativeKernel(BatchMatMul)({ a, b }, backend, NOT_TRANSPOSED);
        addTo(heapOf(backend, dw), 0, heapOf(backend, product));
        backend.disposeData(product.dataId);
      });
      // The tile itself, held twice, where there is nothing to transpose (one row, or one channel).
      backend.disposeData(transposed.dataId);
    });
  }
  return dw;
}

function addTo(sums: Float32Array, start: number, terms: Float32Array): void {
  for (let k = 0; k < terms.length; k++) sums[start + k] += terms[k];
}

/** dw[i, j] += plane(i, j) · b for every tap. */
function addTaps(
  dw: Tensor,
  planes: Tensor,
  b: TensorInfo,
  tile: TilePlan,
  g: ConvGeometry,
  backend: WasmBackend,
): void {
  const matMul = nativeKernel(BatchMatMul);
  const size = g.inChannels * g.outChannels;
  for (let i = 0; i < g.h.taps; i++) {
    for (let j = 0; j < g.w.taps; j++) {
      if (isIdle(g, i, j)) continue;
      const shape = [1, g.inChannels, tile.positions];
      const product = withAlias(backend, planes, tapStart(tile, g, i, j), shape, (a) =>
        matMul({ a, b }, backend, NOT_TRANSPOSED),
      );
      addTo(heapOf(backend, dw), (i * g.w.taps + j) * size, heapOf(backend, product));
      backend.disposeData(product.dataId);
    }
  }
}

/** Whether a tap falls outside x for every output: its gradient is 0 whatever dy holds. */
function isIdle(g: ConvGeometry, i: number, j: number): boolean {
  const [top, bottom] = outputsInside(g.h, i);
  const [left, right] = outputsInside(g.w, j);
  return top === bottom || left === right;
}

/** The formula as it stands, leaving out what is outside x: NaN and ∞ come out where the cpu backend has them. */
function exact(dw: Float32Array, x: Float32Array, dy: Float32Array, g: ConvGeometry): void {
  const { inChannels, outChannels, h, w } = g;
  const sums = new Float64Array(dw.length);
  for (let i = 0; i < h.taps; i++) {
    const [top, bottom] = outputsInside(h, i);
    for (let j = 0; j < w.taps; j++) {
      const [left, right] = outputsInside(w, j);
      for (let n = 0; n < g.batch; n++) {
        for (let r = top; r < bottom; r++) {
          for (let c = left; c < right; c++) {
            const row = n * h.size + r * h.stride + i - h.before;
            const from = (row * w.size + c * w.stride + j - w.before) * inChannels;
            const y = ((n * h.out + r) * w.out + c) * outChannels;
            let sum = (i * w.taps + j) * inChannels * outChannels;
            for (let k = 0; k < inChannels; k++) {
              for (let o = 0; o < outChannels; o++) sums[sum++] += x[from + k] * dy[y + o];
            }
          }
        }
      }
    }
  }
  dw.set(sums);
}
