/** Debian's h5py: what Keras reads and writes with. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const PYTHONS = ['python3', '/usr/bin/python3'];

function findPython(): string | undefined {
  return PYTHONS.find((python) => {
    try {
      execFileSync(python, ['-c', 'import h5py, numpy'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

const python = findPython();

/** Tests that need h5py: skipped where it is missing, except where nobody would see that. */
export function describeWithH5py(name: string, tests: () => void): void {
  if (python !== undefined) describe(name, tests);
  else if (process.env.CI) {
    test(`${name}: h5py`, () => {
      throw new Error("h5py is missing; CI needs it: 'apt-get install python3-h5py'.");
    });
  } else describe.skip(`${name} (skipped: no python3 with h5py here; apt-get install python3-h5py)`, tests);
}

export function runPython(script: string, ...args: string[]): string {
  return execFileSync(python!, [path.join(__dirname, script), ...args], { maxBuffer: 1 << 30 }).toString();
}

/** A folder for a test file's files. */
export function makeFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'h5-test-'));
}

/** The folders that `openKeras` leaves while it has a file open. */
export function temporaryFolders(): string[] {
  return fs.readdirSync(os.tmpdir()).filter((name) => name.startsWith('tfjs-tune-mode-'));
}
