/** What moves values without computing any: padding, joining, cutting, reshaping; and resizing. The batch always stays. */
import { layers, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import type { Layer } from '../../../src/internals';
import { flag, number, numbers, text } from '../attributes';
import type { GraphNode } from '../graph';
import { graphOperation } from '../graph-operation';
import { type Lifting, Unliftable } from '../lifting';
import type { OperationName, OperationSettings } from '../operations';
import { firstInput, type Op, requireRank } from './op';

function own(
  node: GraphNode,
  lifting: Lifting,
  operation: OperationName,
  settings: OperationSettings,
  x: SymbolicTensor | SymbolicTensor[],
): SymbolicTensor | SymbolicTensor[] {
  const name = lifting.names.of(node.name, `_${operation}`);
  return lifting.apply(node, graphOperation({ name, operation, settings }), x);
}

const isKnown = (size: number | null): size is number => size !== null;
const inner = ({ shape }: SymbolicTensor) => shape.slice(1);
const product = (sizes: readonly number[]) => sizes.reduce((result, size) => result * size, 1);

/** Reshape of Keras where the sizes are known, else ours. `sizes` are those without the batch. */
function reshaped(node: GraphNode, lifting: Lifting, x: SymbolicTensor, sizes: number[]): SymbolicTensor {
  if (!inner(x).every(isKnown)) return own(node, lifting, 'reshape', { sizes }, x) as SymbolicTensor;
  const layer = layers.reshape({ name: lifting.names.of(node.name, '_reshape'), targetShape: sizes }) as Layer;
  return lifting.apply(node, layer, x);
}

const reshape: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const asked = lifting.sizesOf(node.inputs[1])?.values;
    if (asked === undefined) throw new Unliftable('the shape that it is to give cannot be told before it runs');
    const [first, ...rest] = asked;
    const known = inner(x).every(isKnown) ? product(inner(x) as number[]) : undefined;
    const given = rest.map((size) => (size === null ? -1 : size));
    if (given.filter((size) => size === -1).length > 1 || given.includes('batch')) {
      throw new Unliftable(`it is to give [${asked.join(', ')}], of which too little is known`);
    }
    const whole = given as number[];
    const others = product(whole.filter((size) => size !== -1));
    const rests = whole.includes(-1);
    const fits = known === undefined ? first === 'batch' : rests ? known % others === 0 : known === others;
    // What is said of the batch: itself, its size of 1 when the graph was made, or what is left over.
    if (!fits || !(first === 'batch' || first === 1 || !rests)) {
      throw new Unliftable(`it gives [${asked.join(', ')}], which does not keep the batch apart`);
    }
    const sizes = known === undefined ? whole : whole.map((size) => (size === -1 ? known / others : size));
    lifting.give(node, reshaped(node, lifting, x, sizes));
  },
};

const squeeze: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const rank = x.shape.length;
    const named = numbers(node, 'squeeze_dims').concat(numbers(node, 'axis'));
    const axes = named.length > 0 ? named.map((axis) => (axis < 0 ? axis + rank : axis)) : onesOf(x);
    if (axes.includes(0)) throw new Unliftable('it drops the batch');
    const other = axes.find((axis) => x.shape[axis] !== 1 && x.shape[axis] !== null);
    if (other !== undefined) throw new Unliftable(`it drops axis ${other} of [${x.shape.join(', ')}], which is not 1`);
    const left = x.shape.filter((_, axis) => !axes.includes(axis)).slice(1);
    if (axes.length === 0) lifting.give(node, x);
    else if (left.every(isKnown)) lifting.give(node, reshaped(node, lifting, x, left));
    else lifting.give(node, own(node, lifting, 'squeeze', { axes }, x));
  },
};

function onesOf(x: SymbolicTensor): number[] {
  if (!inner(x).every(isKnown)) throw new Unliftable('it drops whatever has size 1, which is not known here');
  return x.shape.flatMap((size, axis) => (axis > 0 && size === 1 ? [axis] : []));
}

