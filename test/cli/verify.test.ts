/** `verify`: 0 where two models compute the same, 1 where not, whatever their formats. */
import fs from 'node:fs';
import path from 'node:path';
import { convert } from '../../adapters/convert';
import { drawPictures } from '../../examples/draw-pictures';
import { editJson, kerasEntries, writeGraph, writeLayers } from '../adapters/convert/small-files';
import { makeFolder } from '../adapters/keras/h5-python';
import { useBackend } from '../helpers/backends';
import { expectOneSentence, runHere } from './in-process';

let folder: string;
const at = (name: string) => path.join(folder, name);
const verify = (a: string, b: string, ...more: string[]) => runHere(['verify', at(a), at(b), ...more]);

beforeAll(async () => {
  await useBackend('wasm');
  folder = makeFolder();
  writeLayers(at('layers'));
  writeLayers(at('nested'), { nested: true });
  writeLayers(at('rounded'), { quantised: true });
  writeLayers(at('wrong'));
  editJson(at('wrong'), (json) => {
    // Two weights of one size in each other's place: both files stay whole.
    const specs = json.weightsManifest.flatMap(({ weights }: { weights: { name: string }[] }) => weights);
    const [gamma, beta] = ['bn/gamma', 'bn/beta'].map((name) =>
      specs.find((spec: { name: string }) => spec.name === name),
    );
    [gamma.name, beta.name] = [beta.name, gamma.name];
  });
  await convert(at('layers'), at('layers.h5'));
  await convert(at('layers'), at('deployed'), { mode: 'deploy' });
  writeGraph(at('graph'));
  await convert(at('graph'), at('lifted'));
  await convert(at('graph'), at('folded'), { to: 'graph' });
  fs.writeFileSync(at('alone.h5'), (await kerasEntries(folder)).weights);
  await drawPictures(at('pictures'), { shapes: ['moon', 'star'], count: 2, size: 8, seed: 1 });
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test.each([
  ['layers', 'layers'],
  ['layers', 'layers.h5'],
  ['layers.h5', 'layers'],
  ['layers.h5', 'deployed'],
  ['layers', 'nested'],
  ['graph', 'lifted'],
  ['graph', 'folded'],
  ['folded', 'lifted'],
])('%s and %s are the same: 0', async (a, b) => {
  const { code, out, err } = await verify(a, b);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^output +max \|Δ\| +mean \|Δ\| +largest value\n[\s\S]*\n\nthe same on 2 random inputs: .*\n$/);
  expect(out).not.toMatch(/DIFFERENT|NaN|undefined/);
});

test.each([
  ['layers', 'wrong'],
  ['wrong', 'layers.h5'],
  ['wrong', 'deployed'],
])('%s and %s are not: 1', async (a, b) => {
  const { code, out, err } = await verify(a, b);
  expect({ code, err }).toEqual({ code: 1, err: '' });
  expect(out).toMatch(/\n\nDIFFERENT on 2 random inputs: /);
  expect(out).not.toMatch(/the same on/);
});

test('--tolerance decides, in both directions', async () => {
  expect((await verify('layers', 'rounded')).code).toBe(1);
  expect((await verify('layers', 'rounded', '--tolerance', '0.5')).code).toBe(0);
  expect((await verify('layers', 'deployed', '--tolerance', '0')).code).toBe(1);
  expect((await verify('layers', 'layers.h5', '--tolerance', '0')).code).toBe(0);
});

test.each([
  ['layers.h5', 0, true],
  ['wrong', 1, false],
])('--json with %s: one object and nothing else', async (b, code, passed) => {
  const found = await verify('layers', b, '--json');
  expect(found).toMatchObject({ code, err: '' });
  const report = JSON.parse(found.out);
  expect(report).toMatchObject({ a: at('layers'), b: at(b), passed, random: 2, pictures: 0, top1: { of: 2 } });
  expect(report.outputs).toHaveLength(1);
});

test('--pictures are compared too', async () => {
  const { code, out } = await verify('layers', 'layers.h5', '--pictures', at('pictures'));
  expect({ code, out }).toEqual({
    code: 0,
    out: expect.stringMatching(/2 random inputs and 4 pictures: .* 4 of 4\n$/),
  });
});

test.each<[what: string, argv: string[], message: RegExp]>([
  ['a model that is not there', ['layers', 'gone'], /There is no '.*gone'/],
  ['inputs of other sizes', ['layers', 'graph'], /takes \[open, 8, 8, 3\].*: they cannot be compared/],
  [
    'weights alone',
    ['alone.h5', 'layers'],
    /holds weights alone\. Convert it first: tfjs-tune-mode convert '.*alone\.h5' <folder> --topology <file>\.$/,
  ],
  ['weights alone behind', ['layers', 'alone.h5'], /holds weights alone\. Convert it first/],
  ['no pictures', ['layers', 'layers.h5', '--pictures', 'gone'], /There is no folder/],
])('%s: 1, one sentence on stderr', async (_, argv, message) => {
  for (const json of [[], ['--json']]) {
    const ended = await runHere(['verify', ...argv.map((arg) => (arg.startsWith('-') ? arg : at(arg))), ...json]);
    expect(ended.code).toBe(1);
    expectOneSentence(ended);
    expect(ended.err.trim()).toMatch(message);
  }
});

test.each<[argv: string[], message: string]>([
  [[], '<a> is missing'],
  [['x'], '<b> is missing'],
  [['x', ''], '<a> and <b> must not be empty'],
  [['x', 'y', 'z'], "unexpected argument 'z'"],
  [['x', 'y', '--topology', 'z'], "there is no option '--topology'"],
  [['x', 'y', '--tolerance', 'none'], '--tolerance must be a number, at least 0'],
  [['x', 'y', '--backend', 'quantum'], '--backend must be one of wasm, cpu'],
])('a wrong command line: %j', async (argv, message) => {
  const { code, out, err } = await runHere(['verify', ...argv]);
  expect({ code, out }).toEqual({ code: 2, out: '' });
  expect(err).toContain(message);
  expect(err).toMatch(/\nusage: tfjs-tune-mode verify <a> <b> \[options\]\n/);
});

test('the models are not touched', async () => {
  const read = () =>
    ['layers', 'layers.h5'].map((name) =>
      fs.statSync(at(name)).isFile()
        ? fs.readFileSync(at(name), 'hex')
        : fs.readdirSync(at(name)).map((file) => fs.readFileSync(path.join(at(name), file), 'hex')),
    );
  const before = [fs.readdirSync(folder), read()];
  await verify('layers', 'layers.h5');
  expect([fs.readdirSync(folder), read()]).toEqual(before);
});
