/** Rows of the table: pooling, and what moves values. Behind a feature map `x` [batch, 6, 5, 4]. */
import type { Given, GraphBuilder } from './graphs';
import { batchOf, type Row } from './product-graphs';

const pool = (op: string, layer: string, padding: string, size: number[], strides: number[]): Row => ({
  name: `${op}, ${padding}, ${size}, strides ${strides}`,
  build: (g, x) =>
    g.node(op, 'pool', [x], { ksize: [1, ...size, 1], strides: [1, ...strides, 1], padding, data_format: 'NHWC' }),
  layers: [layer],
});

const reduction = (op: string, axes: number[], keep: boolean, layers: string[]): Row => ({
  name: `${op} over ${axes}${keep ? ', keep_dims' : ''}`,
  build: (g, x) => g.node(op, 'reduced', [x, g.ints('axes', axes)], { keep_dims: keep }),
  layers,
});

const POOLING: Row[] = [
  ...['SAME', 'VALID'].flatMap((padding) => [
    pool('MaxPool', 'MaxPooling2D', padding, [2, 2], [2, 2]),
    pool('MaxPool', 'MaxPooling2D', padding, [3, 2], [1, 2]),
    pool('AvgPool', 'AveragePooling2D', padding, [2, 2], [2, 2]),
    pool('AvgPool', 'AveragePooling2D', padding, [3, 3], [2, 1]),
  ]),
  reduction('Mean', [1, 2], false, ['GlobalAveragePooling2D']),
  reduction('Mean', [2, 1], true, ['GlobalAveragePooling2D', 'Reshape']),
  reduction('Mean', [-3, -2], false, ['GlobalAveragePooling2D']),
  reduction('Mean', [3], true, ['GraphOperation']),
  reduction('Mean', [1], false, ['GraphOperation']),
  reduction('Mean', [1, 2, 3], false, ['GraphOperation']),
  reduction('Max', [1, 2], false, ['GlobalMaxPooling2D']),
  reduction('Max', [1, 2], true, ['GlobalMaxPooling2D', 'Reshape']),
];

const PADS = [0, 0, 1, 2, 0, 3, 0, 0];
const padding = (op: string, pads: number[], layer: string, more: Partial<Row> & { value?: number; mode?: string }) => {
  const { value, mode, ...rest } = more;
  return {
    name: `${op} by ${pads}${value === undefined ? '' : `, value ${value}`}${mode ? `, ${mode}` : ''}`,
    build: (g: GraphBuilder, x: string) => {
      const values = value === undefined ? [] : [g.constant('value', [], [value])];
      const attributes: Record<string, Given> = mode ? { mode } : {};
      return g.node(op, 'padded', [x, g.ints('paddings', pads, [4, 2]), ...values], attributes);
    },
    layers: [layer],
    ...rest,
  } satisfies Row;
};

const PADDING: Row[] = [
  padding('Pad', PADS, 'ZeroPadding2D', {}),
  padding('PadV2', PADS, 'ZeroPadding2D', { value: 0 }),
  padding('PadV2', PADS, 'GraphOperation', { value: -1.5 }),
  padding('Pad', [0, 0, 1, 0, 0, 0, 2, 1], 'GraphOperation', {}),
  ...['REFLECT', 'SYMMETRIC'].map((mode) => padding('MirrorPad', PADS, 'GraphOperation', { mode, linear: true })),
  padding('MirrorPad', [0, 0, 2, 0, 2, 2, 1, 3], 'GraphOperation', { mode: 'REFLECT', linear: true }),
];

const reshape = (to: number[], layers = ['Reshape']): Row => ({
  name: `Reshape to ${to}`,
  build: (g, x) => g.node('Reshape', 'reshaped', [x, g.ints('shape', to)]),
  layers,
});

const squeezed = (attributes: Record<string, Given>): Row => ({
  name: `Mean keep_dims, Squeeze ${JSON.stringify(attributes)}`,
  build: (g, x) => {
    g.node('Mean', 'mean', [x, g.ints('axes', [1, 2])], { keep_dims: true });
    return g.node('Squeeze', 'squeezed', ['mean'], attributes);
  },
  layers: ['GlobalAveragePooling2D', 'Reshape', 'Reshape'],
});

const expanded = (axis: number): Row => ({
  name: `ExpandDims at ${axis}, Tanh`,
  build: (g, x) => g.node('Tanh', 'tanh', [g.node('ExpandDims', 'expanded', [x, g.ints('axis', axis)])]),
  layers: ['Reshape', 'Activation'],
});