const expandDims: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const given = node.inputs.length > 1 ? lifting.numberOf(node, 1) : number(node, 'dim', 0);
    const axis = given < 0 ? given + x.shape.length + 1 : given;
    if (axis === 0) throw new Unliftable('it puts an axis before the batch');
    const sizes = [...x.shape];
    sizes.splice(axis, 0, 1);
    if (inner(x).every(isKnown)) lifting.give(node, reshaped(node, lifting, x, sizes.slice(1) as number[]));
    else lifting.give(node, own(node, lifting, 'expandDims', { axis }, x));
  },
};

const transpose: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const perm = lifting.numbersOf(node, 1);
    if (perm[0] !== 0) throw new Unliftable('it moves the batch');
    const layer = layers.permute({ name: lifting.names.of(node.name, '_permute'), dims: perm.slice(1) }) as Layer;
    lifting.give(node, lifting.apply(node, layer, x));
  },
};

const concat: Op = {
  data: (node) => node.inputs.slice(0, -1),
  lift: (node, lifting) => {
    const inputs = node.inputs.slice(0, -1).map((_, index) => lifting.input(node, index));
    if (inputs.length === 0) throw new Unliftable('it joins nothing');
    const given = lifting.numberOf(node, node.inputs.length - 1);
    const axis = given < 0 ? given + inputs[0].shape.length : given;
    if (axis === 0) throw new Unliftable('it joins along the batch');
    if (inputs.length === 1) lifting.give(node, inputs[0]);
    else {
      const layer = layers.concatenate({ name: lifting.names.of(node.name, '_concat'), axis }) as Layer;
      lifting.give(node, lifting.apply(node, layer, inputs));
    }
  },
};

const pack: Op = {
  lift: (node, lifting) => {
    const inputs = node.inputs.map((_, index) => lifting.input(node, index));
    if (inputs.length === 0) throw new Unliftable('it stacks nothing');
    const given = number(node, 'axis', 0);
    const axis = given < 0 ? given + inputs[0].shape.length + 1 : given;
    if (axis === 0) throw new Unliftable('it stacks along the batch');
    lifting.give(node, own(node, lifting, 'stack', { axis }, inputs));
  },
};

const splitEvenly: Op = {
  data: (node) => node.inputs.slice(1, 2),
  lift: (node, lifting) => {
    const x = lifting.input(node, 1);
    const axis = axisOfSplit(x, lifting.numberOf(node, 0));
    lifting.give(node, own(node, lifting, 'split', { sizes: number(node, 'num_split', 1), axis }, x));
  },
};

const splitV: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const axis = axisOfSplit(x, lifting.numberOf(node, 2));
    lifting.give(node, own(node, lifting, 'split', { sizes: lifting.numbersOf(node, 1), axis }, x));
  },
};

function axisOfSplit(x: SymbolicTensor, given: number): number {
  const axis = given < 0 ? given + x.shape.length : given;
  if (axis === 0) throw new Unliftable('it splits the batch');
  return axis;
}

const stridedSlice: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    const [begin, end, strides] = [1, 2, 3].map((index) => lifting.numbersOf(node, index));
    const masked = (name: string) => {
      const mask = number(node, name, 0);
      return begin.map((_, axis) => axis).filter((axis) => (mask >> axis) & 1);
    };
    if (number(node, 'ellipsis_mask', 0) !== 0 || number(node, 'new_axis_mask', 0) !== 0) {
      throw new Unliftable('it has an ellipsis or makes new axes');
    }
    const [wholeBegin, wholeEnd, dropped] = ['begin_mask', 'end_mask', 'shrink_axis_mask'].map(masked);
    const wholeBatch =
      !dropped.includes(0) && strides[0] === 1 && (wholeBegin.includes(0) || begin[0] === 0) && wholeEnd.includes(0);
    if (!wholeBatch) throw new Unliftable('it cuts the batch');
    const settings = { begin, end, strides, wholeBegin: [...wholeBegin, 0], wholeEnd: [...wholeEnd, 0], dropped };
    lifting.give(node, own(node, lifting, 'stridedSlice', settings, x));
  },
};

