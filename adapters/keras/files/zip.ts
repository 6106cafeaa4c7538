/** The three entries of a `.keras` file. */
import { createWriteStream, rmSync } from 'node:fs';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import yauzl from 'yauzl';
import { TuneModeError } from '../../../src/errors';
import { MOST_JSON_BYTES } from '../../json-limits';
import { crc32 } from './crc32';
import { BEST_RATIO } from './stored-weight';

export interface KerasZip {
  config: string;
  metadata: string | undefined;
  /** A temporary copy of the weights, in a folder of its own. */
  weights: string;
  folder: string;
}

const CONFIG = 'config.json';
const METADATA = 'metadata.json';
const WEIGHTS = 'model.weights.h5';

const MOST_ENTRIES = 1000;
const LARGEST_WEIGHTS = 8 * 1024 ** 3;
const SMALL = 64 * 1024 * 1024;

/**
 * Checks the zip and takes out what is needed. Names of entries are compared, never used.
 * @throws TuneModeError `invalid-model-file`; nothing is left behind then.
 */
export async function readKerasZip(file: string): Promise<KerasZip> {
  const zip = await yauzl.openPromise(file, { autoClose: false, lazyEntries: true }).catch((error) => {
    throw refused(file, `it is no readable zip (${(error as Error).message})`, error);
  });
  let folder: string | undefined;
  try {
    const entries = await listEntries(file, zip);
    const config = need(file, entries, CONFIG);
    const weights = need(file, entries, WEIGHTS);
    const metadata = entries.get(METADATA);
    checkSize(file, config, MOST_JSON_BYTES);
    if (metadata) checkSize(file, metadata, MOST_JSON_BYTES);
    checkSize(file, weights, LARGEST_WEIGHTS);
    const texts = {
      config: await text(file, zip, config),
      metadata: metadata ? await text(file, zip, metadata) : undefined,
    };
    folder = await fs.mkdtemp(path.join(os.tmpdir(), 'tfjs-tune-mode-'));
    removeAtExit(folder);
    const copy = path.join(folder, WEIGHTS);
    await read(file, zip, weights, createWriteStream(copy, { flags: 'wx', mode: 0o600 }));
    return { ...texts, weights: copy, folder };
  } catch (error) {
    if (folder !== undefined) await removeUnpacked(folder);
    if (error instanceof TuneModeError) throw error;
    throw refused(file, `its zip cannot be read (${(error as Error).message})`, error);
  } finally {
    zip.close();
  }
}

/** Folders of files that nobody has closed yet. */
const folders = new Set<string>();
let isWatched = false;

function removeAtExit(folder: string): void {
  folders.add(folder);
  if (isWatched) return;
  isWatched = true;
  process.once('exit', () => {
    for (const left of folders) {
      try {
        rmSync(left, { recursive: true, force: true });
      } catch {
        // Still open on Windows: the system's temporary folder is cleaned by others.
      }
    }
  });
}

/** Removes a folder that `readKerasZip` made. */
export async function removeUnpacked(folder: string): Promise<void> {
  await fs.rm(folder, { recursive: true, force: true });
  folders.delete(folder);
}

async function listEntries(file: string, zip: yauzl.ZipFile): Promise<Map<string, yauzl.Entry>> {
  const tooMany = () => refused(file, `it has more than ${MOST_ENTRIES} entries, a .keras file has three`);
  if (zip.entryCount > MOST_ENTRIES) throw tooMany();
  const entries = new Map<string, yauzl.Entry>();
  let count = 0;
  for await (const entry of zip.eachEntry()) {
    if (++count > MOST_ENTRIES) throw tooMany();
    if (entries.has(entry.fileName)) throw refused(file, `it has two entries '${entry.fileName}'`);
    entries.set(entry.fileName, entry);
  }
  return entries;
}

function need(file: string, entries: Map<string, yauzl.Entry>, name: string): yauzl.Entry {
  const entry = entries.get(name);
  if (entry === undefined) {
    if (name === WEIGHTS && entries.has(CONFIG) && [...entries.keys()].some((key) => /\.weights\.npz$/.test(key))) {
      throw refused(file, "it has its weights in the npz format; expected 'model.weights.h5'");
    }
    const what = [CONFIG, METADATA, WEIGHTS].some((known) => entries.has(known))
      ? 'an incomplete .keras file'
      : 'a zip';
    throw refused(file, `it is ${what} without the entry '${name}', which every .keras file has`);
  }
  if (entry.isEncrypted()) throw refused(file, `its entry '${name}' is encrypted, which no .keras file is`);
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
    throw refused(
      file,
      `its entry '${name}' is compressed by method ${entry.compressionMethod}; expected deflate or nothing`,
    );
  }
  return entry;
}

function checkSize(file: string, entry: yauzl.Entry, limit: number): void {
  const { fileName, uncompressedSize: size, compressedSize } = entry;
  if (size > limit) {
    throw refused(file, `its entry '${fileName}' unpacks to ${size} bytes, more than the ${limit} that are allowed`);
  }
  if (size > SMALL && size > BEST_RATIO * compressedSize) {
    throw refused(file, `its entry '${fileName}' unpacks ${compressedSize} bytes to ${size}, as no weights do`);
  }
}

async function text(file: string, zip: yauzl.ZipFile, entry: yauzl.Entry): Promise<string> {
  const chunks: Buffer[] = [];
  const keep = new Transform({
    transform(chunk, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  await read(file, zip, entry, keep.resume());
  return Buffer.concat(chunks).toString('utf8');
}

/** Unpacks one entry, checking what comes against what the directory says: yauzl checks lengths, not sums. */
async function read(file: string, zip: yauzl.ZipFile, entry: yauzl.Entry, to: NodeJS.WritableStream): Promise<void> {
  let sum = 0;
  let length = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      length += chunk.length;
      sum = crc32(chunk, sum);
      done(length > entry.uncompressedSize ? new Error('more bytes than declared') : null, chunk);
    },
  });
  let stream: Readable | undefined;
  try {
    stream = await zip.openReadStreamPromise(entry);
    await pipeline(stream, check, to);
  } catch (error) {
    stream?.destroy();
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC') {
      throw new TuneModeError('unsupported', `'${file}' cannot be unpacked: no space left in '${os.tmpdir()}'.`, {
        cause: error,
      });
    }
    throw refused(file, `its entry '${entry.fileName}' cannot be unpacked (${(error as Error).message})`, error);
  }
  if (length !== entry.uncompressedSize || sum !== entry.crc32) {
    throw refused(file, `its entry '${entry.fileName}' does not have the check sum that the zip gives`);
  }
}

function refused(file: string, what: string, cause?: unknown): TuneModeError {
  return new TuneModeError(
    'invalid-model-file',
    `'${file}': ${what}. The file is damaged, or no Keras model; copy it again, or save the model anew.`,
    { cause },
  );
}
