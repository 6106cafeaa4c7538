/** Pictures to fine-tune on, of a model that keeps its size. */
import { TuneModeError } from '../src/errors';
import type { FineTuneData } from '../src/fine-tune';

/**
 * Looks at the first pictures that come.
 * @throws TuneModeError `invalid-data` for pictures of another size.
 */
export async function checkPictures({ train }: FineTuneData, imageSize: number, channels: number): Promise<void> {
  const found = await shapeOf(train);
  const expected = [imageSize, imageSize, channels];
  // What is no data at all is fineTune's to refuse.
  if (found === undefined || String(found) === String(expected)) return;
  throw new TuneModeError(
    'invalid-data',
    `fineTune: the model takes pictures [${expected.join(', ')}]; found [${found.join(', ')}]. Load them in that size ` +
      `(loadPictureFolder: imageSize ${imageSize}).`,
  );
}

async function shapeOf(train: FineTuneData['train'] | undefined): Promise<number[] | undefined> {
  if (train === undefined || train === null) return undefined;
  if (!('batches' in train)) return train.xs?.shape.slice(1);
  for await (const { xs, ys } of train.batches({ epoch: 0, shuffle: false, augment: false })) {
    const shape = xs.shape.slice(1);
    xs.dispose();
    ys.dispose();
    return shape;
  }
  return undefined;
}
