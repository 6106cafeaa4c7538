/** Which files this command writes: it never removes a folder that has others. */
import fs from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

const RESULT = [
  /^(history\.json|metadata\.json|report\.html|tuned|deploy|graph)$/,
  /^(tuned|deploy|graph)\/(model\.json|metadata\.json|group1-shard\d+of\d+\.[0-9a-f]+\.bin)$/,
  // Left by file managers, and nobody's work.
  /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini)$/,
];
const RUN = /^(\.?lock\.\d+(\.\d+)?|run\.json(\.[0-9a-f-]+)?|checkpoint|result)$/;

/** What is in a folder besides a result of ours; [] where it is one, or is not there, or is empty. */
export async function notOfAResult(folder: string): Promise<string[]> {
  const found = (await readdir(folder, { recursive: true }).catch(nothingThere)).map((name) =>
    name.split(path.sep).join('/'),
  );
  if (found.length === 0) return [];
  const strangers = found.filter((name) => !RESULT.some((ours) => ours.test(name)));
  if (strangers.length > 0) return strangers;
  return (await isOurHistory(path.join(folder, 'history.json'))) ? [] : ['history.json'];
}

/** Others write files of this name too. */
async function isOurHistory(file: string): Promise<boolean> {
  try {
    const { version, bestEpoch, history, labels } = JSON.parse(await readFile(file, 'utf8'));
    return (
      typeof version === 'string' && Number.isInteger(bestEpoch) && Array.isArray(history) && Array.isArray(labels)
    );
  } catch {
    return false;
  }
}

/** What is in `<out>.unfinished` besides what a run writes; all of it where nothing shows that it was a run. */
export async function notOfARun(folder: string): Promise<string[]> {
  const found = await readdir(folder).catch(nothingThere);
  const strangers = found.filter((name) => !RUN.test(name));
  if (strangers.length > 0) return strangers;
  return found.some((name) => /^(lock\.|run\.json)/.test(name)) ? [] : found;
}

/** ENOTDIR: a file stands there, which other checks name. */
function nothingThere(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
  throw error;
}

/** A path with all its links resolved, also where its end does not exist yet, or a link points to nothing. */
export function realPlace(place: string): string {
  const full = path.resolve(place);
  try {
    return fs.realpathSync(full);
  } catch {
    const parent = path.dirname(full);
    if (parent === full) return full;
    const link = ignoringErrors(() => fs.readlinkSync(full));
    if (link !== undefined) return realPlace(path.resolve(parent, link));
    return path.join(realPlace(parent), path.basename(full));
  }
}

/** Whether `inner` is `outer`, or lies below it. */
export function isWithin(inner: string, outer: string): boolean {
  const relative = path.relative(realPlace(outer), realPlace(inner));
  return relative === '' || !(relative.split(path.sep)[0] === '..' || path.isAbsolute(relative));
}

function ignoringErrors<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}
