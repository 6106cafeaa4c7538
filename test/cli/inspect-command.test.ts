/** `inspect` on every format, and its pages. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { FORMAT_NAMES, type ModelFormat } from '../../adapters/convert/source';
import {
  editJson,
  keras3Config,
  kerasEntries,
  writeGraph,
  writeH5,
  writeLayers,
  zipped,
} from '../adapters/convert/small-files';
import { makeFolder } from '../adapters/keras/h5-python';
import { useBackend } from '../helpers/backends';
import { describeShared } from '../helpers/shared';
import { expectOneSentence, runHere } from './in-process';

let folder: string;
const at = (name: string) => path.join(folder, name);
const inspect = (name: string, ...more: string[]) => runHere(['inspect', at(name), ...more]);

beforeAll(async () => {
  await useBackend('cpu');
  folder = makeFolder();
  writeLayers(at('layers'));
  await writeH5(at('model.h5'), true);
  const entries = await kerasEntries(folder);
  fs.writeFileSync(at('model.keras'), zipped(entries));
  fs.writeFileSync(at('model.weights.h5'), entries.weights);
  fs.writeFileSync(at('config.json'), JSON.stringify(keras3Config()));
  writeLayers(at('structure'));
  editJson(at('structure'), (json) => {
    json.weightsManifest = undefined;
  });
  writeGraph(at('graph'));
  fs.writeFileSync(at('saved_model.pb'), 'no JSON');
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const FORMATS: [name: string, more: string[], format: string, headline: RegExp][] = [
  ['layers', [], 'tfjs-layers', /^2\/2 BatchNorms can be tuned with a conv\n/],
  ['layers/model.json', [], 'tfjs-layers', /^2\/2 /],
  ['model.h5', [], 'keras-h5', /^2\/2 BatchNorms/],
  ['model.keras', [], 'keras-zip', /^1\/1 BatchNorm can be tuned/],
  ['model.weights.h5', ['--topology', 'config.json'], 'keras-weights', /^1\/1 BatchNorm /],
  ['structure', [], 'tfjs-layers', /^2\/2 /],
  ['graph', [], 'tfjs-graph', /^GraphModel, from input to softmax\n[\s\S]*\n\/?\d+\/\d+ /],
];
const resolved = (more: string[]) => more.map((arg) => (arg === 'config.json' ? at(arg) : arg));

describe.each(FORMATS)('%s %j', (name, more, format, headline) => {
  test('tables', async () => {
    const alive = tf.memory().numTensors;
    const { code, out, err } = await inspect(name, ...resolved(more));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(headline);
    expect(out).toContain(FORMAT_NAMES[format as ModelFormat]);
    expect(out).not.toMatch(/NaN|undefined|\[object/);
    expect(tf.memory().numTensors).toBe(alive);
  });

  test('--json: one object with all that there is', async () => {
    const { code, out, err } = await inspect(name, ...resolved(more), '--json');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const report = JSON.parse(out);
    expect(report).toMatchObject({
      model: at(name),
      format,
      pairs: expect.any(Array),
      skipped: expect.any(Array),
      deploy: {
        after: expect.any(Array),
        before: expect.any(Array),
        kept: expect.any(Array),
        savings: { before: expect.any(Object), after: expect.any(Object) },
      },
    });
    const graphOnly = ['restore', 'nodes', 'products'].map((field) => Array.isArray(report[field]));
    expect(graphOnly).toEqual(Array(3).fill(format === 'tfjs-graph'));
    expect(report.size).toBeGreaterThan(0);
  });
});

describe('--html', () => {
  const page = () => at('page.html');
  afterEach(() => fs.rmSync(page(), { force: true }));

  test.each(FORMATS)('of %s writes a page and names it on stderr', async (name, more) => {
    const { code, out, err } = await inspect(name, ...resolved(more), '--html', page(), '--json');
    expect({ code, err }).toEqual({ code: 0, err: `written: ${page()}\n` });
    expect(JSON.parse(out).pairs).toEqual(expect.any(Array));
    const html = fs.readFileSync(page(), 'utf8');
    expect(html).toMatch(/^<!doctype html>[\s\S]*<svg[\s\S]*<\/html>\s*$/i);
    expect(html).not.toMatch(/<script|(src|href)="http/);
  });

  test('an existing page is replaced only with --force', async () => {
    const old = '<!DOCTYPE html><p>an older one';
    fs.writeFileSync(page(), old);
    const ended = await inspect('layers', '--html', page());
    expect(ended.code).toBe(1);
    expectOneSentence(ended);
    expect(ended.err).toMatch(/page\.html' exists already; .*\(--force\)/);
    expect(fs.readFileSync(page(), 'utf8')).toBe(old);
    expect((await inspect('layers', '--html', page(), '--force')).code).toBe(0);
    expect(fs.readFileSync(page(), 'utf8')).toMatch(/<svg/);
  });

  test.each([
    ['model.h5', 'model.h5', /is no page, so it is not replaced/],
    ['layers', 'layers/model.json', /is no page/],
    ['layers', 'layers/group1-shard1of2.bin', /is no page/],
    ['layers', 'saved_model.pb', /is no page/],
    ['layers', 'layers', /is no file; name a file/],
  ])('of %s into %s: refused, even with --force', async (model, target, message) => {
    const read = () => (target === 'layers' ? fs.readdirSync(at(target)) : fs.readFileSync(at(target), 'hex'));
    const before = [read(), fs.readdirSync(folder)];
    const ended = await inspect(model, '--html', at(target), '--force');
    expect(ended.code).toBe(1);
    expectOneSentence(ended);
    expect(ended.err).toMatch(message);
    expect([read(), fs.readdirSync(folder)]).toEqual(before);
  });

  test('nothing is written where the model cannot be read', async () => {
    expect((await inspect('gone', '--html', page())).code).toBe(1);
    expect(fs.existsSync(page())).toBe(false);
  });
});

test.each<[name: string, more: string[], message: RegExp]>([
  ['gone', [], /There is no '.*gone'\. Expected a model\.json or its folder, or a Keras \.h5 or \.keras file/],
  ['saved_model.pb', [], /saved_model\.pb' is no model that can be read here/],
  ['model.weights.h5', [], /holds weights alone\. Name the file .* with --topology/],
  ['model.weights.h5', ['--topology', 'model.weights.h5'], /given as topology, holds weights alone|no '/],
  ['model.h5', ['--topology', 'config.json'], /has a topology of its own/],
  ['layers', ['--topology', 'config.json'], /has a topology of its own/],
  ['.', [], /no model\.json/],
])('%s %j: 1, one sentence', async (name, more, message) => {
  const ended = await inspect(name, ...more.map((arg) => (arg.startsWith('-') ? arg : at(arg))));
  expect(ended.code).toBe(1);
  expectOneSentence(ended);
  expect(ended.err).toMatch(message);
});

test.each<[argv: string[], message: string]>([
  [[''], '<model> must not be empty'],
  [['x', '--html', ''], '--html must be a path or a name'],
  [['x', '--html'], '--html'],
  [['x', '--image-size', '224x'], '--image-size must be pixels'],
  [['x', '--backend', 'cpu'], "no option '--backend'"],
])('a wrong command line: %j', async (argv, message) => {
  const { code, out, err } = await runHere(['inspect', ...argv]);
  expect({ code, out }).toEqual({ code: 2, out: '' });
  expect(err).toContain(message);
  expect(err).toMatch(/\nusage: tfjs-tune-mode inspect <model> \[options\]\n/);
});

describeShared('real files', (shared) => {
  test('an export of Keras 3 is read', async () => {
    const place = path.join(shared, 'models', 'layers_catmood_mobilenetv2_keras3');
    const { code, out, err } = await runHere(['inspect', place]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^52\/52 BatchNorms[\s\S]*Keras 3\.9\.2/);
  });

  test.each(['finetune', 'predict'])('%s says how to make it one that it reads', async (command) => {
    const keras3 = path.join(shared, 'models', 'layers_catmood_mobilenetv2_keras3');
    for (const [place, message] of [
      [keras3, /export of Keras 3, .* Convert it first: tfjs-tune-mode convert '.*keras3' <folder>\.\n$/],
      [at('model.h5'), /is a Keras file.* Convert it first: tfjs-tune-mode convert '.*model\.h5' <folder>\.\n$/],
      [at('model.keras'), /Convert it first: tfjs-tune-mode convert '.*model\.keras' <folder>\.\n$/],
    ] as const) {
      const data = path.join(shared, 'data', 'hymenoptera', 'train');
      const picture = path.join(shared, 'data', 'imagenet_samples', 'n01440764_tench.jpg');
      const rest = command === 'predict' ? [picture] : ['--data', data, '--out', at('never')];
      const ended = await runHere([command, '--model', place, ...rest]);
      expect(ended.code).toBe(1);
      expectOneSentence(ended);
      expect(ended.err).toMatch(message);
      expect(fs.existsSync(at('never'))).toBe(false);
    }
  });
});
