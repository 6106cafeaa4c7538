/** Node: downloads in a folder, models on disk, progress on a terminal. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileIO } from '../adapters/node/file-io';
import { modelJsonOf, toFilePath } from '../adapters/node/model-path';
import { isRunning } from '../adapters/node/processes';
import { EMPTY_LINE, progressText } from '../adapters/node/progress-bar';
import type { Store } from './cache';
import type { DownloadDisplay, Platform } from './platform';
import { tfjsSaveHandler } from './save-handler';

export const nodePlatform: Platform = {
  ownCopy: 'the path of a copy on this machine',
  openStore: (place) => folderStore(place === undefined ? defaultFolder() : path.resolve(place)),
  showProgress,
  urlOf: () => undefined,
  localModel(source) {
    const place = toFilePath(source);
    return {
      place,
      load: () => fileIO(place).load(),
      readBeside: async (name) => readText(path.join(path.dirname(await modelJsonOf(place)), name)),
    };
  },
  readText: (given) => readText(toFilePath(given)),
  target(given) {
    if (/^(?!file:)[a-z][a-z0-9+.-]+:\/\//i.test(given)) return { handler: tfjsSaveHandler(given) };
    const place = toFilePath(given);
    return {
      handler: fileIO(place),
      writeBeside: async (name, text) => writeWhole(path.join(path.dirname(await modelJsonOf(place)), name), text),
    };
  },
};

function defaultFolder(): string {
  const { TFJS_TUNE_MODE_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (TFJS_TUNE_MODE_CACHE) return path.resolve(TFJS_TUNE_MODE_CACHE);
  const usual = process.platform === 'darwin' ? ['Library', 'Caches'] : ['.cache'];
  const base = (process.platform === 'win32' ? LOCALAPPDATA : XDG_CACHE_HOME) || path.join(os.homedir(), ...usual);
  return path.join(base, 'tfjs-tune-mode');
}

/** What is being written; with the process id, so that what a killed process left behind is known for what it is. */
const PART = '.part-';

/** Each entry is a folder, and a model's entry a folder that tfjs can load. */
function folderStore(place: string): Store {
  return {
    place,
    async get(key, name) {
      // A copy: a small file's Buffer is a part of a larger one.
      return new Uint8Array(await fs.readFile(path.join(place, key, name)));
    },
    async put(key, files) {
      await fs.mkdir(place, { recursive: true, mode: 0o700 });
      await removeOrphans(place).catch(() => undefined);
      const part = path.join(place, `${PART}${process.pid}-${randomUUID()}`);
      try {
        for (const [name, content] of files) {
          const file = path.join(part, name);
          await fs.mkdir(path.dirname(file), { recursive: true });
          await fs.writeFile(file, content);
        }
        await replaceFolder(part, path.join(place, key));
      } finally {
        await fs.rm(part, { recursive: true, force: true });
      }
    },
  };
}

/** Puts a folder in another's place. Where two processes do so at once, one of the new ones stays. */
async function replaceFolder(from: string, to: string): Promise<void> {
  // A folder that is not empty cannot be renamed over: the old one goes out of the way first.
  const old = `${from}-old`;
  await fs.rename(to, old).catch(() => undefined);
  try {
    await fs.rename(from, to);
  } catch (error) {
    // ENOTEMPTY, EEXIST or (Windows) EPERM: another process has just put its own there.
    if (!(await fs.stat(to).catch(() => undefined))?.isDirectory()) throw error;
  } finally {
    await fs.rm(old, { recursive: true, force: true });
  }
}

async function removeOrphans(place: string): Promise<void> {
  for (const name of await fs.readdir(place)) {
    const pid = name.startsWith(PART) ? Number.parseInt(name.slice(PART.length), 10) : Number.NaN;
    if (Number.isNaN(pid) || isRunning(pid)) continue;
    await fs.rm(path.join(place, name), { recursive: true, force: true });
  }
}

async function readText(file: string): Promise<string | undefined> {
  return fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
}

/** The file is the old one or the new one, whatever happens. */
async function writeWhole(file: string, text: string): Promise<void> {
  const part = `${file}.${randomUUID()}.tmp`;
  try {
    await fs.writeFile(part, text, { flush: true });
    await fs.rename(part, file);
  } finally {
    await fs.rm(part, { force: true });
  }
}

function showProgress(url: string): DownloadDisplay | undefined {
  const { stderr } = process;
  if (!stderr.isTTY) return undefined;
  const name = new URL(url).pathname.split('/').slice(-2).join('/');
  return {
    show(fraction) {
      const percent = `${Math.floor(100 * fraction)} %`.padStart(5);
      stderr.write(`${EMPTY_LINE}${progressText(`downloading ${name}`, fraction, percent, stderr.columns ?? 80)}`);
    },
    end: () => void stderr.write(EMPTY_LINE),
  };
}
