/** wasm on several threads, each time in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { useBestBackend } from '../../../adapters/node';

const root = path.resolve(__dirname, '../../..');

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

/** `ended` only comes when nobody holds the output any more: an orphan would. */
function start(argv: string[]): { child: ChildProcess; ended: Promise<Ended>; firstLine: Promise<void> } {
  const child = spawn(process.execPath, argv, { cwd: root });
  let out = '';
  let err = '';
  let began = () => {};
  const firstLine = new Promise<void>((resolve) => {
    began = resolve;
  });
  child.stdout.on('data', (data) => {
    out += data;
    if (out.includes('\n')) began();
  });
  child.stderr.on('data', (data) => {
    err += data;
  });
  const ended = new Promise<Ended>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, out, err })),
  );
  return { child, ended, firstLine };
}

const run = (what: string, threads: number) =>
  start(['--import', 'tsx', path.join(__dirname, 'threads-process.ts'), what, String(threads)]);

async function resultOf(what: string, threads: number) {
  const { code, out, err } = await run(what, threads).ended;
  if (code !== 0) throw new Error(`${what} ended with ${code}: ${err}`);
  return JSON.parse(out);
}

describe('what is computed', () => {
  const KINDS = ['outputs', 'gradients', 'trained', 'grown'] as const;
  type Numbers = Record<(typeof KINDS)[number], string[]> & {
    choice: object;
    xnnpack: number;
    isShared: boolean;
    leaked: number;
    heaps: [number, number];
  };
  let one: Numbers;
  let two: Numbers;
  let four: Numbers;
  let twoAgain: Numbers;

  beforeAll(async () => {
    [one, two] = await Promise.all([1, 2].map((threads) => resultOf('numbers', threads)));
    [four, twoAgain] = await Promise.all([4, 2].map((threads) => resultOf('numbers', threads)));
  });

  const floats = (text: string) => {
    const bytes = Buffer.from(text, 'base64');
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  };

  test.each(['2', '4'])('is the same on %s threads as on one, to rounding', (which) => {
    const found = which === '2' ? two : four;
    for (const kind of KINDS) {
      expect(found[kind].length).toBe(one[kind].length);
      found[kind].forEach((text, i) => {
        const [wanted, values] = [floats(one[kind][i]), floats(text)];
        // The longest sums have 48 · 80² terms, kept in chunks of 2048 at most: √(chunks) + √2048 roundings, each of
        // half an ulp of a sum that is as large as the largest number here times a hundred, in four layers.
        const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const tolerance = largest * 100 * (Math.sqrt(150) + Math.sqrt(2048)) * 2 ** -24;
        expect(largest).toBeGreaterThan(0);
        const difference = values.reduce((most, value, k) => Math.max(most, Math.abs(value - wanted[k])), 0);
        expect(difference).toBeLessThanOrEqual(tolerance);
      });
    }
  });

  test('is bit-identical with as many threads', () => {
    for (const kind of KINDS) expect(twoAgain[kind].join() === two[kind].join()).toBe(true);
  });

  test('the heap has grown, and no tensor is left', () => {
    for (const { heaps, leaked } of [one, two, four]) {
      expect(heaps[1]).toBeGreaterThan(1.5 * heaps[0]);
      expect(leaked).toBe(0);
    }
  });

  test('on so many threads', () => {
    expect(one).toMatchObject({ choice: { threads: 1, why: 'Using wasm, as asked for.' }, isShared: false });
    expect(two).toMatchObject({ choice: { threads: 2 }, xnnpack: 2, isShared: true });
    expect(two.choice).toMatchObject({ why: expect.stringMatching(/^Using wasm on 2 threads.*, as asked for\.$/) });
    expect(four).toMatchObject({ choice: { threads: 4 }, xnnpack: 4, isShared: true });
  });
});

