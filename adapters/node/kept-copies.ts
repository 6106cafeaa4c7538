/**
 * Decoding a phone's picture takes about a second, reading its decoded and shrunk copy a millisecond: copies of large
 * pictures are kept on disk between passes. Whatever goes wrong here (a full disk, a copy that vanished), the picture
 * is decoded again, to the same pixels.
 */
import { createHash, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { RgbPicture } from './decode';
import { isRunning } from './processes';

export interface Copies {
  /** Made when the first copy is written. */
  folder: string;
  /** How much each thread may write. */
  maxBytes: number;
}

/** Disk space that the copies of one picture folder may take; about 2500 phone pictures for an `imageSize` of 224. */
const MAX_BYTES = 2 * 2 ** 30;

/** In front of the pixels: width and height. */
const HEADER_BYTES = 8;

/** Followed by the process id, so that what a killed process left behind is known for what it is. */
const PREFIX = 'tfjs-tune-mode-pictures-';

/** Folders to be removed when the process ends. */
const folders = new Set<string>();
let removesAtExit = false;

/** Bytes that this thread has written, by folder. */
const written = new Map<string, number>();

/** A place for copies in the system's temporary folder; `removeCopies` or the end of the process removes it. */
export function reserveCopies(threads: number): Copies {
  if (!removesAtExit) {
    removesAtExit = true;
    removeOrphans();
    process.once('exit', () => [...folders].forEach(removeCopies));
  }
  const folder = path.join(os.tmpdir(), `${PREFIX}${process.pid}-${randomUUID()}`);
  folders.add(folder);
  return { folder, maxBytes: MAX_BYTES / threads };
}

export function removeCopies(folder: string): void {
  folders.delete(folder);
  written.delete(folder);
  ignoringErrors(() => fs.rmSync(folder, { recursive: true, force: true }));
}

/** Names the copy of a picture as it is now: a file that has changed since has another one. */
export function copyName(file: string, stats: { mtimeMs: number; size: number }): string {
  return createHash('sha1').update(`${file}\n${stats.mtimeMs}\n${stats.size}`).digest('hex');
}

/** @returns the copy, or undefined if there is none that is whole. */
export async function readCopy({ folder }: Copies, name: string): Promise<RgbPicture | undefined> {
  const bytes = await readFile(path.join(folder, name)).catch(() => undefined);
  if (bytes === undefined || bytes.length < HEADER_BYTES) return undefined;
  const [width, height] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4)];
  const data = bytes.subarray(HEADER_BYTES);
  return data.length === width * height * 3 ? { width, height, data } : undefined;
}

/** Writes a copy if there is room for it. */
export async function keepCopy({ folder, maxBytes }: Copies, name: string, picture: RgbPicture): Promise<void> {
  const { width, height } = picture;
  const bytes = new Uint8Array(HEADER_BYTES + width * height * 3);
  const total = (written.get(folder) ?? 0) + bytes.length;
  if (total > maxBytes) return;
  const header = new DataView(bytes.buffer);
  header.setUint32(0, width, true);
  header.setUint32(4, height, true);
  bytes.set(picture.data.subarray(0, width * height * 3), HEADER_BYTES);
  const place = path.join(folder, name);
  const part = `${place}.${randomUUID()}`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(part, bytes);
    await rename(part, place); // under its name it is whole
    written.set(folder, total);
  } catch {
    written.set(folder, maxBytes); // as good as full: not tried again for every picture
    ignoringErrors(() => fs.rmSync(part, { force: true }));
  }
}

/** Removes what processes left behind that were killed (Ctrl-C runs no exit handler). */
function removeOrphans(): void {
  ignoringErrors(() => {
    for (const name of fs.readdirSync(os.tmpdir())) {
      const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
      if (!Number.isNaN(pid) && !isRunning(pid)) removeCopies(path.join(os.tmpdir(), name));
    }
  });
}

function ignoringErrors(run: () => void): void {
  try {
    run();
  } catch {
    // Copies are a convenience: a file that cannot be removed is no reason to stop.
  }
}
