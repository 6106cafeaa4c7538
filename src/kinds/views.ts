/** Layouts in which layers hold their tensors, seen from the geometries' [batch, …spatial, channels]. */
import { reshape, type Tensor, transpose } from '@tensorflow/tfjs-core';
import { type Geometry, type View, viewed } from '../geometry';

/** [batch, channels, …spatial] ↔ [batch, …spatial, channels]. */
const CHANNELS_FIRST: View = {
  into: (t) => transpose(t, [0, ...spatialAxes(t, 2), 1]),
  from: (t) => transpose(t, [0, t.rank - 1, ...spatialAxes(t, 1)]),
  shape: ([batch, channels, ...spatial]) => [batch, ...spatial, channels],
};

function spatialAxes(t: Tensor, from: number): number[] {
  return Array.from({ length: t.rank - 2 }, (_, i) => from + i);
}

/** A geometry for a layer of the given data format. */
export function inDataFormat(geometry: Geometry, channelsFirst: boolean): Geometry {
  return channelsFirst ? viewed(geometry, () => ({ x: CHANNELS_FIRST, y: CHANNELS_FIRST })) : geometry;
}

/** Conv1D as a Conv2D of height 1: [batch, length, channels] ↔ [batch, 1, length, channels], kernels likewise. */
export function asConv2d(geometry: Geometry): Geometry {
  const flat: View = {
    into: (t) => reshape(t, [t.shape[0], 1, ...t.shape.slice(1)]),
    from: (t) => reshape(t, [t.shape[0], ...t.shape.slice(2)]),
    shape: ([batch, ...rest]) => [batch, 1, ...rest],
  };
  const kernel: View = {
    into: (t) => reshape(t, [1, ...t.shape]),
    from: (t) => reshape(t, t.shape.slice(1)),
    shape: (shape) => [1, ...shape],
  };
  return viewed(geometry, () => ({ x: flat, y: flat, w: kernel }));
}

/** The first `axes` axes taken as one batch axis: what TimeDistributed (2) and Dense on sequences do. */
export function withLeadingAxesAsBatch(geometry: Geometry, axes: (rank: number) => number): Geometry {
  return viewed(geometry, (xShape) => {
    const count = axes(xShape.length);
    const lead = xShape.slice(0, count);
    const batch = lead.reduce((a, b) => a * b, 1);
    const view: View = {
      into: (t) => reshape(t, [batch, ...t.shape.slice(count)]),
      from: (t) => reshape(t, [...lead, ...t.shape.slice(1)]),
      shape: (shape) => [batch, ...shape.slice(count)],
    };
    return { x: view, y: view };
  });
}
