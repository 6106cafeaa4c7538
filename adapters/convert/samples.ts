/** What two models are compared on: random inputs, and pictures of the user's. */
import { stack, type Tensor, tensor, util } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { seededRandom } from '../../src/random';
import { loadPicture } from '../node/pictures';
import { pictureFilesIn } from './picture-files';
import type { Runner, RunnerInput } from './runner';

/** A side of a picture where the model leaves it open: many nets halve it several times and need an even number each time. */
export const OPEN_PICTURE_SIZE = 256;
/** The same for time steps and the like. */
const OPEN_LENGTH = 16;
/** Random samples; more tell nothing more, as every weight takes part in each. */
const RANDOM = 2;
/** Values of one input; a shape that asks for more is not believed. */
const MOST_VALUES = 2 ** 26;

export interface SampleOptions {
  /** A folder of pictures. */
  pictures?: string;
  /** [height, width] for pictures, where the model leaves it open. */
  imageSize?: readonly [number, number];
  /** What black and white are. Default: what the model tells, or [-1, 1]. */
  inputRange?: readonly [number, number];
}

export interface Samples {
  random: number;
  pictures: number;
  /** The same batches each time; whoever takes them disposes them. */
  batches(): AsyncGenerator<{ kind: 'random' | 'pictures'; inputs: Tensor[] }>;
}

/** How many pictures two models are compared on, at most. */
const MOST_PICTURES = 64;

/** @throws TuneModeError `not-found`, `invalid-data`, `unsupported` where a model takes no pictures. */
export async function samplesFor(place: string, runner: Runner, options: SampleOptions): Promise<Samples> {
  const shapes = runner.inputs.map((input) => sampleShape(place, input, options));
  const files = options.pictures === undefined ? [] : await pictureFilesIn(options.pictures, MOST_PICTURES);
  const form = files.length > 0 ? pictureFormOf(place, runner, options) : undefined;
  return {
    random: RANDOM,
    pictures: files.length,
    async *batches() {
      const atOnce = runner.oneAtATime !== true && runner.inputs.every(({ shape }) => shape[0] === null) ? RANDOM : 1;
      for (let i = 0; i < RANDOM; i += atOnce) {
        const inputs = runner.inputs.map((input, index) => {
          const [first, ...rest] = shapes[index];
          return randomInput(input, [Math.max(first, atOnce), ...rest], `verify:${i}:${index}`);
        });
        yield { kind: 'random' as const, inputs };
      }
      if (form === undefined) return;
      for (const file of files) {
        const picture = await loadPicture(file, form);
        const one = stack([picture]);
        picture.dispose();
        const inputs = runner.inputs[0].dtype === 'int32' ? one.toInt() : one;
        if (inputs !== one) one.dispose();
        yield { kind: 'pictures' as const, inputs: [inputs] };
      }
    },
  };
}

const shapeText = (shape: RunnerInput['shape']) => `[${shape.map((size) => size ?? 'open').join(', ')}]`;

/** The shapes of all inputs, for messages. */
export const inputsText = ({ inputs }: Runner) => inputs.map(({ shape }) => shapeText(shape)).join(' and ');

function sampleShape(place: string, { name, shape }: RunnerInput, { imageSize }: SampleOptions): number[] {
  const isPicture = shape.length === 4;
  const sizes = shape.map((size, axis) => {
    if (size !== null) return size;
    if (axis === 0) return 1;
    if (isPicture && axis < 3) return imageSize?.[axis - 1] ?? OPEN_PICTURE_SIZE;
    return OPEN_LENGTH;
  });
  if (util.sizeFromShape(sizes) <= MOST_VALUES && sizes.every((size) => Number.isInteger(size) && size >= 0))
    return sizes;
  throw new TuneModeError(
    'invalid-model-file',
    `'${place}': the input '${name}' has the shape ${shapeText(shape)}, which is too large to be tried.`,
  );
}

function randomInput({ dtype, indices }: RunnerInput, shape: number[], key: string): Tensor {
  const random = seededRandom(key);
  const size = util.sizeFromShape(shape);
  if (dtype === 'float32' && indices === undefined) {
    const values = new Float32Array(size);
    for (let i = 0; i < size; i++) values[i] = 2 * random() - 1;
    return tensor(values, shape);
  }
  const values = new Int32Array(size);
  const levels = dtype === 'bool' ? 2 : (indices ?? 256);
  for (let i = 0; i < size; i++) values[i] = Math.floor(random() * levels);
  return tensor(dtype === 'float32' ? Float32Array.from(values) : values, shape, dtype as 'float32' | 'int32');
}

/** What pictures must be made into. @throws TuneModeError `unsupported` where a model takes none. */
export function pictureFormOf(place: string, runner: Runner, options: SampleOptions) {
  const { inputRange } = options;
  const shapes = runner.inputs.map((input) => sampleShape(place, input, options));
  const [shape] = shapes;
  const channels = shape?.[3];
  if (shapes.length !== 1 || shape.length !== 4 || (channels !== 1 && channels !== 3)) {
    throw new TuneModeError(
      'unsupported',
      `'${place}' takes ${inputsText(runner)}, no pictures ([batch, height, width, 1 or 3]). Leave 'pictures' out.`,
    );
  }
  const range =
    inputRange ?? runner.inputRange ?? (runner.inputs[0].dtype === 'int32' ? ([0, 255] as const) : undefined);
  return { imageSize: [shape[1], shape[2]] as const, channels: channels as 1 | 3, ...(range && { inputRange: range }) };
}
