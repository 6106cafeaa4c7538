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
/** A result as `finetune` writes it, as far as it is recognised by. */
async function writeResult(place: string, label = 'a') {
  await write(place, 'report.html');
  const history = { version: '0', bestEpoch: 0, history: [], labels: [label] };
  await fs.writeFile(path.join(place, MARK), JSON.stringify(history));
}
const RESULT = [MARK, 'report.html'];

const deadPid = () => spawnSync(process.execPath, ['-e', '']).pid;

describe('RunFolder', () => {
  test('the result appears under its name only with commit, and nothing stays beside it', async () => {
    const folder = await RunFolder.open(out, anew);
    await writeResult(folder.result);
    await write(folder.checkpoint, 'model.json');
    expect(await filesBelow(out)).toEqual([]);
    await folder.commit();
    await folder.close();
    expect(await filesBelow(out)).toEqual(RESULT);
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
    await writeResult(`${out}.replaced`);
    await write(`${out}.unfinished`, 'result', MARK);
    await fs.writeFile(`${out}.unfinished/lock.1`, JSON.stringify({ pid: deadPid(), host: os.hostname() }));
    await expect(RunFolder.open(out, anew)).rejects.toThrow(/exists already/);
    expect(await filesBelow(out)).toEqual(RESULT);
    expect(await besides(out)).toEqual(['out']);
  });

  test('killed after them, the new result stays, and the old one goes', async () => {
    await writeResult(out, 'new');
    await writeResult(`${out}.replaced`, 'old');
    await expect(RunFolder.open(out, anew)).rejects.toThrow(/exists already/);
    expect(await fs.readFile(path.join(out, MARK), 'utf8')).toContain('new');
    expect(await besides(out)).toEqual(['out']);
  });

  test('a result that cannot be put in its place leaves the old one there', async () => {
    await writeResult(out);
    const folder = await RunFolder.open(out, { force: true, resume: false });
    await expect(folder.commit()).rejects.toMatchObject({ code: 'ENOENT' }); // there is no new one
    await folder.close();
    expect(await filesBelow(out)).toEqual(RESULT);
    expect(await besides(out)).toEqual(['out']);
  });

  // Whatever is not recognised as ours may be somebody's work.
  test.each<[what: string, make: () => Promise<unknown>, precious: string]>([
    ['a folder with a history.json of somebody else', () => write(out, MARK), `out/${MARK}`],
    [
      'a result with a file besides',
      async () => {
        await writeResult(out);
        await write(out, 'thesis.txt');
      },
      'out/thesis.txt',
    ],
    [
      'a result with a folder besides',
      async () => {
        await writeResult(out);
        await write(out, 'p/1.jpg');
      },
      'out/p/1.jpg',
    ],
    [
      'a result with notes in a model',
      async () => {
        await writeResult(out);
        await write(out, 'tuned/n.md');
      },
      'out/tuned/n.md',
    ],
    ['a folder named .unfinished', () => write(`${out}.unfinished`, 'thesis.txt'), 'out.unfinished/thesis.txt'],
    ['one with our names only', () => write(`${out}.unfinished`, 'result/x'), 'out.unfinished/result/x'],
    ['a folder named .replaced', () => write(`${out}.replaced`, 'thesis.txt'), 'out.replaced/thesis.txt'],
  ])('%s is never removed', async (_, make, precious) => {
    await make();
    const before = await filesBelow(work);
    expect(before).toContain(precious);
    for (const options of [anew, { force: true, resume: false }, { force: false, resume: true }]) {
      await expect(RunFolder.open(out, options)).rejects.toThrow(UsageError);
      expect(await filesBelow(work)).toEqual(before);
    }
  });

  test('what came into an old result while the new one was trained is not removed', async () => {
    await writeResult(out);
    const folder = await RunFolder.open(out, { force: true, resume: false });
    await writeResult(folder.result, 'new');
    await write(out, 'thesis.txt');
    await expect(folder.commit()).rejects.toThrow(/thesis\.txt/);
    await folder.close();
    expect(await filesBelow(out)).toContain('thesis.txt');
  });

  test('the current folder, and what contains it, are no places for a result', async () => {
    await fs.mkdir(out);
    const before = process.cwd();
    process.chdir(out);
    try {
      for (const place of ['.', '..', out]) {
        await expect(RunFolder.open(place, { force: true, resume: false })).rejects.toThrow(/current folder/);
      }
    } finally {
      process.chdir(before);
    }
    expect(await besides(out)).toEqual(['out']);
  });

  test('folders that were made on the way are taken back', async () => {
    const folder = await RunFolder.open(path.join(work, 'a', 'b', 'c'), anew);
    await folder.close();
    expect(await fs.readdir(work)).toEqual([]);
  });

  test('a run folder that somebody removed is no error at the end', async () => {
    const folder = await RunFolder.open(out, anew);
    await fs.rm(`${out}.unfinished`, { recursive: true });
    await folder.close();
    expect(await besides(out)).toEqual([]);
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

  test('a lock with the id of this process, left by an earlier one, is taken over', async () => {
    await fs.writeFile(holderFile(1), JSON.stringify({ pid: process.pid, host: os.hostname(), token: 'earlier' }));
    const release = await lockFolder(work, "'out'");
    await release();
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
  // A run that is stopped, and then one that ends.
  await (await RunFolder.open(out, anew)).close();
  expect((await fs.stat(out)).isDirectory()).toBe(true);
  const folder = await RunFolder.open(out, anew);
  await writeResult(folder.result);
  await folder.commit();
  await folder.close();
  expect((await fs.lstat(out)).isSymbolicLink()).toBe(true);
  expect(await filesBelow(path.join(work, 'disk'))).toEqual(RESULT);
});