const SHAPES: Row[] = [
  reshape([-1, 120]),
  reshape([-1, 30, 4]),
  reshape([-1, 2, 3, 20]),
  {
    name: 'Reshape to [batch from Shape, −1, 2]',
    build: (g, x) => {
      const rest = [-1, 2].map((size, i) => g.ints(`size_${i}`, size));
      const shape = g.node('Pack', 'shape', [batchOf(g, x), ...rest], { axis: 0 });
      return g.node('Reshape', 'reshaped', [x, shape]);
    },
    layers: ['Reshape'],
  },
  {
    name: 'Reshape to [batch, height · width, channels], each from Shape',
    build: (g, x) => {
      const shape = g.node('Shape', 'shape', [x]);
      const at = (from: number) =>
        g.node(
          'StridedSlice',
          `size_${from}`,
          [shape, ...[from, from + 1, 1].map((value, i) => g.ints(`bound_${from}_${i}`, [value]))],
          { shrink_axis_mask: 1 },
        );
      const [batch, height, width, channels] = [0, 1, 2, 3].map(at);
      const pixels = g.node('Mul', 'pixels', [height, width]);
      const to = g.node('Pack', 'to', [batch, pixels, channels], { axis: 0 });
      return g.node('Reshape', 'reshaped', [x, to]);
    },
    layers: ['Reshape'],
  },
  squeezed({ squeeze_dims: [1, 2] }),
  squeezed({ squeeze_dims: [-3, -2] }),
  squeezed({}),
  expanded(1),
  expanded(-1),
  expanded(2),
  {
    name: 'Transpose by 0, 2, 1, 3',
    build: (g, x) => g.node('Transpose', 'transposed', [x, g.ints('perm', [0, 2, 1, 3])]),
    layers: ['Permute'],
  },
  {
    name: 'Transpose by 0, 3, 1, 2',
    build: (g, x) => g.node('Transpose', 'transposed', [x, g.ints('perm', [0, 3, 1, 2])]),
    layers: ['Permute'],
  },
];

const joined = (axis: number): Row => ({
  name: `ConcatV2 along ${axis}`,
  build: (g, x) => g.node('ConcatV2', 'joined', [x, g.node('Tanh', 'tanh', [x]), x, g.ints('axis', axis)], { N: 3 }),
  layers: ['Activation', 'Activation', 'Concatenate'],
});

const stacked = (axis: number): Row => ({
  name: `Pack along ${axis}`,
  build: (g, x) => g.node('Pack', 'stacked', [x, g.node('Tanh', 'tanh', [x])], { axis }),
  layers: ['Activation', 'GraphOperation'],
});

const JOINING: Row[] = [
  joined(1),
  joined(2),
  joined(-1),
  {
    name: 'ConcatV2 of one tensor',
    build: (g, x) => g.node('Tanh', 'tanh', [g.node('ConcatV2', 'joined', [x, g.ints('axis', 3)], { N: 1 })]),
    layers: ['Activation'],
  },
  stacked(1),
  stacked(-1),
  {
    name: 'Split into 2 along the channels, in the other order',
    build: (g, x) => {
      g.node('Split', 'split', [g.ints('axis', 3), x], { num_split: 2 });
      return g.node('ConcatV2', 'joined', ['split:1', 'split', 'split:1', g.ints('last', 3)], { N: 3 });
    },
    layers: ['GraphOperation', 'Activation', 'Concatenate'],
  },
  {
    name: 'SplitV into 1, 2, 3 along −3, two of them taken',
    build: (g, x) => {
      g.node('SplitV', 'split', [x, g.ints('sizes', [1, 2, 3]), g.ints('axis', -3)], { num_split: 3 });
      return ['split:2', g.node('Tanh', 'tanh', ['split'])];
    },
    layers: ['GraphOperation', 'Activation'],
  },
];

const BATCH = { begin_mask: 1, end_mask: 1 };
/** Bounds along [batch, 6, 5, 4]; the masks' lowest bit is the batch. */
const slice = (name: string, bounds: number[][], attributes: Record<string, Given> = BATCH): Row => ({
  name: `StridedSlice, ${name}`,
  build: (g, x) => {
    const inputs = ['begin', 'end', 'strides'].map((each, i) => g.ints(each, bounds[i]));
    return g.node('StridedSlice', 'sliced', [x, ...inputs], attributes);
  },
  layers: ['GraphOperation'],
  linear: true,
});

const ones = [1, 1, 1, 1];
const SLICES: Row[] = [
  slice('rows 1 … 4', [[0, 1, 0, 0], [0, 4, 5, 4], ones]),
  slice(
    'every second row, from both masks',
    [
      [0, 3],
      [0, 1],
      [1, 2],
    ].map((b) => b) as number[][],
    {
      begin_mask: 3,
      end_mask: 3,
    },
  ),
  slice('from the end, negative bounds', [[0, -4, -3, 0], [0, -1, -1, 2], ones]),
  slice(
    'channels reversed, begin and end open',
    [
      [0, 0, 0, 0],
      [0, 0, 0, 0],
      [1, 1, 1, -1],
    ],
    { begin_mask: 15, end_mask: 15 },
  ),
  slice('every second column backwards, bounds given', [
    [0, 0, 4, 0],
    [0, 6, 0, 4],
    [1, 1, -2, 1],
  ]),
  slice('one row and one channel, their axes dropped', [[0, 2, 0, -1], [0, 3, 5, 0], ones], {
    ...BATCH,
    shrink_axis_mask: 10,
  }),
  slice('a bound beyond the end', [[0, 0, 1, 0], [0, 100, 2147483647, 4], ones]),
];

const SIZES = [
  [12, 15],
  [11, 8],
  [3, 4],
  [1, 1],
  [6, 5],
];

const RESIZES: Row[] = ['ResizeBilinear', 'ResizeNearestNeighbor'].flatMap((op) =>
  SIZES.flatMap((to) =>
    ['', 'align_corners', 'half_pixel_centers'].map((mode) => ({
      name: `${op} to ${to}${mode && `, ${mode}`}`,
      build: (g: GraphBuilder, x: string) =>
        g.node(op, 'resized', [x, g.ints('size', to)], {
          align_corners: mode === 'align_corners',
          half_pixel_centers: mode === 'half_pixel_centers',
        }),
      layers: ['GraphOperation'],
      linear: true,
    })),
  ),
);

export const MOVED: Row[] = [...POOLING, ...PADDING, ...SHAPES, ...JOINING, ...SLICES, ...RESIZES];
