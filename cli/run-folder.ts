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

/** A file that every result of ours has: nothing else is ever replaced. */
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
    const place = await fs.realpath(out).catch(() => path.resolve(out));
    const work = `${place}.unfinished`;
    const release = await take(work, `'${out}'`);
    const folder = new RunFolder(place, work, release);
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
    const replaces = await exists(this.out);
    if (replaces) await fs.rename(this.out, this.replaced);
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
    await fs.rmdir(this.work).catch(() => undefined); // not empty: it is kept
  }

  /** Everything but the locks. */
  private async removeWork(): Promise<void> {
    for (const name of await fs.readdir(this.work)) {
      if (!/^\.?lock\./.test(name)) await fs.rm(path.join(this.work, name), { recursive: true, force: true });
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
    if (names.length === 0) {
      await fs.rmdir(this.out);
      return;
    }
    if (!force)
      throw new UsageError(`--out '${this.out}' exists already; name another folder, or replace it (--force)`);
    if (!names.includes(MARK)) {
      throw new UsageError(
        `--out '${this.out}' is no result of this command (it has no ${MARK}), so --force does not replace it; name another folder`,
      );
    }
  }
}

/** A run that ends removes the empty folder, perhaps just before the lock is made in it: once more then. */
async function take(work: string, what: string, attempts = 3): Promise<() => Promise<void>> {
  await fs.mkdir(work, { recursive: true });
  return lockFolder(work, what).catch((error: NodeJS.ErrnoException) => {
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
