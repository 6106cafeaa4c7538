/**
 * Conv2DBackpropInput, also the forward pass of Conv2DTranspose: dx [batch, h, w, in] from dy [batch, h′, w′, out] and
 * w [kh, kw, in, out]:
 *
 *   dx[n, r, c, ·] = Σ_{i,j} dy[n, (r + top − i)/s, (c + left − j)/s, ·] · w[i, j, ·, ·]ᵀ.
 *
 * A pointwise one is the matrix product dy · wᵀ. Else each phase of the stride (see phases.ts) is a forward convolution
 * with the reversed, transposed filter, which XNNPACK does ten times faster than the backend's own kernel for this gradient
 * and without a column matrix. With stride 1 that convolution is dx; with larger strides each phase is scattered into dx
 * and freed before the next one.
 */
import {
  Conv2D,
  type Conv2DBackpropInputAttrs,
  type KernelFunc,
  Slice,
  type Tensor,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import {
  type ConvAttrs,
  type ConvGeometry,
  forwardGeometry,
  isPointwise,
  outputShape,
  requireOutput,
} from '../conv-geometry';
import { addressOf, heapOf, kernel, runKernel, unwritten, type WasmBackend, withoutTemporaries, zeros } from '../heap';
import { isWhole, type Phase, phasesOf, scatterPhase } from '../phases';
import { multiplyInto } from '../pointwise';
import { simd } from '../simd';

interface Inputs {
  dy: TensorInfo;
  filter: TensorInfo;
}

/** @param native The backend's own kernel: slow, but it leaves padding out instead of multiplying it by w. */
export function conv2dBackpropInput(native: KernelFunc): KernelFunc {
  return kernel<Inputs, Conv2DBackpropInputAttrs>((inputs, backend, attrs) => {
    const { filter } = inputs;
    const { inputShape } = attrs;
    const g = forwardGeometry('Conv2DBackpropInput', false, inputShape, filter.shape, attrs as ConvAttrs);
    const dy = seenPart(inputs.dy, g);
    requireOutput('Conv2DBackpropInput', g, dy.shape, inputShape, filter.shape);
    if (util.sizeFromShape(dy.shape) === 0 || util.sizeFromShape(inputShape) === 0) return zeros(inputShape);
    if (isPointwise(g)) {
      const dx = unwritten(inputShape, backend);
      multiplyInto(backend, dx, {
        a: dy,
        b: filter,
        transposed: true,
        bias: null,
        rows: g.batch * g.h.size * g.w.size,
        inner: g.outChannels,
        columns: g.inChannels,
        low: Number.NEGATIVE_INFINITY,
        high: Number.POSITIVE_INFINITY,
      });
      return dx;
    }
    // 0 · ∞ is NaN, and the cpu backend does not see the zeros around dy.
    if (!allFinite(filter, backend) && !heapOf(backend, filter).every((v) => Number.isNaN(v))) {
      return native({ inputs: { dy, filter }, backend, attrs: attrs as never }) as TensorInfo;
    }
    const rows = phasesOf(g.h);
    const columns = phasesOf(g.w);
    if (isWhole(rows[0], g.h) && isWhole(columns[0], g.w)) return phaseOf(dy, filter, backend, g, rows[0], columns[0]);
    const dx = zeros(inputShape);
    for (const p of rows.filter(({ taps }) => taps.length > 0)) {
      for (const q of columns.filter(({ taps }) => taps.length > 0)) {
        withoutTemporaries(() => {
          const part = phaseOf(dy, filter, backend, g, p, q);
          scatterPhase(heapOf(backend, dx), heapOf(backend, part), g.batch, g.inChannels, [g.h, g.w], [p, q]);
        });
      }
    }
    return dx;
  });
}

/**
 * The part of dy that belongs to an input of this shape. `conv2dTranspose` takes any output shape; what its input has beyond
 * that is left out, as on the cpu backend.
 */
function seenPart(dy: TensorInfo, g: ConvGeometry): TensorInfo {
  const seen = outputShape(g);
  const larger = dy.shape.some((size, axis) => size > seen[axis]);
  const covers = dy.shape.every((size, axis) => (axis === 1 || axis === 2 ? size >= seen[axis] : size === seen[axis]));
  return larger && covers ? runKernel(Slice, { x: dy }, { begin: [0, 0, 0, 0], size: seen }) : dy;
}

function allFinite(values: TensorInfo, backend: WasmBackend): boolean {
  return simd(backend).hasNotFinite(addressOf(backend, values), util.sizeFromShape(values.shape)) === 0;
}

/** The forward convolution that gives the rows and columns of one phase. */
function phaseOf(dy: TensorInfo, w: TensorInfo, backend: WasmBackend, g: ConvGeometry, p: Phase, q: Phase): Tensor {
  const x = dy;
  const filter = phaseFilter(w, backend, g, p.taps, q.taps);
  const pad = [
    [0, 0],
    [p.padBefore, p.padAfter],
    [q.padBefore, q.padAfter],
    [0, 0],
  ];
  const part = runKernel(Conv2D, { x, filter }, { strides: 1, pad, dilations: 1, dataFormat: 'NHWC' });
  filter.dispose();
  return part;
}

/** [taps, taps, out, in]: w at the phase's taps, each matrix transposed. */
function phaseFilter(w: TensorInfo, backend: WasmBackend, g: ConvGeometry, rows: number[], columns: number[]): Tensor {
  const { inChannels, outChannels } = g;
  const filter = zeros([rows.length, columns.length, outChannels, inChannels]);
  const from = heapOf(backend, w);
  const to = heapOf(backend, filter);
  let at = 0;
  for (const i of rows) {
    for (const j of columns) {
      const matrix = (i * g.w.taps + j) * inChannels * outChannels;
      for (let o = 0; o < outChannels; o++) {
        for (let c = 0; c < inChannels; c++) to[at++] = from[matrix + c * outChannels + o];
      }
    }
  }
  return filter;
}
