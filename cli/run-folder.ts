/**
 * Where a run writes. The folder that the user named appears whole, or not at all:
 *
 *   <out>.unfinished/     while the run goes on, and after it was stopped
 *     lock.<n>            who is at it
 *     run.json            what a run that goes on must agree with
 *     checkpoint/         the newest one
 *     result/             renamed to <out> at the end
 *   <out>.replaced/       with --force: the old result, for the moment between the two renames
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { TuneModeError } from '../src';
import { UsageError } from './command';
import { lockFolder } from './lock';
import { notOfAResult, notOfARun, realPlace } from './our-files';

/** A file that every result of ours has. */
export const MARK = 'history.json';

export class RunFolder {
  readonly checkpoint: string;
  readonly result: string;
  private readonly runFile: string;
  private readonly replaced: string;

  private constructor(
    readonly out: string,
    private readonly work: string,
    private readonly release: () => Promise<void>,
    /** The first folder that was made on the way to `work`, if any. */
    private readonly made: string | undefined,
  ) {
    this.checkpoint = path.join(work, 'checkpoint');
    this.result = path.join(work, 'result');
    this.runFile = path.join(work, 'run.json');
    this.replaced = `${out}.replaced`;
  }

  /**
   * Takes the folder for this process.
   * @throws UsageError where something is there already that the options do not allow to touch; TuneModeError
   * `unsupported` where another run is at it.
   */
  static async open(out: string, { force, resume }: { force: boolean; resume: boolean }): Promise<RunFolder> {
    // Of a link the folder that it points to: a rename would replace the link itself.
    const place = realPlace(out);
    const work = `${place}.unfinished`;
    await refuseStrangers(work, await notOfARun(work));
    await refuseStrangers(`${place}.replaced`, await notOfAResult(`${place}.replaced`));
    const made = await fs.mkdir(work, { recursive: true });
    const release = await take(work, `'${out}'`);
    const folder = new RunFolder(place, work, release, made);
    try {
      await folder.putBack();
      await folder.checkOut(force);
      const isUnfinished = await folder.hasCheckpoint();
      if (isUnfinished && !resume && !force) {
        throw new UsageError(
          `there is an unfinished run for '${out}'; go on with it (--resume), or begin anew and lose it (--force)`,
        );
      }
      if (resume && !isUnfinished) throw new UsageError(`there is no unfinished run for '${out}' to go on with`);
      if (!resume) await folder.removeWork();
      await fs.rm(folder.result, { recursive: true, force: true });
      return folder;
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  async hasCheckpoint(): Promise<boolean> {
    return exists(path.join(this.checkpoint, 'model.json'));
  }

  /** What `writeSettings` wrote last, in this run or before it was stopped. */
  async readSettings<T>(): Promise<T | undefined> {
    const text = await fs.readFile(this.runFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      const problem = `'${this.runFile}' is damaged, so the run cannot be gone on with; begin anew with --force.`;
      throw new TuneModeError('invalid-data', problem, { cause: error });
    }
  }

  async writeSettings(settings: object): Promise<void> {
    const beside = `${this.runFile}.${randomUUID()}`;
    await fs.writeFile(beside, JSON.stringify(settings));
    await fs.rename(beside, this.runFile);
  }

  /** The result, written to `result`, becomes `out`. */
  async commit(): Promise<void> {
    await fs.rmdir(this.out).catch(() => undefined); // where it is empty
    const replaces = await exists(this.out);
    if (replaces) {
      // Once more: hours may have passed since it was looked at.
      await refuseStrangers(this.out, await notOfAResult(this.out));
      await fs.rename(this.out, this.replaced);
    }
    try {
      await fs.rename(this.result, this.out);
    } catch (error) {
      if (replaces) await fs.rename(this.replaced, this.out);
      throw error;
    }
    await fs.rm(path.join(this.work, 'checkpoint'), { recursive: true, force: true });
    await fs.rm(this.replaced, { recursive: true, force: true });
  }

  /** Lets go of the folder; what cannot be gone on with is removed. */
  async close(): Promise<void> {
    await fs.rm(this.result, { recursive: true, force: true });
    if (!(await this.hasCheckpoint())) await this.removeWork();
    await this.release();
    // What is not empty is kept.
    const { made } = this;
    for (let empty = this.work; ; empty = path.dirname(empty)) {
      const removed = await fs.rmdir(empty).then(
        () => true,
        () => false,
      );
      if (!removed || made === undefined || empty === made) return;
    }
  }

  /** What a run writes, but for the locks; anything else in there is not ours. */
  private async removeWork(): Promise<void> {
    const names = await fs.readdir(this.work).catch(() => []); // somebody has removed it
    for (const name of names) {
      if (/^(checkpoint|result|run\.json.*)$/.test(name)) {
        await fs.rm(path.join(this.work, name), { recursive: true, force: true });
      }
    }
  }

  /** A run that was killed between the two renames of `commit` left the old result under another name. */
  private async putBack(): Promise<void> {
    if (!(await exists(this.replaced))) return;
    if (await exists(this.out)) await fs.rm(this.replaced, { recursive: true, force: true });
    else await fs.rename(this.replaced, this.out);
  }

  private async checkOut(force: boolean): Promise<void> {
    const names = await fs.readdir(this.out).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      if (error.code === 'ENOTDIR') throw new UsageError(`--out '${this.out}' is a file; name a new folder`);
      throw error;
    });
    if (names === undefined) return;
    // It will be replaced by a rename, and a shell, or this process, would stand in a folder that is gone.
    if (`${realPlace('.')}${path.sep}`.startsWith(`${this.out}${path.sep}`)) {
      throw new UsageError(`--out '${this.out}' is the current folder, or contains it; name a new folder`);
    }
    if (names.length === 0) return;
    if (!force) {
      throw new UsageError(`--out '${this.out}' exists already; name another folder, or replace it (--force)`);
    }
    await refuseStrangers(this.out, await notOfAResult(this.out));
  }
}

/** @throws UsageError where a folder that would be removed has something that this command did not write. */
async function refuseStrangers(folder: string, strangers: string[]): Promise<void> {
  if (strangers.length === 0) return;
  const named = strangers
    .slice(0, 3)
    .map((name) => `'${name}'`)
    .join(', ');
  throw new UsageError(
    `'${folder}' is no result of this command (${named}${strangers.length > 3 ? ' …' : ''} is not its own), so --force does not replace it; name another --out`,
  );
}

/** A run that ends removes the empty folder, perhaps just before the lock is made in it: once more then. */
async function take(work: string, what: string, attempts = 3): Promise<() => Promise<void>> {
  await fs.mkdir(work, { recursive: true });
  return lockFolder(work, what).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' || attempts === 1) throw error;
    return take(work, what, attempts - 1);
  });
}

async function exists(place: string): Promise<boolean> {
  return fs.access(place).then(
    () => true,
    () => false,
  );
}

/**
 * @throws TuneModeError `invalid-data` saying what differs between the run that was stopped and the one that goes on.
 */
export function checkSameRun(before: Record<string, unknown>, now: Record<string, unknown>): void {
  const differing = Object.keys(now).filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]));
  if (differing.length === 0) return;
  const list = differing.map(
    (name) => `${name} (${JSON.stringify(before[name])} then, ${JSON.stringify(now[name])} now)`,
  );
  throw new TuneModeError(
    'invalid-data',
    `The run cannot be gone on with, as it began with other settings: ${list.join(', ')}. Use the same ones, or begin anew with --force.`,
  );
}
