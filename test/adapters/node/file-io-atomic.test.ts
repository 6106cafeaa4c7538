import { spawn } from 'node:child_process';
import { once } from 'node:events';
import syncFs from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileIO } from '../../../adapters/node';
import { checkedValue, listing, madeUpModel } from './models';
import { temporaryFolder, writeFiles } from './temporary-folder';

const at = temporaryFolder();
const WEIGHTS = 1.25 * 2 ** 20; // 5 MiB: two shards

afterEach(() => {
  jest.restoreAllMocks();
});

/**
 * Makes the disk fail at its `failAt`-th operation (from 1), counting every call on `fs` and on open files.
 * @param dead whether everything after it fails too, as if the process had died there.
 * @returns how many operations there were, and which one failed.
 */
function breakDisk(failAt: number, dead: boolean) {
  const seen = { operations: 0, failed: '' };
  const full = (name: string) => {
    seen.operations++;
    if (seen.operations < failAt || (seen.operations > failAt && !dead)) return;
    seen.failed ||= name;
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${name}`), { code: 'ENOSPC', syscall: name });
  };
  type Operation = (...args: never[]) => Promise<unknown>;
  const wrap = (target: object, name: string) => {
    const real = (target as Record<string, Operation>)[name].bind(target);
    jest.spyOn(target as Record<string, Operation>, name).mockImplementation(async (...args) => {
      full(name);
      return real(...args);
    });
  };
  for (const name of ['mkdir', 'readdir', 'readFile', 'stat', 'rename', 'rm', 'rmdir', 'unlink']) wrap(fs, name);
  const open = fs.open;
  jest.spyOn(fs, 'open').mockImplementation(async (...args) => {
    full('open');
    const handle = await open(...args);
    for (const name of ['writeFile', 'sync']) wrap(handle, name);
    return handle;
  });
  return seen;
}

const temporaries = (folder: string) => listing(folder).filter((name) => name.endsWith('.tmp'));

/** Saves with a disk that breaks at the 1st, 2nd, 3rd … operation, until a save needs fewer. */
async function forEveryFault(
  dead: boolean,
  prepare: () => Promise<void>,
  check: (folder: string, saved: boolean, failed: string) => Promise<void>,
): Promise<number> {
  for (let failAt = 1; ; failAt++) {
    await fs.rm(at('m'), { recursive: true, force: true });
    await prepare();
    const seen = breakDisk(failAt, dead);
    const saved = await fileIO(at('m'))
      .save(madeUpModel(2, WEIGHTS))
      .then(
        () => true,
        (error: Error) => {
          expect(error.message).toMatch(/ENOSPC/);
          return false;
        },
      );
    jest.restoreAllMocks();
    await check(at('m'), saved, seen.failed);
    if (seen.operations < failAt) return failAt - 1;
    expect(failAt).toBeLessThan(100);
  }
}

describe('a disk that refuses one operation, whichever it is', () => {
  test('leaves the old model and nothing else, or the whole new one', async () => {
    let before: string[] = [];
    const failures = new Set<string>();
    const faults = await forEveryFault(
      false,
      async () => {
        await fileIO(at('m')).save(madeUpModel(1, WEIGHTS));
        before = listing(at('m'));
      },
      async (folder, saved, failed) => {
        expect(checkedValue(await fileIO(folder).load())).toBe(saved ? 2 : 1);
        if (!saved) {
          expect(listing(folder)).toEqual(before);
          failures.add(failed);
        }
        expect(temporaries(folder)).toEqual([]);
      },
    );
    expect(faults).toBeGreaterThan(15);
    expect([...failures].sort()).toEqual(expect.arrayContaining(['mkdir', 'open', 'rename', 'sync', 'writeFile']));
  });

  test('leaves no trace where there was no model', async () => {
    await forEveryFault(
      false,
      async () => {},
      async (folder, saved) => {
        if (saved) expect(checkedValue(await fileIO(folder).load())).toBe(2);
        else expect(listing(at())).toEqual([]);
      },
    );
  });
});

test('a process that dies at any operation leaves the whole old model or the whole new one', async () => {
  const found: number[] = [];
  await forEveryFault(
    true,
    async () => {
      await fileIO(at('m')).save(madeUpModel(1, WEIGHTS));
    },
    async (folder, saved) => {
      const value = checkedValue(await fileIO(folder).load());
      if (saved) expect(value).toBe(2);
      found.push(value);
      // And what is left lying about does not disturb the next save.
      await fileIO(folder).save(madeUpModel(3, WEIGHTS));
      expect(checkedValue(await fileIO(folder).load())).toBe(3);
    },
  );
  expect(found[0]).toBe(1);
  expect(found.at(-1)).toBe(2);
  expect([...found].sort()).toEqual(found); // one moment divides old from new: the commit
});

test('a process killed at random moments leaves a whole model', async () => {
  for (const delay of [3, 11, 17, 26, 45]) {
    const child = spawn(process.execPath, ['--import', 'tsx', path.join(__dirname, 'save-loop.ts'), at('m')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(checkedValue(await fileIO(at('m')).load())).toBeGreaterThan(0);
  }
  await fileIO(at('m')).save(madeUpModel(7));
  expect(checkedValue(await fileIO(at('m')).load())).toBe(7);
});

describe('after a save', () => {
  test('the old shards are gone and everything else is still there', async () => {
    writeFiles(at('m'), {
      'metadata.json': '{}',
      'notes.txt': 'mine',
      'group1-shard1of9.bin': 'mine too',
      'weights.bin': Buffer.alloc(40),
    });
    const old = {
      modelTopology: {},
      weightsManifest: [{ paths: ['weights.bin'], weights: [{ name: 'w', shape: [10], dtype: 'float32' }] }],
    };
    writeFiles(at('m'), { 'model.json': JSON.stringify(old) }); // as tfjs-node writes it
    await fileIO(at('m')).save(madeUpModel(1));
    const first = listing(at('m')).filter((name) => /\.[0-9a-f]{8}\.bin$/.test(name));
    expect(listing(at('m'))).toEqual(
      ['group1-shard1of9.bin', ...first, 'metadata.json', 'model.json', 'notes.txt'].sort(),
    );
    await fileIO(at('m')).save(madeUpModel(2));
    expect(listing(at('m'))).toHaveLength(5);
    expect(listing(at('m'))).not.toContain(first[0]);
  });

  test('nothing outside the folder is deleted, whatever the old model.json named', async () => {
    writeFiles(at(), {
      'precious.bin': 'x',
      'm/model.json': JSON.stringify({ weightsManifest: [{ paths: ['../precious.bin', at('precious.bin')] }] }),
    });
    await fileIO(at('m')).save(madeUpModel(1));
    expect(listing(at())).toEqual(['m', 'precious.bin']);
  });

  test('shards that another model of the folder uses are still there', async () => {
    await fileIO(at('m/a.json')).save(madeUpModel(1));
    await fileIO(at('m/b.json')).save(madeUpModel(1)); // the same weights: the same shard
    expect(listing(at('m'))).toHaveLength(3);
    await fileIO(at('m/a.json')).save(madeUpModel(2));
    expect(checkedValue(await fileIO(at('m/b.json')).load())).toBe(1);
    expect(checkedValue(await fileIO(at('m/a.json')).load())).toBe(2);
  });

  test('saving the same model again changes nothing but the date', async () => {
    await fileIO(at('m')).save(madeUpModel(1));
    const before = listing(at('m'));
    await fileIO(at('m')).save(madeUpModel(1));
    expect(listing(at('m'))).toEqual(before);
    expect(checkedValue(await fileIO(at('m')).load())).toBe(1);
  });

  test('a shard with the right name and the wrong bytes is not trusted', async () => {
    await fileIO(at('m')).save(madeUpModel(1));
    const shard = listing(at('m')).find((name) => name.endsWith('.bin'))!;
    syncFs.writeFileSync(at('m', shard), Buffer.alloc(40));
    await fileIO(at('m')).save(madeUpModel(1));
    expect(checkedValue(await fileIO(at('m')).load())).toBe(1);
  });

  test('temporary files of a killed save are cleared away later, fresh ones are left to their owner', async () => {
    writeFiles(at('m'), {
      '.tune-mode-0123-model.json.tmp': 'old',
      '.tune-mode-4567-model.json.tmp': 'fresh',
      '.other.tmp': 'mine',
    });
    const yesterday = new Date(Date.now() - 24 * 60 * 60 * 1000);
    syncFs.utimesSync(at('m/.tune-mode-0123-model.json.tmp'), yesterday, yesterday);
    syncFs.utimesSync(at('m/.other.tmp'), yesterday, yesterday);
    await fileIO(at('m')).save(madeUpModel(1));
    expect(temporaries(at('m'))).toEqual(['.other.tmp', '.tune-mode-4567-model.json.tmp']);
  });

  test('a failed save does not stop the next one in the queue', async () => {
    const bad = fileIO(at('m')).save({ ...madeUpModel(1), weightData: new ArrayBuffer(1) });
    const good = fileIO(at('m')).save(madeUpModel(2));
    await expect(bad).rejects.toThrow();
    await good;
    expect(checkedValue(await fileIO(at('m')).load())).toBe(2);
  });
});
