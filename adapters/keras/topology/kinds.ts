/** How the value of one argument is checked and mapped. */
import type { Findings } from './findings';
import { mapActivation, mapConstraint, mapDtype, mapInitializer, mapRegularizer } from './objects';
import { show } from './plain';

export interface Argument {
  layer: string;
  className: string;
  name: string;
  findings: Findings;
  mapInner(value: unknown, at: Argument): unknown;
}

/** @returns the value for tfjs-layers; undefined to leave the argument out. */
export type Kind = (value: unknown, at: Argument) => unknown;

/**
 * No published model has a layer with a million units, filters or steps; far fewer fill the memory. Shapes may be
 * longer, audio for one.
 */
const LARGEST_COUNT = 1e6;
const LARGEST_DIMENSION = 2 ** 31 - 1;

const bad = (value: unknown, at: Argument, expected: string) =>
  at.findings.invalid(at.layer, `${at.name} = ${show(value)}, expected ${expected}. The file is damaged.`);

function refuse(value: unknown, at: Argument, why: string): undefined {
  at.findings.unsupported(at.layer, at.className, `${at.name} = ${show(value)}, ${why}`);
  return undefined;
}

const isCount = (value: unknown, least: number, most: number) =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;

/** Null stands for the default, as in Python; for some arguments tfjs-layers would take it for a value. */
const orDefault =
  (kind: Kind): Kind =>
  (value, at) =>
    value === null ? undefined : kind(value, at);

export const count = (most = LARGEST_COUNT, least = 1) =>
  orDefault((value, at) => {
    if (!isCount(value, least, most)) throw bad(value, at, `a whole number from ${least} to ${most}`);
    return value;
  });

/** One count for each dimension, or one for all. */
export const counts = (rank: number, least = 1) =>
  orDefault((value, at) => {
    const list = Array.isArray(value) ? value : [value];
    const fits = Array.isArray(value) ? list.length === rank || list.length === 1 : true;
    if (!fits || !list.every((item) => isCount(item, least, LARGEST_COUNT))) {
      throw bad(value, at, `${rank} whole numbers from ${least} to ${LARGEST_COUNT}`);
    }
    return list.length === rank ? list : Array(rank).fill(list[0]);
  });

/** n, [rows, columns] or [[top, bottom], [left, right]]. */
export const margins = orDefault((value, at) => {
  const list: unknown[] = Array.isArray(value) ? value : [value, value];
  const fine = (item: unknown) => isCount(item, 0, LARGEST_COUNT);
  const pair = (item: unknown) => (Array.isArray(item) ? item.length === 2 && item.every(fine) : fine(item));
  if (list.length !== 2 || !list.every(pair)) throw bad(value, at, '[[top, bottom], [left, right]]');
  return list.map((item) => (Array.isArray(item) ? item : [item, item]));
});

export const number = orDefault((value, at) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    if (Array.isArray(value)) return refuse(value, at, 'tfjs-layers takes one number');
    throw bad(value, at, 'a number');
  }
  return value;
});

export const flag = orDefault((value, at) => {
  if (typeof value !== 'boolean') throw bad(value, at, 'true or false');
  return value;
});

/** Keras 3 may hold a generator object instead. */
export const seed: Kind = (value) => (typeof value === 'number' ? value : undefined);

export const ignore: Kind = () => undefined;

export const oneOf = (...allowed: string[]) =>
  orDefault((value, at) =>
    allowed.includes(value as string) ? value : refuse(value, at, `tfjs-layers takes ${allowed.join(', ')}`),
  );

/** An argument that tfjs-layers does not read: it may have only the value that changes nothing. */
export const neutral =
  (...values: unknown[]): Kind =>
  (value, at) => {
    if (value === null) return undefined;
    const same = values.some((item) => JSON.stringify(item) === JSON.stringify(value));
    return same ? undefined : refuse(value, at, `tfjs-layers computes ${show(values[0] ?? null)} only`);
  };

/** As `neutral`, for arguments with one number for each dimension. */
export const neutralEach =
  (neutralValue: number): Kind =>
  (value, at) => {
    const list = Array.isArray(value) ? value : [value];
    const same = value === null || list.every((item) => item === neutralValue);
    return same ? undefined : refuse(value, at, `tfjs-layers computes ${neutralValue} only`);
  };

