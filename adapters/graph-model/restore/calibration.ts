/** The pictures on which statistics are taken: the user's, or noise. */
import { clone, dispose, mul, slice, sum, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel, Shape } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../../src/errors';
import type { BatchSource } from '../../../src/fine-tune/data';
import { paint } from './noise';

/** One tensor for each input of the model: [batch, height, width, channels], in the model's input range. */
export type CalibrationBatch = Tensor | Tensor[];

/**
 * Pictures to take statistics from: one batch, several, or a set such as `loadPictureFolder(…).train` (its batches are
 * disposed, as its contract wants; all other tensors stay the caller's).
 */
export type CalibrationData =
  | Tensor
  | Iterable<CalibrationBatch>
  | AsyncIterable<CalibrationBatch>
  | Pick<BatchSource, 'batches'>;

/** Pictures that run at a time: a larger batch is cut, so that memory does not depend on it. */
const AT_ONCE = 8;

/**
 * At most so many pictures, in small batches, each checked. Whoever takes them disposes them.
 * @throws TuneModeError `invalid-data`.
 */
export async function* calibrationBatches(
  model: LayersModel,
  data: CalibrationData,
  pictures: number,
): AsyncGenerator<Tensor[], void, undefined> {
  let left = pictures;
  for await (const { given, own } of batchesOf(data)) {
    const inputs = Array.isArray(given) ? given : [given];
    try {
      checkBatch(model, inputs);
      const count = Math.min(left, inputs[0].shape[0]);
      for (let from = 0; from < count; from += AT_ONCE) {
        const part = inputs.map((input) => rows(input, from, Math.min(AT_ONCE, count - from)));
        try {
          await checkFinite(part);
        } catch (error) {
          dispose(part);
          throw error;
        }
        yield part;
      }
      left -= count;
    } finally {
      if (own) dispose(inputs);
    }
    if (left === 0) return;
  }
  if (left === pictures) {
    throw refuse('there are no pictures in it. Pass some, or leave it out for a calibration without data.');
  }
}

const refuse = (what: string) => new TuneModeError('invalid-data', `restoreBatchNorm: calibration data: ${what}`);

/** @returns Batches, and whether they are to be disposed. */
async function* batchesOf(data: CalibrationData): AsyncGenerator<{ given: CalibrationBatch; own: boolean }> {
  const found = data as Partial<BatchSource & AsyncIterable<unknown> & Iterable<unknown> & Tensor> | null;
  if (isTensor(found)) yield { given: found, own: false };
  else if (typeof found?.batches === 'function') {
    // Shuffled: a folder's pictures come class by class otherwise. The order of epoch 0 is the same in every run.
    for await (const { xs, ys } of found.batches({ epoch: 0, shuffle: true, augment: false })) {
      dispose(ys);
      yield { given: xs, own: true };
    }
  } else if (
    typeof found === 'object' &&
    found !== null &&
    (Symbol.asyncIterator in found || Symbol.iterator in found)
  ) {
    for await (const given of data as AsyncIterable<CalibrationBatch>) yield { given, own: false };
  } else {
    throw refuse(
      `expected a tensor [batch, height, width, channels], an iterable of such tensors, or a data set with 'batches'; found ${found === null ? 'null' : typeof found}.`,
    );
  }
}

const isTensor = (value: unknown): value is Tensor =>
  typeof (value as Tensor | null)?.dataSync === 'function' && Array.isArray((value as Tensor).shape);

const described = (shape: Shape) => `[${shape.map((size, axis) => size ?? (axis === 0 ? 'batch' : 'any')).join(', ')}]`;

function checkBatch(model: LayersModel, inputs: unknown[]): asserts inputs is Tensor[] {
  if (inputs.length !== model.inputs.length) {
    throw refuse(`the model has ${model.inputs.length} inputs, a batch has ${inputs.length} tensors.`);
  }
  inputs.forEach((input, i) => {
    const expected = model.inputs[i].shape;
    if (!isTensor(input)) throw refuse(`expected tensors ${described(expected)}; found ${typeof input}.`);
    if (input.isDisposed) throw refuse('a tensor of it has been disposed.');
    const fits =
      input.shape.length === expected.length &&
      input.shape[0] > 0 &&
      input.shape[0] === (inputs[0] as Tensor).shape[0] &&
      expected.every((size, axis) => axis === 0 || size === null || size === input.shape[axis]);
    if (!fits) throw refuse(`the model takes ${described(expected)}; found a tensor ${described(input.shape)}.`);
  });
}

function rows(input: Tensor, from: number, count: number): Tensor {
  if (count === input.shape[0]) return clone(input);
  return slice(input, [from, ...input.shape.slice(1).map(() => 0)], [count, ...input.shape.slice(1)]);
}

async function checkFinite(inputs: Tensor[]): Promise<void> {
  for (const input of inputs) {
    // 0 · x is NaN exactly where x is NaN or infinite, and no backend lacks these ops.
    const total = tidy(() => sum(mul(input, 0)));
    const [value] = await total.data();
    total.dispose();
    if (Number.isNaN(value)) throw refuse('a picture has NaN or infinite values.');
  }
}

/** Of a side whose length the model leaves open. */
const OPEN_SIDE = 128;

/**
 * The data-free choice: pictures of noise (noise.ts), the same in every run.
 * @param range What black and white are.
 */
export async function* noiseBatches(
  model: LayersModel,
  pictures: number,
  range: readonly [number, number],
): AsyncGenerator<Tensor[], void, undefined> {
  for (let from = 0; from < pictures; from += AT_ONCE) {
    const count = Math.min(AT_ONCE, pictures - from);
    yield model.inputs.map(({ shape, dtype }, input) => {
      const size = shape.slice(1).map((side) => side ?? OPEN_SIDE);
      const length = size.reduce((a, b) => a * b, 1);
      const values = new Float32Array(count * length);
      for (let i = 0; i < count; i++) {
        paint(values.subarray(i * length, (i + 1) * length), size, `restore:${input}:${from + i}`, range);
      }
      return tensor(values, [count, ...size], dtype === 'int32' ? 'int32' : 'float32');
    });
  }
}