describe('the process', () => {
  test.each([1, 2, 4, 6])('with %i threads ends by itself, with globals as before', async (threads) => {
    const { first, ...rest } = await resultOf('end', threads);
    expect(first).toBeGreaterThan(0);
    expect(rest).toEqual({ threads, listeners: [0, 0], hasWorker: false });
  });

  test('ends by process.exit, and by an error with its own words', async () => {
    const [exited, threw] = await Promise.all(['exit', 'throw'].map((what) => run(what, 2).ended));
    expect(exited).toMatchObject({ code: 3, err: '' });
    expect(threw.code).toBe(1);
    expect(threw.err).toMatch(/Error: mine/);
    expect(threw.err.length).toBeLessThan(3000);
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('ends by %s while it computes', async (name) => {
    const { child, ended, firstLine } = run('compute', 3);
    await firstLine;
    await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill(name);
    expect(await ended).toMatchObject({ signal: name, err: '' });
  });

  test('takes no time while nothing is to be done', async () => {
    const { ms } = await resultOf('idle', 4);
    expect(ms).toBeLessThan(100);
  });

  test("goes on on one thread where tfjs's own threads were ended", async () => {
    expect(await resultOf('lost', 3)).toEqual({ ended: 2, same: true });
  });

  test('ends after the backend was removed', async () => {
    expect(await resultOf('dispose', 3)).toEqual({});
  });
});

describe('asked for', () => {
  test('twice at once, again, and then not any more: the same; another number is refused', async () => {
    const { found, why, code } = await resultOf('twice', 2);
    expect(found).toEqual([2, 2, 2, 2]);
    expect(why).toMatch(/^Using wasm on 2 threads/);
    expect(code).toBe('backend-unavailable');
  });

  test('when wasm runs already: refused, and wasm stays', async () => {
    const { code, message, backend, one } = await resultOf('late', 2);
    expect({ code, backend, one }).toEqual({ code: 'backend-unavailable', backend: 'wasm', one: 1 });
    expect(message).toBe(
      'The wasm backend runs already, on one thread, and cannot change to 2 threads. ' +
        'Call useBestBackend({ threads: 2 }) first, before anything is computed with tfjs.',
    );
  });

  test.each([
    ['tfjs-wasm:refused', /no threads here/],
    ['tfjs-wasm:ended', /a thread of it ended with code 7/],
    ['kernels:refused', /no threads here/],
    ['kernels:ended', /a thread ended with code 7/],
  ])('where threads cannot be had (%s): one, and why says so', async (how, reason) => {
    const { backend, threads, why, first, again } = await resultOf(`fail:${how}`, 2);
    expect({ backend, threads }).toEqual({ backend: 'wasm', threads: 1 });
    expect(why).toMatch(/^Using wasm on one thread \(2 cannot be started: .*\), as asked for\.$/);
    expect(why).toMatch(reason);
    expect(first).toBeGreaterThan(0);
    expect(again).toEqual({ backend, threads, why });
  });

  test.each<[object, RegExp]>([
    [{ threads: 0 }, /'threads' must be a whole number from 1 to 64; found 0/],
    [{ threads: 65 }, /found 65/],
    [{ threads: 1.5 }, /found 1.5/],
    [{ threads: Number.NaN }, /found NaN/],
    [{ threads: '2' }, /found "2"/],
    [{ threads: null }, /found null/],
    [{ threads: 2, backend: 'cpu' }, /for the backend 'wasm'; found 2 with 'cpu', which always computes on one thread/],
    [{ threads: 2, backend: 'tfjs-node' }, /with 'tfjs-node', which takes the cores that it wants by itself/],
  ])('%j is refused', async (options, message) => {
    const asked = useBestBackend(options);
    await expect(asked).rejects.toThrow(message);
    await expect(asked).rejects.toMatchObject({ name: 'TuneModeError', code: 'invalid-option' });
  });

  test('one thread of cpu is what it has', async () => {
    jest.spyOn(console, 'warn').mockImplementation(() => {}); // tfjs advises its native backend
    expect(await useBestBackend({ threads: 1, backend: 'cpu' })).toEqual({
      backend: 'cpu',
      why: 'Using cpu, as asked for.',
      threads: 1,
    });
  });
});

describe('the built package', () => {
  const body = `
    useBestBackend({ threads: 2 }).then(({ threads }) => {
      const x = tf.ones([16, 32, 32, 32]);
      const w = tf.ones([1, 1, 32, 32]);
      const y = tf.conv2d(x, w, 1, 'same').dataSync();
      console.log(threads, y.every((value) => value === 32), process.listenerCount('uncaughtException'));
    });`;

  test.each<[string, string]>([
    ['module', "import { useBestBackend } from './dist/node.js'; import * as tf from '@tensorflow/tfjs-core';"],
    ['commonjs', "const { useBestBackend } = require('./dist/node.cjs'); const tf = require('@tensorflow/tfjs-core');"],
  ])('%s', async (type, head) => {
    expect(fs.existsSync(path.join(root, 'dist/node.cjs'))).toBe(true); // npm run build
    const { out, err } = await start([`--input-type=${type}`, '-e', head + body]).ended;
    expect({ out, err }).toEqual({ out: '2 true 0\n', err: '' });
  });
});
