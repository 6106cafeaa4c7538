/** What pictures must be made into for a model: the options, else the model, else its metadata. */
import type { LoadedModel } from '../adapters/node/load-model';

export interface PictureForm {
  imageSize: [height: number, width: number];
  inputRange: [black: number, white: number];
  channels: 1 | 3;
}

/** Where a model leaves its input size open, and nothing else tells. */
const DEFAULT_SIZE: [number, number] = [224, 224];

export function pictureFormOf({ model, metadata }: LoadedModel, given: Partial<PictureForm>): PictureForm {
  const [, height, width, channels] = model.inputs[0]?.shape ?? [];
  const own: [number, number] | undefined = height && width ? [height, width] : undefined;
  return {
    imageSize: given.imageSize ?? own ?? metadata.imageSize ?? DEFAULT_SIZE,
    inputRange: given.inputRange ?? metadata.inputRange ?? [-1, 1],
    channels: channels === 1 ? 1 : 3,
  };
}
