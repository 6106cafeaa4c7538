/** The table of conv kinds: a new kind is one file and one line here. */
import { classOf, type Layer } from '../internals';
import { conv1dKind, conv2dKind, conv3dKind } from './conv';
import { conv2dTransposeKind, conv3dTransposeKind } from './conv-transpose';
import { denseKind } from './dense';
import { depthwiseKind } from './depthwise';
import type { Kind } from './kind';
import { separableKind } from './separable';

export type { Kind, Stage } from './kind';

const KINDS = new Map<string, Kind<never>>(
  [
    conv1dKind,
    conv2dKind,
    conv3dKind,
    conv2dTransposeKind,
    conv3dTransposeKind,
    depthwiseKind,
    separableKind,
    denseKind,
  ].map((kind) => [kind.className, kind as Kind<never>]),
);

/** The kind of a layer (not wrapped in TimeDistributed), or undefined where it is no convolution that we know. */
export function kindOf(layer: Layer): Kind | undefined {
  return KINDS.get(classOf(layer)) as Kind | undefined;
}

/** The axis, from 0, of the channels in a tensor of this rank that a layer of a known kind takes or gives. */
export function channelAxisOf(conv: Layer, timeDistributed: boolean, rank: number): number {
  return (kindOf(conv) as Kind).channelsFirst(conv) ? (timeDistributed ? 2 : 1) : rank - 1;
}
