/** `convert` stopped by a signal, as a process: nothing is left of it, and what was there stays. */
import fs from 'node:fs';
import path from 'node:path';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import { fileIO } from '../../adapters/node';
import { makeFolder } from '../adapters/keras/h5-python';
import { temporaryFolder } from '../adapters/node/temporary-folder';
import { useBackend } from '../helpers/backends';
import { describeShared } from '../helpers/shared';
import { type Running, start } from './process';

const at = temporaryFolder();
let slow: string;

beforeAll(async () => {
  await useBackend('cpu');
  slow = makeFolder();
  // On the cpu backend comparing it takes seconds, in which a signal comes.
  const conv = { filters: 48, kernelSize: 3, padding: 'same' as const };
  const net = sequential({
    layers: [layers.conv2d({ ...conv, inputShape: [64, 64, 3] }), layers.conv2d(conv), layers.conv2d(conv)],
  });
  await net.save(fileIO(slow));
});

afterAll(() => fs.rmSync(slow, { recursive: true, force: true }));

/** Waits until the work has begun beside the output. */
async function hasBegun({ ended }: Running, folder: string): Promise<void> {
  let isRunning = true;
  void ended.then(() => {
    isRunning = false;
  });
  while (!fs.readdirSync(folder).some((name) => name.endsWith('.partial'))) {
    if (!isRunning) throw new Error('ended before it began');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** SIGHUP, which Node itself does not catch. */
const HANGUP = 1n;

/** Waits until a program that shows nothing before it ends heeds signals, which it does from the begin of its work on. */
async function heeds({ child }: Running): Promise<void> {
  const status = `/proc/${child.pid}/status`;
  // Where no such file tells, by then a program has been loaded.
  if (!fs.existsSync(status)) return new Promise((resolve) => setTimeout(resolve, 1500));
  const caught = () => BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(fs.readFileSync(status, 'utf8'))?.[1]}`);
  while ((caught() & HANGUP) === 0n) await new Promise((resolve) => setTimeout(resolve, 10));
}

const snapshot = (folder: string) =>
  fs.readdirSync(folder).map((name) => [name, fs.readFileSync(path.join(folder, name), 'hex')]);

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('%s: %i, and nothing is written', async (signal, code) => {
  const running = start(['convert', slow, at('new', 'out'), '--backend', 'cpu', '--json']);
  while (!fs.existsSync(at('new'))) await new Promise((resolve) => setTimeout(resolve, 10));
  await hasBegun(running, at('new'));
  running.child.kill(signal);
  const ended = await running.ended;
  expect(ended).toEqual({ code, signal: null, out: '', err: 'stopping …\nstopped; nothing was written\n' });
  // Not even the folder that was made for it.
  expect(fs.readdirSync(at())).toEqual([]);
});

test('what --force would have replaced stays as it was', async () => {
  fs.cpSync(slow, at('out'), { recursive: true });
  const before = snapshot(at('out'));
  const running = start(['convert', slow, at('out'), '--backend', 'cpu', '--mode', 'deploy', '--force']);
  await hasBegun(running, at());
  running.child.kill('SIGINT');
  expect(await running.ended).toMatchObject({ code: 130, out: '' });
  expect(fs.readdirSync(at())).toEqual(['out']);
  expect(snapshot(at('out'))).toEqual(before);
});

test('verify: 130, and no verdict', async () => {
  const running = start(['verify', slow, slow, '--backend', 'cpu']);
  await heeds(running);
  running.child.kill('SIGINT');
  const ended = await running.ended;
  expect(ended).toMatchObject({ code: 130, out: '' });
  expect(ended.err).toMatch(/^stopping …\nstopped\n$/);
});

describeShared('in the middle of long work', (shared) => {
  test('a second Ctrl-C ends it at once', async () => {
    const graph = path.join(shared, 'models', 'graph_mobilenet_v1_025_224');
    const pictures = path.join(shared, 'data', 'hymenoptera');
    const running = start(['convert', graph, at('out'), '--restore', pictures]);
    await hasBegun(running, at());
    running.child.kill('SIGINT');
    await running.shows('stopping …');
    const asked = performance.now();
    running.child.kill('SIGINT');
    const { code, signal, out } = await running.ended;
    // By the signal itself, where the work had not come to its end by then.
    expect(signal === 'SIGINT' || code === 130).toBe(true);
    expect(performance.now() - asked).toBeLessThan(1500);
    expect(out).toBe('');
    expect(fs.existsSync(at('out'))).toBe(false);
  });
});
