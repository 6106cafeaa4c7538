/**
 * A folder that one process at a time works in.
 *
 * The holder is the lock file with the highest number. Nobody removes another's file to take it over: who finds the
 * holder dead makes the file with the next number, which only one can do. What is left is a window of a few system calls
 * in which a third process must both take over and end while two others look.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { isRunning } from '../adapters/node/processes';
import { TuneModeError } from '../src';

const NAME = /^lock\.(\d+)$/;

/** Tells the locks of this process from those of an earlier one that had the same id, as in a container started anew. */
const TOKEN = randomUUID();

interface Holder {
  pid: number;
  host: string;
  token: string;
}

/**
 * @param what names the thing that is locked, for messages.
 * @returns the releasing.
 * @throws TuneModeError `unsupported` where a process that runs holds it.
 */
export async function lockFolder(folder: string, what: string): Promise<() => Promise<void>> {
  for (;;) {
    const found = await holders(folder);
    const newest = found.at(-1);
    if (newest !== undefined) await refuseIfAlive(folder, newest, what);
    const name = `lock.${(newest ?? 0) + 1}`;
    if (!(await make(folder, name))) continue; // somebody was faster; look again
    await Promise.all(found.map((number) => fs.rm(path.join(folder, `lock.${number}`), { force: true })));
    const file = path.join(folder, name);
    return () => fs.rm(file, { force: true });
  }
}

async function holders(folder: string): Promise<number[]> {
  const numbers = (await fs.readdir(folder)).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  return numbers.sort((a, b) => a - b);
}

/** Makes the file with its whole content in one step. @returns whether it was this process that did. */
async function make(folder: string, name: string): Promise<boolean> {
  const holder: Holder = { pid: process.pid, host: os.hostname(), token: TOKEN };
  const beside = path.join(folder, `.${name}.${process.pid}`);
  await fs.writeFile(beside, JSON.stringify(holder));
  try {
    await fs.link(beside, path.join(folder, name));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    // Some file systems know no hard links; there an empty file may be seen for a moment, which counts as held.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
    return makeWithoutLinks(path.join(folder, name), holder);
  } finally {
    await fs.rm(beside, { force: true });
  }
}

async function makeWithoutLinks(file: string, holder: Holder): Promise<boolean> {
  try {
    await fs.writeFile(file, JSON.stringify(holder), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function refuseIfAlive(folder: string, number: number, what: string): Promise<void> {
  const file = path.join(folder, `lock.${number}`);
  const text = await fs.readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return; // released meanwhile
  let holder: Partial<Holder> = {};
  try {
    holder = JSON.parse(text) as Holder;
  } catch {
    // Being written, or damaged: held either way.
  }
  const { pid, host, token } = holder;
  const isHere = host === os.hostname();
  if (isHere && pid === process.pid && token !== TOKEN) return;
  if (isHere && pid !== undefined && !isRunning(pid)) return;
  const who = pid === undefined ? 'another process' : `process ${pid}${isHere ? '' : ` on '${host}'`}`;
  throw new TuneModeError(
    'unsupported',
    `${what} is being written by ${who}. Wait for it, or choose another --out; if no such process runs any more, delete '${file}'.`,
  );
}
