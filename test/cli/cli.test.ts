/** The command line as a table: arguments → exit code, and what is printed where. */
import '@tensorflow/tfjs-backend-cpu';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import { fileIO } from '../../adapters/node/file-io';
import { runCli } from '../../cli/run';
import { version } from '../../package.json';
import { describeShared, sharedDir } from '../helpers/shared';

let folder: string;
let model: string;

beforeAll(async () => {
  await tf.setBackend('cpu');
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'cli-'));
  model = path.join(folder, 'model');
  const net = sequential({
    layers: [
      layers.conv2d({ name: 'conv', inputShape: [8, 8, 3], filters: 4, kernelSize: 3 }),
      layers.batchNormalization({ name: 'bn' }),
      layers.reLU({ name: 'relu' }),
      layers.maxPooling2d({ name: 'pool' }),
      layers.batchNormalization({ name: 'alone' }),
    ],
  });
  await net.save(fileIO(model));
  await fs.writeFile(path.join(folder, 'broken.json'), '{ "modelTopology": ');
  await fs.writeFile(path.join(folder, 'empty.json'), '');
  await fs.writeFile(
    path.join(folder, 'graph.json'),
    '{ "modelTopology": { "node": [], "library": {} }, "format": "graph-model" }',
  );
  const layer = { class_name: 'SomebodysOwn', name: 'own', config: { name: 'own', batch_input_shape: [null, 3] } };
  const unknown = { model_config: { class_name: 'Sequential', config: { name: 'net', layers: [layer] } } };
  await fs.writeFile(path.join(folder, 'unknown.json'), JSON.stringify({ modelTopology: unknown }));
  // A model whose weights are not there: its structure can be looked at all the same.
  await fs.mkdir(path.join(folder, 'structure'));
  await fs.copyFile(path.join(model, 'model.json'), path.join(folder, 'structure', 'model.json'));
});

afterAll(() => fs.rm(folder, { recursive: true }));

async function run(...argv: string[]) {
  let out = '';
  let err = '';
  const code = await runCli(
    argv.map((arg) => arg.replace('MODEL', model).replace('FOLDER', folder)),
    {
      out: (text) => {
        out += `${text}\n`;
      },
      err: (text) => {
        err += `${text}\n`;
      },
    },
  );
  return { code, out, err };
}

test.each<[argv: string[], code: number, out: RegExp, err: RegExp]>([
  [[], 0, /usage: tfjs-tune-mode <command>/, /^$/],
  [['--help'], 0, /inspect/, /^$/],
  [['inspect', '--help'], 0, /usage: tfjs-tune-mode inspect <model>[\s\S]*--json/, /^$/],
  [
    ['inspect', 'MODEL'],
    0,
    /^1\/2 BatchNorms[\s\S]*conv +Conv2D +bn +relu[\s\S]*alone +not-after-conv[\s\S]*deploy: 1 of 2/,
    /^$/,
  ],
  [['inspect', 'MODEL/model.json'], 0, /^1\/2 /, /^$/],
  [['tune'], 2, /^$/, /no command 'tune'[\s\S]*inspect/],
  [['inspect'], 2, /^$/, /<model> is missing[\s\S]*usage/],
  [['inspect', 'MODEL', 'another'], 2, /^$/, /unexpected argument 'another'/],
  [['inspect', 'MODEL', '--jsn'], 2, /^$/, /--jsn[\s\S]*usage/],
  [['inspect', 'MODEL', '--json=yes'], 2, /^$/, /--json[\s\S]*usage/],
  [['inspect', 'FOLDER/nothing-here'], 1, /^$/, /^error: .*nothing-here/],
  [['inspect', 'FOLDER'], 1, /^$/, /^error: .*model\.json/],
  [['inspect', 'FOLDER/broken.json'], 1, /^$/, /^error: .*broken\.json/],
  [['inspect', 'FOLDER/empty.json'], 1, /^$/, /^error: .*empty\.json' is empty/],
  [['inspect', 'FOLDER/graph.json'], 1, /^$/, /^error: .*graph\.json' has no weights/],
  [
    ['inspect', 'FOLDER/unknown.json'],
    1,
    /^$/,
    /^error: .*unknown\.json' is beyond tfjs-layers .*'own' \(SomebodysOwn\)/,
  ],
  [['inspect', 'FOLDER/structure'], 0, /^1\/2 /, /^$/],
])('%j exits with %i', async (argv, code, out, err) => {
  const alive = tf.memory().numTensors;
  const result = await run(...argv);
  expect(result.code).toBe(code);
  expect(result.out).toMatch(out);
  expect(result.err).toMatch(err);
  // Our own errors are one sentence, not a stack.
  expect(result.err).not.toMatch(/\n {4}at /);
  expect(tf.memory().numTensors).toBe(alive);
});

test('--version prints the version of the package', async () => {
  expect((await run('--version')).out.trim()).toBe(version);
});

describeShared('inspect on real graphs', () => {
  test.each([
    ['graph_mobilenet_v1_025_224', /27\/28 convolutions can get their BatchNorm back/, 28],
    ['graph_alphabet_conv_mul_add', /conv2d_9_1 +affine +conv2d_9_1_bn/, 5],
    ['graph_handtrack_ssd320fpnlite_mobilenetv2_uint8', /GraphModel, from .*TensorListStack to /, 123],
  ])('%s: what is lifted, and where BatchNorms come back', async (name, message, products) => {
    const place = path.join(sharedDir as string, 'models', name);
    const { code, out, err } = await run('inspect', place);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(message);
    const report = JSON.parse((await run('inspect', '--json', place)).out);
    expect(report.products).toHaveLength(products);
    expect(
      report.restore.every(
        ({ restored, reason }: { restored: boolean; reason: unknown }) => restored === (reason === null),
      ),
    ).toBe(true);
  });
});

describeShared('inspect on real files that are no models to it', () => {
  test.each([['topology_only/coco_ssd_mobilenet_v1', /weight file .* is missing/]])(
    '%s is refused in one readable line',
    async (name, message) => {
      const { code, err } = await run('inspect', path.join(sharedDir as string, 'models', name));
      expect(code).toBe(1);
      expect(err).toMatch(message);
      expect(err.length).toBeLessThan(600);
      expect(err.trim().split('\n')).toHaveLength(1);
    },
  );
});

test('inspect --json prints one JSON object and nothing else', async () => {
  const { out, err } = await run('inspect', '--json', 'MODEL');
  const report = JSON.parse(out);
  expect(err).toBe('');
  expect(report.pairs).toEqual([{ conv: 'conv', bn: 'bn', activation: 'relu', kind: 'Conv2D' }]);
  expect(report.skipped).toHaveLength(1);
  expect(report.skipped[0]).toMatchObject({ bn: 'alone', code: 'not-after-conv' });
  expect(report.deploy.after).toHaveLength(1);
  expect(report.deploy.kept.map(({ bn }: { bn: string }) => bn)).toEqual(['alone']);
});

test('inspect does not change the model on disk', async () => {
  const read = async () => {
    const names = (await fs.readdir(model)).sort();
    return Promise.all(names.map(async (name) => [name, (await fs.readFile(path.join(model, name))).toString('hex')]));
  };
  const before = await read();
  await run('inspect', 'MODEL');
  expect(await read()).toEqual(before);
});
