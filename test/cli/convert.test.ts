/** `convert` with arguments: what each option does, what is refused, and what is printed where. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { convertCommand } from '../../cli/commands/convert';
import { drawPictures } from '../../examples/draw-pictures';
import {
  editJson,
  keras3Config,
  kerasEntries,
  writeGraph,
  writeH5,
  writeLayers,
  zipped,
} from '../adapters/convert/small-files';
import { temporaryFolder } from '../adapters/node/temporary-folder';
import { useBackend } from '../helpers/backends';
import { expectOneSentence, runHere } from './in-process';

const at = temporaryFolder();
const namesIn = (folder: string) => fs.readdirSync(folder).sort();
const resolved = (argv: readonly string[]) => argv.map((arg) => arg.replaceAll('@', `${at()}${path.sep}`));

/** Everything below a folder, with its content. */
function snapshot(folder: string): [string, string][] {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
    .map((file) => [file, fs.readFileSync(file, 'hex')]);
}

beforeAll(() => useBackend('wasm'));

beforeEach(() => {
  writeLayers(at('model'));
  writeLayers(at('old'), { nested: true });
});

describe('a wrong command line: 2, with the usage, and nothing is touched', () => {
  test.each<[argv: string[], message: string]>([
    [['@model'], '<output> is missing'],
    [['@model', '@out', '@more'], "unexpected argument '"],
    [['', '@out'], '<input> and <output> must not be empty'],
    [['@model', ''], '<input> and <output> must not be empty'],
    [['@model', '@out', '--mode', 'train'], "--mode must be one of tune, deploy; found 'train'"],
    [['@model', '@out', '--mode='], "--mode must be one of tune, deploy; found ''"],
    [['@model', '@out', '--to', 'keras'], '--to must be one of layers, graph, h5'],
    [['@model', '@out', '--quantize', 'uint4'], '--quantize must be one of float16, uint8, uint16'],
    [['@model', '@out', '--quantise', 'uint8'], "no option '--quantise'; did you mean '--quantize'?"],
    [['@model', '@out', '--shard-size', '12'], '--shard-size must be a size of at least 1 kB, such as 4MB'],
    [['@model', '@out', '--shard-size', 'big'], '--shard-size must be a size'],
    [['@model', '@out', '--image-size', '0'], '--image-size must be pixels'],
    [['@model', '@out', '--input-range', '1,-1'], '--input-range must be two numbers'],
    [['@model', '@out', '--tolerance', '-1'], '--tolerance must be a number, at least 0'],
    [['@model', '@out', '--backend', 'quantum'], '--backend must be one of wasm, cpu, tfjs-node, tfjs-node-gpu'],
    [['@model', '@out', '--threads', '0'], '--threads must be a whole number from 1'],
    [['@model', '@out', '--backend', 'cpu', '--threads', '2'], '--threads is for the backend wasm'],
    [['@model', '@out', '--topology', ''], '--topology must be a path or a name'],
    [['@model', '@out', '--force=yes'], "'--force' does not take an argument"],
    [['@model', '@out.keras'], 'looks like a .keras file, which is not written; name an .h5 file'],
    [['@model', '@out.keras', '--to', 'h5'], 'looks like a .keras file'],
    [['@model', '@out/model.json'], 'a folder with a model.json is written; name a folder'],
    [['@model', '@out.h5', '--to', 'layers'], 'looks like a file for Keras, and a folder is written'],
  ])('%j', async (argv, message) => {
    const before = snapshot(at());
    const { code, out, err } = await runHere(['convert', ...resolved(argv)]);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(
      /^error: [^\n]+\nusage: tfjs-tune-mode convert <input> <output> \[options\]\nMore: .*--help\n$/,
    );
    expect(err).toContain(message);
    expect(snapshot(at())).toEqual(before);
  });
});

