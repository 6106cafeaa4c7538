/** `.keras` zips that are no good. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { type Zippable, zipSync } from 'fflate';
import { openKeras } from '../../../adapters/keras/files';
import { slowCrc32 } from '../../../adapters/keras/files/crc32';
import { TuneModeError } from '../../../src/errors';
import { numbersOf, v3Model } from './h5-models';
import { describeWithH5py, makeFolder, runPython, temporaryFolders } from './h5-python';

const folder = makeFolder();
let before: string[];
beforeAll(() => {
  before = temporaryFolders();
});
afterEach(() => expect(temporaryFolders()).toEqual(before));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const text = (value: string) => Buffer.from(value, 'utf8');
const place = (name: string, bytes: Uint8Array) => {
  fs.writeFileSync(path.join(folder, name), bytes);
  return path.join(folder, name);
};
const refusal = async (file: string): Promise<string> => {
  const error = await openKeras(file).then(
    async (opened) => {
      await opened.close();
      return new Error('opened');
    },
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(TuneModeError);
  expect(error.code).toBe('invalid-model-file');
  expect(error.message).toContain(path.basename(file));
  return error.message;
};
const zip = (name: string, entries: Zippable) => refusal(place(name, zipSync(entries)));
const good: Zippable = { 'config.json': text('{}'), 'metadata.json': text('{}') };

test('what is no .keras is said to be a zip', async () => {
  expect(await zip('word.zip', { 'word/document.xml': text('<a/>') })).toMatch(
    /it is a zip without the entry 'config.json'/,
  );
  expect(await zip('empty.zip', {})).toMatch(/without the entry 'config.json'/);
});

test('missing entries are named', async () => {
  expect(await zip('a.keras', good)).toMatch(/incomplete .keras file without the entry 'model.weights.h5'/);
  expect(await zip('b.keras', { 'model.weights.h5': text('x') })).toMatch(/without the entry 'config.json'/);
  expect(await zip('c.keras', { ...good, 'model.weights.npz': text('x') })).toMatch(/npz format/);
});

test('weights that are no HDF5, and JSON that is none', async () => {
  expect(await zip('d.keras', { ...good, 'model.weights.h5': text('x'.repeat(5000)) })).toMatch(/is no HDF5 file/);
  expect(await zip('e.keras', { ...good, 'config.json': text('{"a"'), 'model.weights.h5': text('x') })).toMatch(
    /its entry 'config.json' is not valid JSON \(line 1/,
  );
  expect(await zip('f.keras', { ...good, 'metadata.json': text(''), 'model.weights.h5': text('x') })).toMatch(
    /'metadata.json' is not valid JSON/,
  );
});

test('a zip bomb is refused before it is unpacked', async () => {
  const bomb = { ...good, 'model.weights.h5': new Uint8Array(80 * 1024 * 1024) };
  expect(await zip('bomb.keras', bomb)).toMatch(/unpacks \d+ bytes to 83886080, as no weights do/);
  const json = { 'config.json': new Uint8Array(33 * 1024 * 1024), 'model.weights.h5': text('x') };
  expect(await zip('json.keras', json)).toMatch(/'config.json' unpacks to 34603008 bytes, more than the 33554432/);
});

test('a bomb that lies about its size is stopped where the lie ends', async () => {
  const bytes = Buffer.from(zipSync({ ...good, 'model.weights.h5': new Uint8Array(2 * 1024 * 1024) }));
  setInDirectory(bytes, 'model.weights.h5', 24, 1000);
  expect(await refusal(place('lie.keras', bytes))).toMatch(/'model.weights.h5' cannot be unpacked/);
});

test('too many entries, and one twice', async () => {
  const many = Object.fromEntries(Array.from({ length: 1100 }, (_, i) => [`assets/${i}`, text('x')]));
  expect(await zip('many.keras', { ...many, ...good })).toMatch(/more than 1000 entries/);
  const bytes = Buffer.from(
    zipSync({ 'config.json': text('{}'), 'confog.json': text('[]'), 'model.weights.h5': text('x') }),
  );
  for (let at = bytes.indexOf('confog'); at >= 0; at = bytes.indexOf('confog')) bytes.write('config', at);
  expect(await refusal(place('twice.keras', bytes))).toMatch(/two entries 'config.json'/);
});

test('names never lead out of the folder', async () => {
  const evil = { ...good, 'model.weights.h5': text('x'), '../evil.txt': text('evil') };
  expect(await zip('evil.keras', evil)).toMatch(/invalid relative path/);
  expect(fs.existsSync(path.join(folder, '..', 'evil.txt'))).toBe(false);
});

test('encrypted entries and unknown methods are named', async () => {
  const bytes = () => Buffer.from(zipSync({ ...good, 'model.weights.h5': text('x') }));
  const locked = bytes();
  setInDirectory(locked, 'model.weights.h5', 8, 1, 2);
  expect(await refusal(place('locked.keras', locked))).toMatch(/its entry 'model.weights.h5' is encrypted/);
  const strange = bytes();
  setInDirectory(strange, 'model.weights.h5', 10, 93, 2);
  expect(await refusal(place('zstd.keras', strange))).toMatch(/compressed by method 93/);
});

test('check sums, with and without Node’s', () => {
  expect(slowCrc32(text('123456789'), 0)).toBe(0xcbf43926);
  expect(slowCrc32(text('56789'), slowCrc32(text('1234'), 0))).toBe(0xcbf43926);
});

describeWithH5py('a real .keras', () => {
  test('damaged anywhere: refused, or right', async () => {
    runPython('write_keras.py', folder);
    const whole = fs.readFileSync(path.join(folder, 'deflated.keras'));
    const stored = fs.readFileSync(path.join(folder, 'model.keras'));
    const model = v3Model();
    const tensors = tf.memory().numTensors;
    const outcome = { refused: 0, right: 0 };
    const attempt = async (name: string, bytes: Uint8Array) => {
      const file = place(name, bytes);
      try {
        const opened = await openKeras(file);
        try {
          expect(numbersOf(opened.match(model))).toEqual([0, 1, 2, 3, 6, 7, 8, 9, 4, 5]);
          outcome.right++;
        } finally {
          await opened.close();
        }
      } catch (error) {
        if (!(error instanceof TuneModeError)) throw error;
        outcome.refused++;
      }
      expect(temporaryFolders()).toEqual(before);
    };
    for (let i = 0; i < 12; i++) await attempt('cut.keras', whole.subarray(0, (whole.length * i) / 12));
    for (let i = 0; i < 40; i++) {
      const bytes = Buffer.from(i % 2 ? whole : stored);
      bytes[(i * 7919) % bytes.length] ^= 1 << (i % 8);
      await attempt('flip.keras', bytes);
    }
    expect(outcome.refused).toBeGreaterThan(30);
    expect(tf.memory().numTensors).toBe(tensors);
    model.dispose();
  });
});

/** Changes a number of an entry in the zip's directory, at the end of the file. */
function setInDirectory(bytes: Buffer, name: string, offset: number, value: number, size = 4): void {
  const at = bytes.lastIndexOf(name) - 46;
  expect(bytes.readUInt32LE(at)).toBe(0x02014b50);
  bytes.writeUIntLE(value, at + offset, size);
}
