/** A convolutional net for pictures of another size. */
import { type LayersModel, models, type Shape } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';

type Json = { [key: string]: unknown };

/**
 * The model itself if its input takes the shape, else a copy with the same weights whose input has it: what is
 * convolutional does not depend on the size.
 * @param shape [height, width, channels].
 * @throws TuneModeError `unsupported` where the size is a part of the net: other channels, or a Dense on all positions.
 */
export async function withInputShape(model: LayersModel, shape: readonly number[]): Promise<LayersModel> {
  const found = model.inputs[0].shape.slice(1);
  if (found.length === shape.length && found.every((size, axis) => size === null || size === shape[axis])) return model;
  const described = (sides: Shape | readonly (number | null)[]) => sides.map((side) => side ?? 'any').join(' × ');
  const refuse = (why: string, cause?: unknown) =>
    new TuneModeError(
      'unsupported',
      `The model '${model.name}' takes ${described(found)}, the pictures are ${described(shape)}: ${why}`,
      { cause },
    );
  if (found.length !== 3) throw refuse('it does not take pictures [height, width, channels].');
  if (found[2] !== shape[2]) throw refuse(`load them with ${found[2]} channel(s), as the model was trained.`);

  const topology = JSON.parse(JSON.stringify(model.toJSON(null, false))) as Json;
  replaceInputShape(topology, found as number[], shape);
  let copy: LayersModel;
  try {
    copy = await models.modelFromJSON({ modelTopology: topology } as never);
  } catch (error) {
    throw refuse(`it cannot be built for another size (${(error as Error).message}).`, error);
  }
  const shapes = (weights: { shape: Shape }[]) => JSON.stringify(weights.map((weight) => weight.shape).sort());
  if (shapes(copy.weights) !== shapes(model.weights)) {
    copy.dispose();
    throw refuse('the shapes of its weights depend on the size; use its own size.');
  }
  // By name: the order of a model's weights depends on which of them train (tfjs-layers 4.22.0).
  const values = model.getWeights();
  const left = model.weights.map(({ originalName }, index) => ({ originalName, value: values[index] }));
  copy.setWeights(
    copy.weights.map(
      ({ originalName }) =>
        left.splice(
          left.findIndex((each) => each.originalName === originalName),
          1,
        )[0].value,
    ),
  );
  return copy;
}

/** In the model and the ones nested in it, wherever an input has the old shape. */
function replaceInputShape(value: unknown, from: readonly number[], to: readonly number[]): void {
  if (value === null || typeof value !== 'object') return;
  for (const [key, inner] of Object.entries(value as Json)) {
    const isInput = key === 'batch_input_shape' && Array.isArray(inner);
    if (isInput && from.every((size, axis) => inner[axis + 1] === size)) (value as Json)[key] = [null, ...to];
    else replaceInputShape(inner, from, to);
  }
}
