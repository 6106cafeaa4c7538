import type { Dirent } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { TuneModeError } from '../../src/errors';
import { shuffled } from '../../src/random';

/** A picture's file and its class, as an index into the class names. */
export interface Picture {
  readonly file: string;
  readonly label: number;
}

/** The pictures of a folder, as names only: nothing is read yet. */
export interface PictureFiles {
  classNames: string[];
  train: Picture[];
  val: Picture[];
}

const LAYOUT =
  "Expected 'folder/<class>/*.jpg' (or .jpeg, .png) with at least two classes, " +
  "or 'folder/train/<class>/…' and 'folder/val/<class>/…'.";

/**
 * Finds the pictures below a folder and parts them into train and validation.
 *
 * Class names are the folders' names in code-unit order, the same on every machine. Files that are no pictures by
 * their extension, and files and folders that begin with a dot, are ignored. Links are followed.
 * Where there are `train` and `val` folders they are the split, and anything beside them is ignored; otherwise every
 * class is split on its own (stratified), so that adding a class leaves the split of the others as it was.
 *
 * @param validationSplit share of each class, rounded, but at least one picture and never all of them.
 * @param wantedNames the classes in the order of the labels; there must be exactly these.
 * @throws TuneModeError `not-found`, `invalid-data`.
 */
export async function findPictures(
  folder: string,
  validationSplit: number,
  seed: number,
  wantedNames?: readonly string[],
): Promise<PictureFiles> {
  const root = path.resolve(folder);
  const folders = await subfolders(root);
  if (folders.includes('train') && folders.includes('val')) return findGivenSplit(root, wantedNames);

  const classNames = inWantedOrder(folders, wantedNames, root);
  const classes = await findClasses(root, classNames);
  const train: Picture[] = [];
  const val: Picture[] = [];
  [...classes.values()].forEach((files, label) => {
    const order = shuffled(files, `${seed}:split:${classNames[label]}`);
    const wanted = validationSplit === 0 ? 0 : Math.max(1, Math.round(files.length * validationSplit));
    const count = Math.min(wanted, files.length - 1);
    val.push(...order.slice(0, count).map((file) => ({ file, label })));
    train.push(...order.slice(count).map((file) => ({ file, label })));
  });
  return { classNames, train: inFileOrder(train), val: inFileOrder(val) };
}

async function findGivenSplit(root: string, wantedNames?: readonly string[]): Promise<PictureFiles> {
  const trainRoot = path.join(root, 'train');
  const valRoot = path.join(root, 'val');
  const classNames = inWantedOrder(await subfolders(trainRoot), wantedNames, trainRoot);
  const trainClasses = await findClasses(trainRoot, classNames);
  // A small validation set may lack a class, but a class that is not trained can only be a mistake.
  const valClasses = await findClasses(valRoot, await subfolders(valRoot), 1);
  const unknown = [...valClasses.keys()].filter((name) => !classNames.includes(name));
  if (unknown.length > 0) {
    throw new TuneModeError(
      'invalid-data',
      `'${valRoot}' has ${quoted(unknown)}, which '${trainRoot}' does not have. Both must use the same class names.`,
    );
  }
  const label = (classes: Map<string, string[]>) =>
    [...classes].flatMap(([name, files]) => files.map((file) => ({ file, label: classNames.indexOf(name) })));
  return { classNames, train: label(trainClasses), val: label(valClasses) };
}

/** @throws TuneModeError `invalid-data` naming what is missing and what is too much. */
function inWantedOrder(found: string[], wanted: readonly string[] | undefined, root: string): string[] {
  if (wanted === undefined) return found;
  const missing = wanted.filter((name) => !found.includes(name));
  const unknown = found.filter((name) => !wanted.includes(name));
  if (missing.length === 0 && unknown.length === 0) return [...wanted];
  const problems = [
    ...(missing.length > 0 ? [`has no folder ${quoted(missing)}`] : []),
    ...(unknown.length > 0 ? [`has ${quoted(unknown)}, which is not among them`] : []),
  ];
  throw new TuneModeError(
    'invalid-data',
    `'${root}' ${problems.join(' and ')}. Expected exactly the folders of 'classNames': ${quoted([...wanted])}.`,
  );
}

/** Class name → its pictures, which are sorted. */
async function findClasses(root: string, names: string[], least = 2): Promise<Map<string, string[]>> {
  if (names.length < least) {
    const found = names.length === 0 ? 'no class folder' : `only one class folder, ${quoted(names)}`;
    throw new TuneModeError('invalid-data', `'${root}' has ${found}. ${LAYOUT}`);
  }
  const classes = new Map<string, string[]>();
  for (const name of names) classes.set(name, await picturesIn(path.join(root, name)));
  const empty = names.filter((name) => classes.get(name)?.length === 0);
  if (empty.length > 0) {
    throw new TuneModeError('invalid-data', `No pictures in ${quoted(empty)} of '${root}'. ${LAYOUT}`);
  }
  return classes;
}

async function subfolders(root: string): Promise<string[]> {
  return list(root, (entry) => entry.isDirectory() && entry.name !== '__MACOSX');
}

async function picturesIn(root: string): Promise<string[]> {
  const names = await list(root, (entry) => entry.isFile() && /\.(jpe?g|png)$/i.test(entry.name));
  return names.map((name) => path.join(root, name));
}

/** Sorted names of the entries that are wanted; links stand for what they point to. */
async function list(root: string, wanted: (entry: Pick<Dirent, 'name' | 'isFile' | 'isDirectory'>) => boolean) {
  const entries = await fs.readdir(root, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT')
      throw new TuneModeError('not-found', `There is no folder '${root}'.`, { cause: error });
    const problem = error.code === 'ENOTDIR' ? 'is a file, not a folder' : `cannot be read (${error.code})`;
    throw new TuneModeError('invalid-data', `'${root}' ${problem}. ${LAYOUT}`, { cause: error });
  });
  const names: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    if (!entry.isSymbolicLink()) {
      if (wanted(entry)) names.push(entry.name);
      continue;
    }
    const target = await fs.stat(path.join(root, entry.name)).catch(() => undefined); // undefined: a dangling link
    const { name } = entry;
    if (target && wanted({ name, isFile: () => target.isFile(), isDirectory: () => target.isDirectory() })) {
      names.push(name);
    }
  }
  return names.sort(byCodeUnits);
}

function inFileOrder(pictures: Picture[]): Picture[] {
  return pictures.sort((a, b) => a.label - b.label || byCodeUnits(a.file, b.file));
}

/** Not `localeCompare`, whose order depends on the machine. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function quoted(names: string[]): string {
  return names.map((name) => `'${name}'`).join(', ');
}