/** A dimension or a list of them; Keras writes [3] for 3. */
export const axis = (lists: boolean): Kind =>
  orDefault((value, at) => {
    const list = Array.isArray(value) ? value : [value];
    if (list.length === 0 || !list.every((item) => isCount(item, -100, 100))) throw bad(value, at, 'a dimension');
    if (list.length === 1) return lists && Array.isArray(value) ? list : list[0];
    return lists ? list : refuse(value, at, 'tfjs-layers takes one dimension');
  });

/** A shape with its batch size, or without one where `free` is -1. */
export const shape = (free?: -1) =>
  orDefault((value, at) => {
    const fine = (item: unknown) => item === null || (free && item === -1) || isCount(item, 0, LARGEST_DIMENSION);
    if (!Array.isArray(value) || !value.every(fine)) {
      throw bad(value, at, `a list of whole numbers up to ${LARGEST_DIMENSION} and null`);
    }
    return value;
  });

export const list = orDefault((value, at) => {
  if (!Array.isArray(value)) throw bad(value, at, 'a list');
  return value;
});

export const kept: Kind = (value) => value;

export const initializer = orDefault((value) => mapInitializer(value));

function penalty(map: (value: unknown) => unknown): Kind {
  return orDefault((value, at) => {
    const mapped = map(value);
    if (mapped !== undefined) return mapped;
    at.findings.unknown(at.layer, at.className, `${at.name} = ${show(value)}, which tfjs-layers does not have`);
    return at.findings.allowCustom ? value : undefined;
  });
}

export const regularizer = penalty(mapRegularizer);
export const constraint = penalty(mapConstraint);

/** tfjs-layers' DepthwiseConv2D writes its regularizer a second time as its constraint, and could not load that. */
export const depthwiseConstraint: Kind = (value, at) =>
  at.findings.writer.tfjs && mapRegularizer(value) !== undefined ? undefined : constraint(value, at);

/** A layer of tfjs-layers with such a regularizer refuses to be built. */
export const activityRegularizer = orDefault((_value, at) => {
  at.findings.note(`'${at.layer}': its activity regularizer is left out, tfjs-layers has none.`);
  return undefined;
});

export const activation: Kind = (value, at) => {
  const mapped = mapActivation(value, at.findings.writer.major);
  if ('name' in mapped) return mapped.name;
  at.findings.unknown(at.layer, at.className, `${at.name}: ${mapped.reason}`);
  return at.findings.allowCustom ? value : undefined;
};

export const dtype = orDefault((value, at) => {
  const mapped = mapDtype(value);
  if (mapped === undefined) return refuse(value, at, 'tfjs has float32, int32, bool and string');
  if (mapped.note) at.findings.note(mapped.note);
  return mapped.dtype;
});

/** Right only in models that tfjs-layers wrote. */
export const tfjsOnly =
  (kind: Kind, why: string): Kind =>
  (value, at) =>
    at.findings.writer.tfjs ? kind(value, at) : refuse(value, at, why);

/** The layer, or cell, within a wrapper. */
export const inner: Kind = (value, at) => at.mapInner(value, at);

export const inners: Kind = (value, at) => (list(value, at) as unknown[])?.map((item) => at.mapInner(item, at));

/** Bilinear UpSampling2D had tfjs' pixel centres in Keras up to 2.2 (not in tf.keras, whose versions end in '-tf'). */
export const interpolation: Kind = (value, at) => {
  const { version, tfjs, major } = at.findings.writer;
  if (value === 'bilinear' && !tfjs && (major === 3 || !/^2\.[0-2]\.\d+$/.test(version ?? ''))) {
    return refuse(value, at, 'tfjs-layers places the pixel centres differently; it takes nearest');
  }
  return oneOf('nearest', 'bilinear')(value, at);
};

/** Keras 3 sets it in every Bidirectional, where without masks it changes nothing. */
export const zeroOutputForMask: Kind = (value, at) => {
  if (value === true) {
    at.findings.unsupportedIfMasked(
      at.layer,
      at.className,
      'zero_output_for_mask = true, tfjs-layers repeats the output',
    );
  }
  return undefined;
};

/** tfjs-layers does not read it; model.ts puts a Reshape behind the layer. */
export const keepDims: Kind = (value, at) => (flag(value, at) === true ? true : undefined);

export const maskZero: Kind = (value, at) => {
  if (value === true) at.findings.masked = true;
  return flag(value, at);
};
