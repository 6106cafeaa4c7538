/**
 * What a `GraphOperation` layer computes, by name. Written with ops whose gradients tfjs 4.22.0 has and has right:
 * StridedSlice has none there, and that of MirrorPad drops what was mirrored. Those of resizing know no half-pixel
 * centres; on cpu they also give a picture that is not square the wrong shape (bilinear), and take the values of other
 * pictures from the second one on (nearest).
 */
import {
  add,
  broadcast_util,
  broadcastTo,
  concat,
  div,
  gather,
  matMul,
  maximum,
  mean,
  minimum,
  mul,
  pad,
  reshape,
  split,
  stack,
  sub,
  type Tensor,
  tensor1d,
  tensor2d,
  tile,
  transpose,
} from '@tensorflow/tfjs-core';

/** JSON, so that a model with such layers can be saved. */
export type OperationSettings = Record<string, number | boolean | string | number[] | number[][]>;

type Operation = (inputs: Tensor[], settings: OperationSettings, constant: Tensor | null) => Tensor | Tensor[];

type Binary = (a: Tensor, b: Tensor) => Tensor;

/** The gradients of these two do not sum over what was broadcast (tfjs-core 4.22.0). */
const broadcast =
  (apply: Binary): Binary =>
  (a, b) => {
    const shape = broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
    return apply(broadcastTo(a, shape), broadcastTo(b, shape));
  };

const BINARY: Record<string, Binary> = {
  add,
  sub,
  mul,
  div,
  maximum: broadcast(maximum),
  minimum: broadcast(minimum),
};

export const OPERATIONS = {
  /** `operator` between two tensors, or a tensor and the layer's constant, which comes first with `constantFirst`. */
  binary: ([a, b], { operator, constantFirst }, constant) => {
    const apply = BINARY[operator as string];
    if (constant === null) return apply(a, b);
    return constantFirst ? apply(constant, a) : apply(a, constant);
  },
  mean: ([x], { axes, keepDims }) => mean(x, axes as number[], keepDims as boolean),
  pad: ([x], { paddings, value }) => pad(x, paddings as [number, number][], value as number),
  /** `offset` 1 leaves the border itself out (REFLECT), 0 repeats it (SYMMETRIC). */
  mirrorPad: ([x], { paddings, offset }) =>
    (paddings as number[][]).reduce(
      (padded, [before, after], axis) =>
        before + after === 0 ? padded : take(padded, mirrored(x.shape[axis], before, after, offset as number), axis),
      x,
    ),
  /** The batch stays; one of the other sizes may be −1. */
  reshape: ([x], { sizes }) => reshape(x, [x.shape[0], ...(sizes as number[])]),
  squeeze: ([x], { axes }) =>
    reshape(
      x,
      x.shape.filter((_, axis) => !(axes as number[]).includes(axis)),
    ),
  expandDims: ([x], { axis }) => {
    const shape = [...x.shape];
    shape.splice(axis as number, 0, 1);
    return reshape(x, shape);
  },
  transpose: ([x], { perm }) => transpose(x, perm as number[]),
  concat: (inputs, { axis }) => concat(inputs, axis as number),
  stack: (inputs, { axis }) => stack(inputs, axis as number),
  split: ([x], { sizes, axis }) => split(x, sizes as number[] | number, axis as number),
  stridedSlice: ([x], settings) => stridedSlice(x, settings),
  resizeBilinear: ([x], settings) => {
    const [, height, width] = x.shape;
    const [rows, columns] = ([height, width] as const).map((from, i) => blend(from, sizeOf(settings)[i], settings));
    return alongAxis(alongAxis(x, rows, 1), columns, 2);
  },
  resizeNearest: ([x], settings) => {
    const [, height, width] = x.shape;
    const [rows, columns] = ([height, width] as const).map((from, i) => nearest(from, sizeOf(settings)[i], settings));
    return take(take(x, rows, 1), columns, 2);
  },
} satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;

function take(x: Tensor, indices: number[], axis: number): Tensor {
  return gather(x, tensor1d(indices, 'int32'), axis);
}