describe('what cannot be done: 1, one sentence on stderr, and nothing is touched', () => {
  test.each<[argv: string[], message: RegExp]>([
    [['@nowhere', '@out'], /There is no '.*nowhere'/],
    [['@', '@out'], /no model\.json/],
    [['@no.json', '@out'], /no\.json' is no model that can be read here/],
    [['@model', '@old'], /old' exists already; name another output, or replace it \(--force\)/],
    [['@model', '@model', '--force'], /is, or holds, what is converted/],
    [['@model', '@', '--force'], /is, or holds, what is converted/],
    [['@model', '@no.json/out'], /no\.json/],
    [['@old', '@mine', '--force'], /has files that no tfjs model names \(letter\.txt\)/],
    [['@model', '@out', '--to', 'graph'], /is a model of layers, of which no graph can be made/],
    [['@model', '@out', '--restore', '@pictures'], /'restore' is for GraphModels/],
    [['@model', '@out.h5', '--quantize', 'uint8'], /Keras reads no quantised weights/],
    [['@model', '@out', '--topology', '@old'], /has a topology of its own/],
    [['@model', '@out', '--pictures', '@nowhere'], /There is no folder '.*nowhere' with pictures/],
    [['@model', '@out', '--pictures', '@empty'], /no pictures \(jpg, png\)/],
    [['@model', '@out', '--mode', 'deploy', '--tolerance', '0'], /computes something else .* Nothing was written/],
    [['@model', '@out', '--backend', 'tfjs-node-gpu'], /tfjs-node-gpu is not installed/],
    [['@weights.h5', '@out'], /holds weights alone\..*--topology/],
    [['@custom', '@out'], /'bn' \(SomebodysOwn\)/],
    [['@graph', '@out', '--restore', '@empty'], /no pictures \(jpg, png\)/],
    [['@graph', '@out', '--restore', '@empty', '--mode', 'deploy'], /puts BatchNorms back, .*choose one/],
    [['@graph', '@out', '--restore', '@empty', '--to', 'graph'], /a graph can only be deployed/],
  ])('%j', async (argv, message) => {
    fs.writeFileSync(at('no.json'), 'nothing');
    fs.mkdirSync(at('empty'));
    fs.mkdirSync(at('mine'));
    fs.writeFileSync(at('mine', 'letter.txt'), 'dear');
    writeGraph(at('graph'));
    writeLayers(at('custom'));
    editJson(at('custom'), (json) => {
      const topology = json.modelTopology.model_config ?? json.modelTopology;
      topology.config.layers.find(({ config }: { config: { name: string } }) => config.name === 'bn').class_name =
        'SomebodysOwn';
    });
    if (argv[0].includes('weights')) fs.writeFileSync(at('weights.h5'), (await kerasEntries(at())).weights);
    const before = snapshot(at());
    const alive = tf.memory().numTensors;
    for (const json of [[], ['--json']]) {
      const ended = await runHere(['convert', ...resolved(argv), ...json], { terminal: true });
      expect(ended.code).toBe(1);
      expectOneSentence(ended);
      expect(ended.err).toMatch(message);
      // The line for progress is cleared, and nothing stays in it.
      expect(ended.progress === '' || ended.progress.endsWith('\r\x1b[K')).toBe(true);
    }
    expect(tf.memory().numTensors).toBe(alive);
    expect(snapshot(at())).toEqual(before);
  });
});

describe('what is printed', () => {
  test('--json: one object on stdout, and nothing else anywhere', async () => {
    const { code, out, err, progress } = await runHere(['convert', at('model'), at('out'), '--json']);
    expect({ code, err, progress }).toEqual({ code: 0, err: '', progress: '' });
    const report = JSON.parse(out);
    expect(Object.keys(report)).toEqual(['input', 'output', 'folded', 'kept', 'restored', 'notes', 'verification']);
    expect(report.input).toMatchObject({ path: at('model'), format: 'tfjs-layers' });
    expect(report.output).toMatchObject({ path: at('out'), format: 'layers', mode: 'tune', quantize: null });
    expect(report.verification).toMatchObject({ passed: true, maxDifference: 0, pictures: 0 });
  });

  test('progress goes to a terminal alone, never into the result', async () => {
    const piped = await runHere(['convert', at('model'), at('a')]);
    expect(piped).toMatchObject({ code: 0, err: '', progress: '' });
    expect(piped.out).toMatch(/^read {5}.*\nwritten .*\nverified on 2 random inputs: [^\n]*\n$/);
    const { code, out, err, progress } = await runHere(['convert', at('model'), at('b')], { terminal: true });
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toBe(piped.out.replace(at('a'), at('b')));
    expect(progress).toMatch(/writing .*100 %[\s\S]*verifying .*100 %/);
    expect(progress.endsWith('\r\x1b[K')).toBe(true);
  });

  test('--help names every option, and every option that it names is one', async () => {
    const { code, out } = await runHere(['convert', '--help']);
    expect(code).toBe(0);
    expect(out).not.toMatch(/undefined/);
    const names = [...out.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, name]) => name);
    expect(names.sort()).toEqual([...Object.keys(convertCommand.options), 'help'].sort());
  });
});

