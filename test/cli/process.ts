/** The command as a process of its own, as it is built, and what its tests work on. */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';

export const root = path.join(__dirname, '..', '..');
export const shippedModel = path.join(root, 'examples', 'assets', 'shapes-model');
const cli = path.join(root, 'dist', 'cli.js');

export interface Ended {
  /** null where a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

export interface Running {
  child: ChildProcess;
  ended: Promise<Ended>;
  /** Waits until stderr or stdout shows something; fails if the process ends without it. */
  shows(text: string | RegExp): Promise<void>;
}

/** @param prefix what a shell does first, such as `ulimit -f 100`. */
export function start(argv: readonly string[], { prefix }: { prefix?: string } = {}): Running {
  const command = [process.execPath, cli, ...argv];
  const child = prefix
    ? spawn('bash', ['-c', `${prefix}; exec "$@"`, 'bash', ...command])
    : spawn(command[0], command.slice(1));
  const texts = { out: '', err: '' };
  const waiting = new Set<() => void>();
  const take = (which: 'out' | 'err') => (chunk: Buffer) => {
    texts[which] += chunk;
    for (const check of waiting) check();
  };
  child.stdout?.on('data', take('out'));
  child.stderr?.on('data', take('err'));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...texts }));
  });
  const shows = (text: string | RegExp) =>
    new Promise<void>((resolve, reject) => {
      const check = () => {
        const all = texts.err + texts.out;
        if (typeof text === 'string' ? !all.includes(text) : !text.test(all)) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      void ended.then(() => reject(new Error(`ended without ${text}:\n${texts.err}${texts.out}`)));
      check();
    });
  return { child, ended, shows };
}

export const run = (argv: readonly string[], options?: { prefix?: string }): Promise<Ended> =>
  start(argv, options).ended;

/** All files below a folder, relative, sorted; [] for a folder that does not exist. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).sort();
}

/** What stands beside a place under a name that begins like it. */
export async function besides(place: string): Promise<string[]> {
  const names = await fs.readdir(path.dirname(place)).catch(() => []);
  return names.filter((name) => name.startsWith(path.basename(place))).sort();
}

/** The epochs that `--json` printed, without what differs from run to run. */
export function epochsOf(out: string): object[] {
  return out
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const { seconds, picturesPerSecond, msPerStep, waiting, ...rest } = JSON.parse(line);
      return rest;
    });
}