/** Pad, PadV2, MirrorPad: `paddings` is a constant [rank, 2]. */
function padding(kind: 'constant' | 'mirror'): Op {
  return {
    data: firstInput,
    lift: (node, lifting) => {
      const x = lifting.input(node);
      const flat = lifting.numbersOf(node, 1);
      const { shape } = lifting.constantInput(node, 1).constant;
      if (String(shape) !== `${x.shape.length},2`) {
        throw new Unliftable(`its paddings [${shape.join(', ')}] are not two for each of ${x.shape.length} axes`);
      }
      const paddings = x.shape.map((_, axis): [number, number] => [flat[2 * axis], flat[2 * axis + 1]]);
      if (paddings[0].some((size) => size !== 0)) throw new Unliftable('it pads the batch');
      if (kind === 'mirror') {
        const offset = text(node, 'mode', 'REFLECT') === 'REFLECT' ? 1 : 0;
        lifting.give(node, own(node, lifting, 'mirrorPad', { paddings, offset }, x));
        return;
      }
      const value = node.inputs.length > 2 ? Number(lifting.constantInput(node, 2).constant.values[0]) : 0;
      const isZeroPadding = value === 0 && paddings.length === 4 && paddings[3].every((size) => size === 0);
      if (!isZeroPadding) {
        lifting.give(node, own(node, lifting, 'pad', { paddings, value }, x));
        return;
      }
      const name = lifting.names.of(node.name, '_pad');
      const layer = layers.zeroPadding2d({ name, padding: [paddings[1], paddings[2]] }) as Layer;
      lifting.give(node, lifting.apply(node, layer, x));
    },
  };
}

function resize(operation: 'resizeBilinear' | 'resizeNearest'): Op {
  return {
    data: firstInput,
    lift: (node, lifting) => {
      const x = lifting.input(node);
      requireRank(x.shape, 4);
      const sizes = lifting.sizesOf(node.inputs[1])?.values;
      const [height, width] = sizes ?? [];
      if (typeof height !== 'number' || typeof width !== 'number') {
        throw new Unliftable('the size that it is to give cannot be told before it runs');
      }
      const alignCorners = flag(node, 'align_corners');
      const halfPixelCenters = flag(node, 'half_pixel_centers');
      // Not UpSampling2D, even where the factors are whole: its gradient on cpu is wrong (see operations.ts).
      lifting.give(node, own(node, lifting, operation, { height, width, alignCorners, halfPixelCenters }, x));
    },
  };
}

/** What hands its input on. */
const same: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    lifting.give(node, lifting.input(node));
  },
};

const cast: Op = {
  data: firstInput,
  lift: (node, lifting) => {
    const to = node.attributes.DstT?.type;
    // Every tensor of a layers model is float32 here; its input is cast to that by tfjs-layers.
    if (to !== 'DT_FLOAT' && to !== 1) throw new Unliftable('it makes other numbers than float32');
    lifting.give(node, lifting.input(node));
  },
};

export const shapes: Record<string, Op> = {
  Reshape: reshape,
  Squeeze: squeeze,
  ExpandDims: expandDims,
  Transpose: transpose,
  ConcatV2: concat,
  Pack: pack,
  Split: splitEvenly,
  SplitV: splitV,
  StridedSlice: stridedSlice,
  Pad: padding('constant'),
  PadV2: padding('constant'),
  MirrorPad: padding('mirror'),
  ResizeBilinear: resize('resizeBilinear'),
  ResizeNearestNeighbor: resize('resizeNearest'),
  Identity: same,
  StopGradient: same,
  Cast: cast,
};
