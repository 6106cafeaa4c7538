/** `--threads` on the command line: the same run, which goes on with another number where it was stopped. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { drawPictures } from '../../../examples/draw-pictures';
import { filesBelow, run, shippedModel, start } from '../../cli/process';

const EPOCHS = 6;
let work: string;
let argv: (out: string, ...more: string[]) => string[];

beforeAll(async () => {
  work = await fs.mkdtemp(path.join(os.tmpdir(), 'threads-command-'));
  await drawPictures(path.join(work, 'pics'), { shapes: ['moon', 'star'], count: 16, size: 64, seed: 5 });
  argv = (out, ...more) => [
    ...['finetune', '--model', shippedModel, '--data', path.join(work, 'pics'), '--out', path.join(work, out)],
    ...['--epochs', String(EPOCHS), '--batch-size', '8', '--seed', '3', '--learning-rate', '0.001', ...more],
  ];
});

afterAll(() => fs.rm(work, { recursive: true, force: true }));

async function resultOf(out: string) {
  const history = JSON.parse(await fs.readFile(path.join(work, out, 'history.json'), 'utf8'));
  const [shard] = (await filesBelow(path.join(work, out, 'tuned'))).filter((file) => file.endsWith('.bin'));
  const losses = (history.history as { loss: number | null }[]).map(({ loss }) => loss ?? 0);
  return { backend: history.backend, losses, weights: await fs.readFile(path.join(work, out, 'tuned', shard)) };
}

test('two threads: the same bits each time, and to rounding those of one; stopped, it goes on with one', async () => {
  const ended = await run(argv('two', '--threads', '2'));
  expect(ended).toMatchObject({ code: 0, err: expect.stringMatching(/tune mode on wasm, 2 threads\./) });
  expect(await run(argv('again', '--threads', '2'))).toMatchObject({ code: 0 });
  expect(await run(argv('one'))).toMatchObject({ code: 0, err: expect.stringMatching(/tune mode on wasm\./) });

  const stopped = start(argv('stopped', '--threads', '2'));
  await stopped.shows(/epoch 2\/6/);
  stopped.child.kill('SIGINT');
  expect(await stopped.ended).toMatchObject({ code: 130, err: expect.stringMatching(/--threads 2 --resume/) });
  expect(await run(argv('stopped', '--threads', '1', '--resume'))).toMatchObject({ code: 0 });

  const [two, again, one, resumed] = await Promise.all(['two', 'again', 'one', 'stopped'].map(resultOf));
  expect([two.backend, one.backend]).toEqual(['wasm, 2 threads', 'wasm']);
  expect(again.weights.equals(two.weights)).toBe(true);
  expect(again.losses).toEqual(two.losses);
  for (const { losses } of [one, resumed]) {
    expect(losses.length).toBe(EPOCHS + 1);
    // Rounding, passed on by a few dozen steps of Adam, whose first ones take numbers near 0 by their sign.
    losses.forEach((loss, epoch) => {
      expect(Math.abs(loss - two.losses[epoch])).toBeLessThan(0.02);
    });
  }
});

test.each<[string[], number, RegExp]>([
  [['--threads', '0'], 2, /--threads must be a whole number from 1 to 64; found '0'/],
  [['--threads', '65'], 2, /found '65'/],
  [['--threads', 'many'], 2, /found 'many'/],
  [['--threads', '2', '--backend', 'cpu'], 2, /--threads is for the backend wasm; leave it out with --backend cpu/],
])('%j is refused', async (more, code, message) => {
  expect(await run(argv('refused', ...more))).toMatchObject({ code, err: expect.stringMatching(message) });
});

test('predict --threads', async () => {
  const pictures = path.join(work, 'pics', 'moon');
  const [one, two] = await Promise.all(
    [[], ['--threads', '2']].map((more) => run(['predict', '--model', shippedModel, pictures, ...more])),
  );
  expect(two).toMatchObject({ code: 0, err: '' });
  expect(two.out).toBe(one.out);
});
