/** What stands at --out, whenever a run dies, and who may write there. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { UsageError } from '../../cli/command';
import { lockFolder } from '../../cli/lock';
import { MARK, RunFolder } from '../../cli/run-folder';
import { besides, filesBelow } from './process';

let work: string;
let out: string;
beforeEach(async () => {
  work = await fs.mkdtemp(path.join(os.tmpdir(), 'run-folder-'));
  out = path.join(work, 'out');
});
afterEach(() => fs.rm(work, { recursive: true, force: true }));

const anew = { force: false, resume: false };
const write = async (...file: string[]) => {
  const place = path.join(...file);
  await fs.mkdir(path.dirname(place), { recursive: true });
  await fs.writeFile(place, path.basename(place));
};

/** A process that is over for certain. */
const deadPid = () => spawnSync(process.execPath, ['-e', '']).pid;

describe('RunFolder', () => {
  test('the result appears under its name only with commit, and nothing stays beside it', async () => {
    const folder = await RunFolder.open(out, anew);
    await write(folder.result, MARK);
    await write(folder.checkpoint, 'model.json');
    expect(await filesBelow(out)).toEqual([]);
    await folder.commit();
    await folder.close();
    expect(await filesBelow(out)).toEqual([MARK]);
    expect(await besides(out)).toEqual(['out']);
  });

  test('without a checkpoint, closing leaves nothing; with one it is kept', async () => {
    const first = await RunFolder.open(out, anew);
    await write(first.result, 'half');
    await first.writeSettings({ a: 1 });
    await first.close();
    expect(await besides(out)).toEqual([]);
    const second = await RunFolder.open(out, anew);
    await second.writeSettings({ a: 1 });
    await write(second.checkpoint, 'model.json');
    await write(second.result, 'half');
    await second.close();
    expect(await filesBelow(`${out}.unfinished`)).toEqual(['checkpoint/model.json', 'run.json']);
    const third = await RunFolder.open(out, { force: false, resume: true });
    expect(await third.readSettings()).toEqual({ a: 1 });
    await third.close();
    await expect(RunFolder.open(out, anew)).rejects.toThrow(UsageError);
    const forced = await RunFolder.open(out, { force: true, resume: false });
    expect(await forced.hasCheckpoint()).toBe(false);
    await forced.close();
  });

  test('killed between the two renames of a replacement, the old result comes back', async () => {
    await write(`${out}.replaced`, MARK);
    await write(`${out}.unfinished`, 'result', MARK);
    await expect(RunFolder.open(out, anew)).rejects.toThrow(/exists already/);
    expect(await filesBelow(out)).toEqual([MARK]);
    expect(await besides(out)).toEqual(['out']);
  });

  test('killed after them, the new result stays, and the old one goes', async () => {
    await write(out, MARK);
    await write(`${out}.replaced`, 'old', MARK);
    await expect(RunFolder.open(out, anew)).rejects.toThrow(/exists already/);
    expect(await filesBelow(out)).toEqual([MARK]);
    expect(await besides(out)).toEqual(['out']);
  });

  test('a result that cannot be put in its place leaves the old one there', async () => {
    await write(out, MARK);
    const folder = await RunFolder.open(out, { force: true, resume: false });
    await expect(folder.commit()).rejects.toMatchObject({ code: 'ENOENT' }); // there is no new one
    await folder.close();
    expect(await filesBelow(out)).toEqual([MARK]);
    expect(await besides(out)).toEqual(['out']);
  });

  test('an empty folder may be filled; any other is left alone', async () => {
    await fs.mkdir(out);
    const folder = await RunFolder.open(out, anew);
    await folder.close();
    await write(out, 'thesis.txt');
    for (const force of [false, true]) {
      await expect(RunFolder.open(out, { force, resume: false })).rejects.toThrow(UsageError);
    }
    expect(await filesBelow(out)).toEqual(['thesis.txt']);
    expect(await besides(out)).toEqual(['out']);
  });
});

describe('lockFolder', () => {
  const holderFile = (n: number) => path.join(work, `lock.${n}`);

  test('one holder at a time', async () => {
    const release = await lockFolder(work, "'out'");
    await expect(lockFolder(work, "'out'")).rejects.toMatchObject({
      message: expect.stringContaining(`'out' is being written by process ${process.pid}`),
    });
    await release();
    const again = await lockFolder(work, "'out'");
    await again();
    expect(await filesBelow(work)).toEqual([]);
  });

  test('what a dead process left is taken over, once', async () => {
    await fs.writeFile(holderFile(3), JSON.stringify({ pid: deadPid(), host: os.hostname() }));
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(work, "'out'")));
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await filesBelow(work)).toEqual(['lock.4']);
  });

  test.each<[string, string, RegExp]>([
    ['another machine', JSON.stringify({ pid: 1, host: 'elsewhere' }), /process 1 on 'elsewhere'/],
    ['a file that is being written', '', /another process/],
  ])('the lock of %s is respected, and the way out is told', async (_, text, who) => {
    await fs.writeFile(holderFile(1), text);
    const locking = lockFolder(work, "'out'");
    await expect(locking).rejects.toMatchObject({ code: 'unsupported', message: expect.stringMatching(who) });
    await expect(locking).rejects.toMatchObject({ message: expect.stringContaining(`delete '${holderFile(1)}'`) });
    expect(await filesBelow(work)).toEqual(['lock.1']);
  });
});

test('a link is followed: the folder that it points to is filled, and the link stays', async () => {
  await fs.mkdir(path.join(work, 'disk'));
  await fs.symlink(path.join(work, 'disk'), out);
  const folder = await RunFolder.open(out, anew);
  await write(folder.result, MARK);
  await folder.commit();
  await folder.close();
  expect((await fs.lstat(out)).isSymbolicLink()).toBe(true);
  expect(await filesBelow(path.join(work, 'disk'))).toEqual([MARK]);
});
