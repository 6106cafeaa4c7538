/** Dense, kernel [in, out], on the last axis of inputs of any rank: s on the last axis of the kernel. */
import type { DenseLayer } from '../internals';
import { lastAxis } from './conv';
import { foldBeforeProduct } from './fold-before';
import { dense } from './geometries';
import type { Kind } from './kind';
import { withLeadingAxesAsBatch } from './views';

export const denseKind: Kind<DenseLayer> = {
  className: 'Dense',
  stages: (layer) => [{ geometry: withLeadingAxesAsBatch(dense(), (rank) => rank - 1), kernel: layer.kernel }],
  scaleShape: lastAxis,
  channelsFirst: () => false,
  before: { exact: () => true, fold: foldBeforeProduct },
};
