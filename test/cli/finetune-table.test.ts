/** `finetune` as a process: arguments → exit code, message, files. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { layers, model as makeModel, sequential } from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-backend-cpu';
import { fileIO } from '../../adapters/node/file-io';
import { drawPictures } from '../../examples/draw-pictures';
import { besides, filesBelow, run, shippedModel } from './process';

let work: string;
const at = (...parts: string[]) => path.join(work, ...parts);

const draw = (name: string, shapes: string[], count: number, seed = 1) =>
  drawPictures(at(name), { shapes, count, size: 64, seed });

beforeAll(async () => {
  work = await fs.mkdtemp(path.join(os.tmpdir(), 'finetune-'));
  await draw('pics', ['ring', 'star'], 10);
  await draw('one-class', ['ring'], 4);
  await draw('single', ['ring', 'star'], 4);
  for (const name of ['001.png', '002.png', '003.png']) await fs.rm(at('single', 'star', name));
  await draw('empty-class', ['ring', 'star'], 2);
  await fs.mkdir(at('empty-class', 'void'));
  await fs.mkdir(at('no-classes'));
  await draw('unreadable', ['ring', 'star'], 3);
  for (const file of await filesBelow(at('unreadable'))) await fs.writeFile(at('unreadable', file), 'no picture');
  await draw('half-unreadable', ['ring', 'star'], 6);
  for (const file of await filesBelow(at('half-unreadable'))) {
    if (file.startsWith('star')) await fs.truncate(at('half-unreadable', file), 40);
  }
  await draw('some-unreadable', ['ring', 'star'], 10);
  await fs.truncate(at('some-unreadable', 'ring', '003.png'), 100);
  await fs.writeFile(at('some-unreadable', 'star', 'notes.jpg'), 'no picture');

  await copyModel('truncated', async (_, shard) => fs.truncate(shard, 1000));
  await copyModel('too-long', async (_, shard) => fs.appendFile(shard, '1234'));
  await copyModel('nan', async (_, shard) => {
    const bytes = await fs.readFile(shard);
    bytes.writeFloatLE(Number.NaN, 4000);
    await fs.writeFile(shard, bytes);
  });
  await copyModel('no-shard', async (_, shard) => fs.rm(shard));
  await copyModel('half-json', async (json) => fs.truncate(json, 500));
  await copyModel('other-shape', async (json) => {
    const text = await fs.readFile(json, 'utf8');
    await fs.writeFile(json, text.replace('"shape":[3,3,3,16]', '"shape":[3,3,3,17]'));
  });
  await fs.writeFile(at('graph.json'), '{ "modelTopology": { "node": [] }, "format": "graph-model" }');
  await fs.writeFile(
    at('idle-graph.json'),
    '{ "modelTopology": { "node": [{ "name": "x", "op": "Placeholder" }] }, "format": "graph-model", "weightsManifest": [] }',
  );
  const flat = sequential({
    layers: [layers.flatten({ inputShape: [8, 8, 3] }), layers.dense({ units: 2, activation: 'softmax' })],
  });
  await flat.save(fileIO(at('flat')));
  const [a, b] = [0, 1].map(() => layers.input({ shape: [8, 8, 3] }));
  await makeModel({ inputs: [a, b], outputs: layers.add().apply([a, b]) as never }).save(fileIO(at('two-inputs')));
  await fs.mkdir(at('taken'));
  await fs.writeFile(at('taken', 'thesis.txt'), 'precious');
  await fs.writeFile(at('a-file'), '');
}, 120000);

afterAll(() => fs.rm(work, { recursive: true, force: true }));

async function copyModel(name: string, change: (json: string, shard: string) => Promise<unknown>) {
  await fs.cp(shippedModel, at(name), { recursive: true });
  const shard = (await fs.readdir(at(name))).find((file) => file.endsWith('.bin')) as string;
  await change(at(name, 'model.json'), at(name, shard));
}

/** Options that each row overrides. */
const base = { '--model': shippedModel, '--data': 'pics', '--out': 'out', '--epochs': '1' };
type Row = [what: string, options: Record<string, string | true>, code: number, message: RegExp];

const argvOf = (options: Record<string, string | true>) =>
  Object.entries({ ...base, ...options }).flatMap(([name, value]) => {
    if (typeof value !== 'string') return [name];
    return ['--model', '--data', '--out'].includes(name) ? [name, path.resolve(work, value)] : [name, value];
  });

