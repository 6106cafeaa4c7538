/** The rows of the table of blocks: for every kind of conv a pairwise selection of all settings. */
import { ACTIVATIONS, type ActivationName, type BlockCase } from './blocks';
import { pairwise } from './pairwise';
import type { KindName } from './reference';

/** Channels of x, output channels, depthwise channels per channel of x. */
type Width = [channels: number, filters: number, multiplier: number];

interface Settings {
  spatial: number[];
  kernelSize: number[];
  strides: number[];
  dilations: number[];
  padding: 'same' | 'valid';
  channelsFirst: boolean;
  width: Width;
  bias: boolean;
  scale: boolean;
  center: boolean;
  axis: 'negative' | 'positive';
  epsilon: number;
  tinyVariance: boolean;
  activation: ActivationName;
  fuse: boolean;
}

type Dimensions = { [K in keyof Settings]: readonly Settings[K][] };

const BOOLEANS = [true, false];

const COMMON = {
  padding: ['same', 'valid'],
  channelsFirst: BOOLEANS,
  bias: BOOLEANS,
  scale: BOOLEANS,
  center: BOOLEANS,
  axis: ['negative', 'positive'],
  epsilon: [1e-3, 1e-5],
  tinyVariance: BOOLEANS,
  activation: Object.keys(ACTIVATIONS) as ActivationName[],
  fuse: BOOLEANS,
} as const;

// As many output channels as input channels in some rows: then a scale on the wrong axis of the kernel fits its shape.
const EQUAL: Width = [3, 3, 1];
const WIDER: Width = [3, 4, 1];
const MULTIPLIED: Width = [2, 4, 2];

export const DIMENSIONS: Record<KindName, Dimensions> = {
  Conv1D: {
    ...COMMON,
    spatial: [[7]],
    kernelSize: [[3], [2], [1]],
    strides: [[1], [2]],
    dilations: [[1], [2]],
    // With channelsFirst tfjs-layers returns Conv1D's output channelsLast: no pair (a test of the walker).
    channelsFirst: [false],
    width: [EQUAL, WIDER],
  },
  Conv2D: {
    ...COMMON,
    spatial: [[5, 6]],
    kernelSize: [
      [3, 2],
      [3, 3],
      [1, 1],
    ],
    strides: [
      [1, 1],
      [2, 2],
      [2, 1],
    ],
    dilations: [
      [1, 1],
      [2, 2],
      [1, 3],
    ],
    width: [EQUAL, WIDER],
  },
  Conv3D: {
    ...COMMON,
    spatial: [[3, 5, 3]],
    kernelSize: [
      [2, 2, 2],
      [1, 3, 2],
    ],
    strides: [
      [1, 1, 1],
      [2, 2, 2],
      [1, 2, 1],
    ],
    dilations: [
      [1, 1, 1],
      [2, 2, 2],
      [1, 2, 1],
    ],
    width: [EQUAL, WIDER],
  },
  Conv2DTranspose: {
    ...COMMON,
    spatial: [[3, 4]],
    kernelSize: [
      [3, 2],
      [3, 3],
      [1, 1],
    ],
    strides: [
      [1, 1],
      [2, 2],
      [1, 2],
    ],
    dilations: [[1, 1]],
    width: [EQUAL, WIDER],
  },
  Conv3DTranspose: {
    ...COMMON,
    spatial: [[2, 3, 2]],
    kernelSize: [
      [2, 2, 2],
      [1, 3, 2],
    ],
    strides: [
      [1, 1, 1],
      [2, 2, 2],
      [1, 2, 1],
    ],
    dilations: [[1, 1, 1]],
    width: [EQUAL, WIDER],
  },
  DepthwiseConv2D: {
    ...COMMON,
    spatial: [[5, 6]],
    kernelSize: [
      [3, 2],
      [3, 3],
      [1, 1],
    ],
    strides: [
      [1, 1],
      [2, 2],
    ],
    dilations: [[1, 1]],
    width: [EQUAL, MULTIPLIED, [2, 6, 3]],
  },
  SeparableConv2D: {
    ...COMMON,
    spatial: [[5, 6]],
    kernelSize: [
      [3, 2],
      [3, 3],
      [1, 1],
    ],
    strides: [
      [1, 1],
      [2, 2],
    ],
    dilations: [
      [1, 1],
      [2, 2],
    ],
    width: [EQUAL, MULTIPLIED, [3, 2, 2]],
  },
  Dense: {
    ...COMMON,
    spatial: [[], [4], [2, 3]],
    kernelSize: [[]],
    strides: [[]],
    dilations: [[]],
    padding: ['valid'],
    channelsFirst: [false],
    width: [EQUAL, WIDER],
  },
};

export const KINDS = Object.keys(DIMENSIONS) as KindName[];

/** What exists: stride and dilation do not both exceed 1, the kernel fits, and tfjs-layers can run it. */
function exists(kind: KindName, settings: Settings): boolean {
  const { spatial, kernelSize, strides, dilations, padding, channelsFirst, bias } = settings;
  if (strides.some((stride) => stride > 1) && dilations.some((rate) => rate > 1)) return false;
  // tfjs-layers adds SeparableConv2D's bias on the wrong axis with channelsFirst: no pair (a test of the walker).
  if (kind === 'SeparableConv2D' && channelsFirst && bias) return false;
  // tfjs pads 3D convolutions negatively where the stride is larger than the kernel: a test of its own in the table.
  const strideTooLarge = strides.some((stride, axis) => stride > kernelSize[axis]);
  if (kind.startsWith('Conv3D') && padding === 'same' && strideTooLarge) return false;
  return padding === 'same' || kernelSize.every((size, axis) => (size - 1) * dilations[axis] < spatial[axis]);
}

/** The rows of a kind; the same in every run. */
export function rowsOf(kind: KindName): { name: string; block: BlockCase }[] {
  return pairwise<Settings>(DIMENSIONS[kind], (settings) => exists(kind, settings)).map((settings) => ({
    name: describeSettings(settings),
    block: blockOf(kind, settings),
  }));
}

function blockOf(kind: KindName, settings: Settings): BlockCase {
  const { spatial, kernelSize, strides, dilations, padding, channelsFirst, width, ...rest } = settings;
  const [channels, filters, multiplier] = width;
  const spec = { kind, batch: 2, spatial, channels, filters, multiplier };
  return { spec: { ...spec, kernelSize, strides, dilations, padding, channelsFirst }, ...rest };
}

function describeSettings(s: Settings): string {
  const shape = `[${[...s.spatial, s.width[0]]}]→${s.width[1]}`;
  const conv = s.kernelSize.length > 0 ? ` k${s.kernelSize} s${s.strides} d${s.dilations} ${s.padding}` : '';
  const bn = `${s.bias ? 'bias' : 'no bias'}, ${s.scale ? 'γ' : 'no γ'}, ${s.center ? 'β' : 'no β'}, axis ${s.axis}`;
  const statistics = `ε ${s.epsilon}${s.tinyVariance ? ', tiny σ²' : ''}`;
  const format = s.channelsFirst ? ' channelsFirst' : '';
  return `${shape}${conv}${format}, ${bn}, ${statistics}, ${s.activation}${s.fuse ? '' : ' (not fused)'}`;
}
