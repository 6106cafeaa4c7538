/** `predict` as a process, on what `finetune` wrote. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { fileIO } from '../../adapters/node/file-io';
import { drawPictures } from '../../examples/draw-pictures';
import { run, shippedModel } from './process';

let work: string;
const at = (...parts: string[]) => path.join(work, ...parts);

beforeAll(async () => {
  await tf.setBackend('cpu');
  work = await fs.mkdtemp(path.join(os.tmpdir(), 'predict-'));
  await drawPictures(at('pics'), { shapes: ['moon', 'star'], count: 20, size: 64, seed: 5 });
  await fs.writeFile(at('broken.png'), 'no picture');
  await fs.mkdir(at('nothing'));
  const argv = [
    '--model',
    shippedModel,
    '--data',
    at('pics'),
    '--out',
    at('tuned'),
    '--epochs',
    '1',
    '--val-split',
    '0.4',
  ];
  expect((await run(['finetune', ...argv])).code).toBe(0);
  const dense = (units: number) => layers.dense({ units, activation: 'softmax' });
  const pooling = layers.globalAveragePooling2d({ inputShape: [64, 64, 3] });
  await sequential({ layers: [pooling, dense(2)] }).save(fileIO(at('bare')));
  await sequential({ layers: [layers.conv2d({ inputShape: [64, 64, 3], filters: 2, kernelSize: 3 })] }).save(
    fileIO(at('map')),
  );
  await fs.cp(at('tuned'), at('three-labels'), { recursive: true });
  const file = at('three-labels', 'deploy', 'metadata.json');
  await fs.writeFile(file, (await fs.readFile(file, 'utf8')).replace('"moon",', '"moon", "sun",'));
}, 120000);

afterAll(() => fs.rm(work, { recursive: true, force: true }));

const predict = (model: string, pictures: string[], ...more: string[]) =>
  run(['predict', '--model', at(model), ...more, ...pictures.map((name) => at(name))]);

const objects = (out: string) =>
  out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

test('names class and probability of each picture, in the given order', async () => {
  const { code, out, err } = await predict('tuned', ['pics/star/003.png', 'pics/moon/001.png']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const lines = out.trim().split('\n');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/star\/003\.png {2}(moon|star) {2}\d+\.\d %$/);
  expect(lines[1]).toMatch(/moon\/001\.png {2}(moon|star) {2}\d+\.\d %$/);
});

test('both models say the same, and what the report says', async () => {
  const [tuned, deploy, itself] = await Promise.all(
    ['tuned/tuned', 'tuned/deploy', 'tuned'].map((model) => predict(model, ['pics/moon', 'pics/star'], '--json')),
  );
  expect(itself.out).toBe(deploy.out);
  const [a, b] = [tuned, deploy].map(({ out }) => objects(out));
  expect(a).toHaveLength(40);
  a.forEach(({ file, class: name, probability, probabilities }, i) => {
    expect(b[i].file).toBe(file);
    expect(Object.keys(probabilities)).toEqual(['moon', 'star']);
    expect(probability).toBe(Math.max(...(Object.values(probabilities) as number[])));
    expect(probabilities[name]).toBe(probability);
    expect(probabilities.moon + probabilities.star).toBeCloseTo(1, 5);
    // As in finetune's own check: float32 rounding of the fold, far below a wrong one.
    expect(Math.abs(b[i].probabilities.moon - probabilities.moon)).toBeLessThan(1e-4);
  });
  // The worst pictures of the report are wrong here too, with the same probability: same resizing, range, labels.
  const { worst } = JSON.parse(await fs.readFile(at('tuned', 'history.json'), 'utf8'));
  for (const { file, predicted, probability } of worst) {
    const found = a.find((each) => each.file === at('pics', file));
    expect(path.isAbsolute(file)).toBe(false);
    expect(found.class).toBe(predicted);
    expect(found.probability).toBeCloseTo(probability, 4);
  }
});

test('--top names several, the most probable first', async () => {
  const { out } = await predict('tuned', ['pics/star/000.png'], '--top', '5');
  const shares = [...out.matchAll(/([\d.]+) %/g)].map(([, share]) => Number(share));
  expect(shares).toHaveLength(2);
  expect(shares[0]).toBeGreaterThanOrEqual(shares[1]);
});

test('an unreadable picture is named; the others are predicted all the same', async () => {
  const { code, out, err } = await predict('tuned', [
    'pics/star/000.png',
    'broken.png',
    'gone.png',
    'pics/star/001.png',
  ]);
  expect(code).toBe(1);
  expect(out.trim().split('\n')).toHaveLength(2);
  expect(err).toMatch(
    /^error: '.*broken\.png' is no readable picture: .*\nerror: There is no picture '.*gone\.png'\.\n$/,
  );
});

test('a model without metadata numbers its classes', async () => {
  const { code, out } = await predict('bare', ['pics/star/000.png']);
  expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/class [01] {2}\d+\.\d %/) });
});

test.each<[what: string, argv: string[], code: number, message: RegExp]>([
  ['no pictures', ['--model', 'tuned'], 2, /<pictures…> is missing/],
  ['no model', ['pics/star'], 2, /--model is missing/],
  ['an unknown option', ['--model', 'tuned', '--jsn', 'pics/star'], 2, /no option '--jsn'; did you mean '--json'/],
  ['top', ['--model', 'tuned', '--top', '0', 'pics/star'], 2, /--top must be a whole number, at least 1/],
  ['a folder without pictures', ['--model', 'tuned', 'nothing'], 1, /no pictures \(jpg, png\) in the folder/],
  ['a model that is not there', ['--model', 'nowhere', 'pics/star'], 1, /There is no '.*nowhere'/],
  ['a model that is no classifier', ['--model', 'map', 'pics/star'], 1, /no classifier of pictures/],
  ['labels that do not fit', ['--model', 'three-labels', 'pics/star'], 1, /name 3 labels, but .* has 2 outputs/],
])('%s is refused', async (_, argv, code, message) => {
  const resolved = argv.map((arg) => (/^(--|\d)/.test(arg) ? arg : at(arg)));
  const ended = await run(['predict', ...resolved]);
  expect(ended).toMatchObject({ code, out: '', err: expect.stringMatching(message) });
  expect(ended.err).not.toMatch(/\n {4}at /);
});