function mirrored(size: number, before: number, after: number, offset: number): number[] {
  return Array.from({ length: before + size + after }, (_, i) => {
    const at = i - before;
    if (at < 0) return -at - 1 + offset;
    return at < size ? at : 2 * size - 1 - at - offset;
  });
}

function sizeOf({ height, width }: OperationSettings): [number, number] {
  return [height as number, width as number];
}

/**
 * The bounds of a strided slice along one axis, as TensorFlow's StridedSlice has them.
 * @returns first index, stride, and how many.
 */
export function sliceBounds(
  size: number,
  begin: number | null,
  end: number | null,
  stride: number,
): { first: number; stride: number; count: number } {
  const [low, high] = stride > 0 ? [0, size] : [-1, size - 1];
  const place = (value: number) => Math.min(Math.max(value < 0 ? value + size : value, low), high);
  const first = begin === null ? (stride > 0 ? 0 : size - 1) : place(begin);
  const last = end === null ? (stride > 0 ? size : -1) : place(end);
  return { first, stride, count: Math.max(0, Math.ceil((last - first) / stride)) };
}

/** `begin`, `end`, `strides` a number per axis; in the lists `whole…` the axes whose bound is the tensor's own. */
function stridedSlice(x: Tensor, settings: OperationSettings): Tensor {
  const { begin, end, strides, wholeBegin, wholeEnd, dropped } = settings as Record<string, number[]>;
  const sliced = begin.reduce((rest, _, axis) => {
    const bounds = sliceBounds(
      x.shape[axis],
      wholeBegin.includes(axis) ? null : begin[axis],
      wholeEnd.includes(axis) ? null : end[axis],
      strides[axis],
    );
    const { first, stride } = bounds;
    const count = dropped.includes(axis) ? 1 : bounds.count;
    if (first === 0 && stride === 1 && count === x.shape[axis]) return rest;
    return take(
      rest,
      Array.from({ length: count }, (_, i) => first + i * stride),
      axis,
    );
  }, x);
  return reshape(
    sliced,
    sliced.shape.filter((_, axis) => !dropped.includes(axis)),
  );
}

/** x [batch, …] with a matrix [to, from] applied along one of its axes. */
function alongAxis(x: Tensor, matrix: Tensor, axis: 1 | 2): Tensor {
  const [batch, height, width, channels] = x.shape;
  if (axis === 1) {
    const product = matMul(repeated(matrix, batch), reshape(x, [batch, height, width * channels]));
    return reshape(product, [batch, matrix.shape[0], width, channels]);
  }
  const product = matMul(repeated(matrix, batch * height), reshape(x, [batch * height, width, channels]));
  return reshape(product, [batch, height, matrix.shape[0], channels]);
}

/** matMul broadcasts its left side forward, but not in its gradient (tfjs-core 4.22.0). */
function repeated(matrix: Tensor, times: number): Tensor {
  return tile(reshape(matrix, [1, ...matrix.shape]), [times, 1, 1]);
}

/** Where a target position lies among the source positions, as tfjs's kernels have it in forward passes. */
function sourceAt(i: number, from: number, to: number, { alignCorners, halfPixelCenters }: OperationSettings): number {
  const ratio = alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;
  return halfPixelCenters ? ratio * (i + 0.5) : ratio * i;
}

function nearest(from: number, to: number, settings: OperationSettings): number[] {
  const whole = settings.alignCorners ? Math.round : Math.floor;
  return Array.from({ length: to }, (_, i) => Math.min(whole(sourceAt(i, from, to, settings)), from - 1));
}

/** [to, from]: the share of each source position in each target position. */
function blend(from: number, to: number, settings: OperationSettings): Tensor {
  const shift = settings.halfPixelCenters ? 0.5 : 0;
  const rows = Array.from({ length: to }, (_, i) => {
    const at = Math.min(Math.max(sourceAt(i, from, to, settings) - shift, 0), from - 1);
    const low = Math.floor(at);
    const row = new Array<number>(from).fill(0);
    row[low] += 1 - (at - low);
    row[Math.min(low + 1, from - 1)] += at - low;
    return row;
  });
  return tensor2d(rows, [to, from]);
}
