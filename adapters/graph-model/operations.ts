/**
 * What a `GraphOperation` layer computes, by name. Written with ops whose gradients tfjs-core 4.22.0 has and has right:
 * StridedSlice has none there, that of MirrorPad drops what was mirrored, and those of resizing know no half-pixel centres.
 */
import {
  add,
  concat,
  div,
  gather,
  image,
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
  type Tensor4D,
  tensor1d,
  tensor2d,
  tile,
  transpose,
} from '@tensorflow/tfjs-core';

/** JSON, so that a model with such layers can be saved. */
export type OperationSettings = Record<string, number | boolean | string | number[] | number[][]>;

type Operation = (inputs: Tensor[], settings: OperationSettings, constant: Tensor | null) => Tensor | Tensor[];

const BINARY: Record<string, (a: Tensor, b: Tensor) => Tensor> = { add, sub, mul, div, maximum, minimum };

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
    if (!settings.halfPixelCenters)
      return image.resizeBilinear(x as Tensor4D, sizeOf(settings), settings.alignCorners as boolean);
    const [height, width] = sizeOf(settings);
    const [, fromHeight, fromWidth] = x.shape as number[];
    return alongAxis(alongAxis(x, blend(fromHeight, height), 1), blend(fromWidth, width), 2);
  },
  resizeNearest: ([x], settings) => {
    if (!settings.halfPixelCenters)
      return image.resizeNearestNeighbor(x as Tensor4D, sizeOf(settings), settings.alignCorners as boolean);
    const [height, width] = sizeOf(settings);
    const nearest = (from: number, to: number) =>
      Array.from({ length: to }, (_, i) => Math.min(Math.floor((i + 0.5) * (from / to)), from - 1));
    const [, fromHeight, fromWidth] = x.shape as number[];
    return take(take(x, nearest(fromHeight, height), 1), nearest(fromWidth, width), 2);
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

/** [to, from]: the share of each source position in each target position, with half-pixel centres. */
function blend(from: number, to: number): Tensor {
  const rows = Array.from({ length: to }, (_, i) => {
    const at = Math.min(Math.max((i + 0.5) * (from / to) - 0.5, 0), from - 1);
    const low = Math.floor(at);
    const row = new Array<number>(from).fill(0);
    row[low] += 1 - (at - low);
    row[Math.min(low + 1, from - 1)] += at - low;
    return row;
  });
  return tensor2d(rows);
}