describe('wrong input ends with one sentence and leaves nothing behind', () => {
  test.each<Row>([
    // The command line: 2.
    ['an unknown option', { '--epoch': '3' }, 2, /no option '--epoch'; did you mean '--epochs'\?/],
    ['another', { '--lr': '3' }, 2, /no option '--lr'/],
    ['a value too many', { '--resume': 'yes' }, 2, /unexpected argument 'yes'/],
    ['epochs', { '--epochs': '0' }, 2, /--epochs must be a whole number, at least 1; found '0'/],
    ['batch size', { '--batch-size': '1.5' }, 2, /--batch-size must be a whole number/],
    ['learning rate', { '--learning-rate': 'fast' }, 2, /--learning-rate must be a number above 0; found 'fast'/],
    ['a learning rate below 0', { '--learning-rate': '-1' }, 2, /--learning-rate must be a number above 0/],
    ['mode', { '--mode': 'turbo' }, 2, /--mode must be one of tune, eval, train; found 'turbo'/],
    ['optimizer', { '--optimizer': 'lion' }, 2, /--optimizer must be one of adam, sgd, rmsprop/],
    ['split', { '--val-split': '1' }, 2, /--val-split must be a share between 0 and 1/],
    ['seed', { '--seed': 'x' }, 2, /--seed must be a whole number/],
    ['image size', { '--image-size': '64*64' }, 2, /--image-size must be pixels/],
    ['input range', { '--input-range': '1,-1' }, 2, /--input-range must be two numbers/],
    ['resume and force', { '--resume': true, '--force': true }, 2, /give one of them/],
    ['nothing to resume', { '--resume': true }, 2, /no unfinished run for '.*out' to go on with/],
    ['out exists', { '--out': 'taken' }, 2, /taken' exists already; name another folder, or replace it \(--force\)/],
    ['out is no result', { '--out': 'taken', '--force': true }, 2, /no result of this command.*does not replace it/],
    ['out is a file', { '--out': 'a-file' }, 2, /a-file' is a file/],
    ['out inside data', { '--out': 'pics/out' }, 2, /is inside --data/],
    ['data inside out', { '--data': 'taken/pics', '--out': 'taken', '--force': true }, 2, /--data .* is inside --out/],
    [
      'a backend that does not exist',
      { '--backend': 'quantum' },
      2,
      /--backend must be one of wasm, .*found 'quantum'/,
    ],
    [
      'a backend that is not here',
      { '--backend': 'tfjs-node-gpu' },
      1,
      /tfjs-node-gpu' cannot be used here: .*not installed/,
    ],
    // The data: 1.
    ['no folder', { '--data': 'nowhere' }, 1, /no folder '.*nowhere'/],
    ['a file', { '--data': 'a-file' }, 1, /a-file' is a file, not a folder/],
    ['no classes', { '--data': 'no-classes' }, 1, /no class folder.*Expected 'folder\/<class>/],
    ['one class', { '--data': 'one-class' }, 1, /only one class folder, 'ring'/],
    ['a class with one picture', { '--data': 'single' }, 1, /only one picture of 'star'.*at least two/],
    ['a class without pictures', { '--data': 'empty-class' }, 1, /No pictures in 'void'/],
    ['no readable picture', { '--data': 'unreadable' }, 1, /None of the \d+ pictures could be read/],
    ['no readable picture of a class', { '--data': 'half-unreadable' }, 1, /no readable picture of 'star'/],
    ['no model', { '--model': 'nowhere' }, 1, /There is no '.*nowhere'/],
    ['a folder without a model', { '--model': 'pics' }, 1, /pics' has no model.json/],
    ['half a model.json', { '--model': 'half-json' }, 1, /model.json' is not valid JSON \(line 1/],
    ['a truncated shard', { '--model': 'truncated' }, 1, /need \d+ bytes, but 1000 were found.*cut off/],
    ['a shard that is too long', { '--model': 'too-long' }, 1, /need \d+ bytes, but \d+ were found.*too long/],
    ['a missing shard', { '--model': 'no-shard' }, 1, /weight file '.*', named in '.*', is missing/],
    ['a manifest that does not match', { '--model': 'other-shape' }, 1, /need \d+ bytes, but \d+ were found/],
    ['a damaged shard', { '--model': 'nan' }, 1, /the weight '.*' has NaN at position \d+/],
    ['a graph without weights', { '--model': 'graph.json' }, 1, /graph.json' has no weights/],
    ['a graph with nothing to train', { '--model': 'idle-graph.json' }, 1, /nothing to train/],
    ['a model without a conv', { '--model': 'flat' }, 1, /no layer whose features a new head could take/],
    ['a model with two inputs', { '--model': 'two-inputs' }, 1, /one input and one output/],
    ['a head that does not fit', { '--keep-head': true }, 1, /'circle'|cannot be kept/],
    ['an unknown layer', { '--unfreeze': 'block99' }, 1, /no layer 'block99'/],
    ['too many blocks', { '--unfreeze': '99' }, 1, /11 ConvBN blocks, fewer than 99/],
  ])('%s', async (_, options, code, message) => {
    const before = await filesBelow(work);
    const ended = await run(['finetune', ...argvOf(options)]);
    expect(ended.err).toMatch(message);
    expect(ended).toMatchObject({ code, out: '' });
    const errors = ended.err.split('\n').filter((line) => line.startsWith('error: '));
    expect(errors).toHaveLength(1);
    expect(ended.err).not.toMatch(/\n {4}at |undefined|\[object/);
    // Neither a result nor a leftover, and what was there is untouched.
    expect(await filesBelow(work)).toEqual(before);
    expect(await besides(at('out'))).toEqual([]);
  });
});

test.each(['', ' '])('an empty path is none (%j)', async (out) => {
  const ended = await run(['finetune', '--model', shippedModel, '--data', at('pics'), '--out', out]);
  expect(ended).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/^error: --out must be a path; found/) });
});

test('a missing option is named', async () => {
  expect(await run(['finetune', '--model', 'm', '--data', 'd'])).toMatchObject({ code: 2, out: '' });
  expect((await run(['finetune'])).err).toMatch(/^error: --model is missing\nusage: tfjs-tune-mode finetune --model/);
});

const RESULT = [
  /^deploy\/group1-shard1of1\.[0-9a-f]{8}\.bin$/,
  /^deploy\/metadata\.json$/,
  /^deploy\/model\.json$/,
  /^history\.json$/,
  /^metadata\.json$/,
  /^report\.html$/,
  /^tuned\/group1-shard1of1\.[0-9a-f]{8}\.bin$/,
  /^tuned\/metadata\.json$/,
  /^tuned\/model\.json$/,
];

describe('a run writes everything and nothing else', () => {
  test.each<[what: string, options: Record<string, string | true>, shows: RegExp]>([
    ['by default', {}, /head alone: validation [\d.]+ %[\s\S]*epoch 1\/1: loss [\d.]+ {2}accuracy/],
    ['in eval mode', { '--mode': 'eval' }, /eval mode on wasm/],
    ['in train mode', { '--mode': 'train' }, /train mode on wasm/],
    ['with a rate and an optimizer', { '--learning-rate': '0.001', '--optimizer': 'sgd' }, /epoch 1\/1/],
    ['of the last blocks', { '--unfreeze': '2', '--no-augment': true }, /epoch 1\/1/],
    ['from a layer on', { '--unfreeze': 'block5_pw' }, /epoch 1\/1/],
    ['on pictures of another size', { '--image-size': '48x40', '--batch-size': '4' }, /epoch 1\/1/],
    ['on another backend', { '--backend': 'cpu', '--learning-rate': '1e-4' }, /tune mode on cpu/],
    ['with a range', { '--input-range': '-1,1', '--val-split': '0.5' }, /10 pictures to train on, 10 to validate/],
  ])('%s', async (_, options, shows) => {
    const ended = await run(['finetune', ...argvOf(options)]);
    expect(ended.err).toMatch(shows);
    expect(ended.code).toBe(0);
    expect(ended.out).toMatch(
      /New head for 2 classes on the 96 features of layer 'features'[\s\S]*% of \d+ validation pictures right/,
    );
    const files = await filesBelow(at('out'));
    expect(files).toHaveLength(RESULT.length);
    files.forEach((file, i) => {
      expect(file).toMatch(RESULT[i]);
    });
    expect(await besides(at('out'))).toEqual(['out']);
    await fs.rm(at('out'), { recursive: true });
  });
});

test('unreadable pictures are named, skipped and counted', async () => {
  const { code, out, err } = await run(['finetune', ...argvOf({ '--data': 'some-unreadable' })]);
  expect(code).toBe(0);
  expect(err.match(/^Skipped '.*(003\.png|notes\.jpg)': .+\.$/gm)).toHaveLength(2);
  expect(out).toMatch(/2 unreadable pictures were skipped/);
  const history = JSON.parse(await fs.readFile(at('out', 'history.json'), 'utf8'));
  expect(history.skippedPictures).toHaveLength(2);
  const counted = [...history.counts.train, ...history.counts.val].reduce((a: number, b: number) => a + b, 0);
  expect(counted).toBe(19); // 21 files
  await fs.rm(at('out'), { recursive: true });
});
