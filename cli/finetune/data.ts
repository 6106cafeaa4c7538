/** The pictures of a run: what can be said of them before any is read. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { PictureDataset, PictureFolder } from '../../adapters/node';
import type { LoadedModel } from '../../adapters/node/load-model';
import { TuneModeError } from '../../src';

/** Pictures of each class that can be read, as far as is known. */
export function countByClass({ pictures }: PictureDataset, { classNames, skipped }: PictureFolder): number[] {
  const unreadable = new Set(skipped.map(({ file }) => file));
  const counts = classNames.map(() => 0);
  for (const { file, label } of pictures) if (!unreadable.has(file)) counts[label]++;
  return counts;
}

/** @throws TuneModeError `invalid-data` for a class with a single picture: it cannot both train and validate. */
export function checkClasses(data: string, pictures: PictureFolder): void {
  const [train, val] = [pictures.train, pictures.val].map((set) => countByClass(set, pictures));
  const single = pictures.classNames.filter((_, label) => train[label] + val[label] === 1);
  if (single.length > 0) {
    throw new TuneModeError(
      'invalid-data',
      `'${data}' has only one picture of ${single.map((name) => `'${name}'`).join(', ')}. ` +
        'Every class needs at least two: one to train on and one to validate.',
    );
  }
}

/** What a run that goes on must have in common with the one that was stopped. Plain data. */
export async function fingerprintOf(
  { model }: LoadedModel,
  { train, val, classNames }: PictureFolder,
  rest: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  const weights = createHash('sha256').update(JSON.stringify(model.toJSON(null, false)));
  for (const weight of model.getWeights()) {
    const values = await weight.data();
    weights.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  // The last two parts of each path, so that the folder may be moved, or named in another way.
  const nameOf = (file: string) => file.split(path.sep).slice(-2).join('/');
  const names = [train, val].map((set) => set.pictures.map(({ file, label }) => `${label} ${nameOf(file)}`));
  const pictures = createHash('sha256').update(JSON.stringify([classNames, names]));
  const short = (hash: ReturnType<typeof createHash>) => hash.digest('hex').slice(0, 12);
  return { model: short(weights), pictures: short(pictures), ...rest };
}