describe('options', () => {
  test('--force replaces a model, whole', async () => {
    expect((await runHere(['convert', at('model'), at('old'), '--force', '--mode', 'deploy'])).code).toBe(0);
    expect(namesIn(at('old'))).toEqual(['group1-shard1of1.bin', 'model.json']);
    expect(namesIn(at())).toEqual(['model', 'old']);
  });

  test('the end of the output decides what is written, unless --to does', async () => {
    for (const [name, ...more] of [['a.h5'], ['b.HDF5'], ['c', '--to', 'h5']]) {
      const { code, out } = await runHere(['convert', at('model'), at(name), ...more]);
      expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/Keras HDF5 \(\.h5\), tune/) });
      expect(fs.readFileSync(at(name)).subarray(1, 4).toString()).toBe('HDF');
    }
    expect(namesIn(at())).toEqual(['a.h5', 'b.HDF5', 'c', 'model', 'old']);
  });

  test('--quantize and --shard-size', async () => {
    const argv = ['convert', at('model'), at('out'), '--quantize', 'uint8', '--shard-size', '1KiB', '--json'];
    expect(JSON.parse((await runHere(argv)).out).output.quantize).toBe('uint8');
    const { weightsManifest } = JSON.parse(fs.readFileSync(at('out', 'model.json'), 'utf8'));
    for (const { name, shape, quantization } of weightsManifest[0].weights) {
      // 255 levels are too few for a vector, and for a depthwise kernel, whose channels differ in size.
      const dtype = shape.length > 1 && !/depthwise/.test(name) ? 'uint8' : undefined;
      expect({ name, dtype: quantization?.dtype }).toEqual({ name, dtype });
    }
    const shards = namesIn(at('out')).filter((name) => name.endsWith('.bin'));
    expect(Math.max(...shards.map((name) => fs.statSync(at('out', name)).size))).toBeLessThanOrEqual(1024);
  });

  test('--no-verify runs nothing, and says so', async () => {
    const { code, out } = await runHere(['convert', at('model'), at('out'), '--no-verify']);
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/^verified nothing$/m) });
  });

  test('--pictures and --restore take pictures', async () => {
    await drawPictures(at('pictures'), { shapes: ['moon'], count: 3, size: 8, seed: 1 });
    const layers = await runHere(['convert', at('model'), at('out'), '--pictures', at('pictures')]);
    expect(layers).toMatchObject({ code: 0, out: expect.stringMatching(/on 2 random inputs and 3 pictures: /) });
    writeGraph(at('graph'));
    const graph = await runHere(['convert', at('graph'), at('tuned'), '--restore', at('pictures')]);
    expect(graph).toMatchObject({ code: 0, err: '', out: expect.stringMatching(/tfjs LayersModel, tune/) });
  });

  test('--allow-custom keeps what tfjs-layers does not know, and does not verify it', async () => {
    editJson(at('model'), (json) => {
      const topology = json.modelTopology.model_config ?? json.modelTopology;
      topology.config.layers[2].class_name = 'SomebodysOwn';
    });
    const { code, out } = await runHere(['convert', at('model'), at('out'), '--allow-custom']);
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/verified nothing/) });
    expect(fs.readFileSync(at('out', 'model.json'), 'utf8')).toContain('SomebodysOwn');
  });
});

test('every format is told by its content, not by its name', async () => {
  await writeH5(at('a.bin'));
  const entries = await kerasEntries(at());
  fs.writeFileSync(at('b.json'), zipped(entries));
  fs.writeFileSync(at('c'), entries.weights);
  fs.writeFileSync(at('config.txt'), JSON.stringify(keras3Config()));
  writeGraph(at('d'));
  const rows: [string, string, ...string[]][] = [
    ['a.bin', 'keras-h5'],
    ['b.json', 'keras-zip'],
    ['c', 'keras-weights', '--topology', at('config.txt')],
    ['d', 'tfjs-graph'],
  ];
  for (const [name, format, ...more] of rows) {
    const { code, out, err } = await runHere(['convert', at(name), at(`${name}-out`), ...more, '--json']);
    expect({ name, code, err }).toEqual({ name, code: 0, err: '' });
    expect(JSON.parse(out).input.format).toBe(format);
  }
});
