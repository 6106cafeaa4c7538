/** `convert` without arguments: what it asks, and what it makes of the answers. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { keras3Config, kerasEntries, writeGraph, writeH5, writeLayers } from '../adapters/convert/small-files';
import { temporaryFolder } from '../adapters/node/temporary-folder';
import { useBackend } from '../helpers/backends';
import { runHere } from './in-process';
import { root } from './process';

const at = temporaryFolder();

beforeAll(() => useBackend('wasm'));
beforeEach(() => writeLayers(at('model')));

/** Answers, one line each, typed before anything is asked. */
const wizard = (...answers: string[]) => runHere(['convert'], { typed: answers.map((each) => `${each}\n`).join('') });
const namesIn = (folder: string) => fs.readdirSync(folder).sort();
const printed = (err: string) => /^tfjs-tune-mode (convert .*)$/m.exec(err)?.[1] as string;

/** Of a command line as it is printed for a shell. */
function argvOf(line: string): string[] {
  const { stdout } = spawnSync('bash', ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' });
  return stdout.split('\0').slice(0, -1);
}

test('asks for model, target, mode, quantisation and output, and says what the model is', async () => {
  const { code, out, err } = await wizard(at('model'), '', '2', 'FLOAT16', at('out'));
  expect(err).toMatch(/It is a tfjs LayersModel, tfjs-layers 4\.22\.0, \d+ kB\./);
  const asked = [...err.matchAll(/Which model\?|^Write$|^Mode$|^Store kernels as$|Into which folder\?/gm)];
  expect(asked.map(([text]) => text)).toEqual([
    'Which model?',
    'Write',
    'Mode',
    'Store kernels as',
    'Into which folder?',
  ]);
  expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/deploy, kernels as float16/) });
  expect(namesIn(at())).toEqual(['model', 'out']);
});

test('the printed command does the same without questions', async () => {
  const out = at("it's out");
  const answered = await wizard(at('model'), 'layers', 'deploy', 'uint16', out);
  const written = namesIn(out).map((name) => fs.readFileSync(path.join(out, name)));
  fs.rmSync(out, { recursive: true });
  const { code, out: report, err } = await runHere(argvOf(printed(answered.err)));
  expect({ code, err, report }).toEqual({ code: 0, err: '', report: answered.out });
  expect(namesIn(out).map((name) => fs.readFileSync(path.join(out, name)))).toEqual(written);
});

test.each(['', ' ', '9', 'nowhere', '-1', '1.5', 'constructor'])('the wrong mode %j is not taken', async (answer) => {
  const { code, err, out } = await wizard(at('model'), '1', answer, '', '', at('out'), at('out'));
  expect(code).toBe(0);
  expect(out).toMatch(/tfjs LayersModel, tune/);
  expect(err.includes('Answer a number from 1 to 2, or one of tune, deploy.')).toBe(answer.trim() !== '');
});

test('a wrong model, and one that cannot be converted, is asked for again', async () => {
  fs.writeFileSync(at('no.json'), 'nothing');
  fs.mkdirSync(at('empty'));
  writeLayers(at('cut'));
  fs.rmSync(at('cut', 'group1-shard1of2.bin'));
  const wrong = ['', at('gone'), at('no.json'), at('empty'), at('cut')];
  const { code, err } = await wizard(...wrong, `'${at('model')}'`, '', '', '', at('out'));
  expect(code).toBe(0);
  expect(err.match(/Which model\?/g)).toHaveLength(wrong.length + 1);
  for (const message of [
    /Name a file or a folder/,
    /There is no '/,
    /is no model that can be read here/,
    /no model\.json/,
    /is missing/,
  ]) {
    expect(err).toMatch(message);
  }
  expect(err).not.toMatch(/\n {4}at |error: /);
});

test('h5: no quantisation is asked for, which Keras does not read', async () => {
  writeLayers(at('folder'));
  const { code, err } = await wizard(at('model'), 'h5', '', at('out.keras'), at('model'), at('folder'), at('out.h5'));
  expect(code).toBe(0);
  expect(err).not.toMatch(/Store kernels|Into which folder/);
  expect(err).toMatch(/looks like a \.keras file[\s\S]*is a folder, and a file is to be written/);
  expect(namesIn(at())).toEqual(['folder', 'model', 'out.h5']);
});

test('a graph: to a graph no mode is asked for; restoring needs a folder with pictures', async () => {
  writeGraph(at('graph'));
  const graph = await wizard(at('graph'), 'graph', '', at('out'));
  expect(graph.code).toBe(0);
  expect(graph.err).not.toMatch(/^Mode$|BatchNorms back|h5/m);
  fs.mkdirSync(at('pictures'));
  const layers = await wizard(at('graph'), 'layers', 'tune', at('pictures'), at('gone'), '', '', at('layers'));
  expect(layers.code).toBe(0);
  expect(layers.err).toMatch(/no pictures \(jpg, png\)[\s\S]*There is no folder/);
  expect(printed(layers.err)).not.toMatch(/restore|undefined/);
  const deployed = await wizard(at('graph'), 'layers', 'deploy', '', at('deployed'));
  expect(deployed.code).toBe(0);
  expect(deployed.err).not.toMatch(/BatchNorms back/);
});

test('a file with weights alone: its topology is asked for until it fits', async () => {
  const { weights } = await kerasEntries(at());
  fs.writeFileSync(at('a.weights.h5'), weights);
  fs.writeFileSync(at('config.json'), JSON.stringify(keras3Config()));
  const wrong = [at('gone.json'), at('a.weights.h5'), ''];
  const { code, err } = await wizard(at('a.weights.h5'), ...wrong, at('config.json'), '', '', '', at('out'));
  expect(code).toBe(0);
  expect(err).toMatch(/It is a Keras weights \(HDF5\), \d+ kB\.\n/);
  expect(err.match(/Which file has its topology/g)).toHaveLength(wrong.length + 1);
  expect(fs.readFileSync(at('out', 'model.json'), 'utf8')).toMatch(/"conv2d\/kernel"/);
});

describe('an output that exists', () => {
  test('is replaced only where that is agreed to', async () => {
    writeLayers(at('old'), { nested: true });
    const before = fs.readFileSync(at('old', 'model.json'), 'utf8');
    const no = await wizard(at('model'), '', '', '', at('old'), '', at('new'));
    expect(no.code).toBe(0);
    expect(no.err).toMatch(/old' exists already\. Replace it \(y\/N\)\?/);
    expect(printed(no.err)).not.toMatch(/--force/);
    expect(fs.readFileSync(at('old', 'model.json'), 'utf8')).toBe(before);
    const yes = await wizard(at('model'), '', '', '', at('old'), 'perhaps', 'y');
    expect(yes.code).toBe(0);
    expect(yes.err).toMatch(/Answer y or n\./);
    expect(printed(yes.err)).toMatch(/--force/);
    expect(fs.readFileSync(at('old', 'model.json'), 'utf8')).not.toBe(before);
    expect(namesIn(at())).toEqual(['model', 'new', 'old']);
  });

  test('is not offered to be replaced where it is the source, or holds other files', async () => {
    fs.mkdirSync(at('mine'));
    fs.writeFileSync(at('mine', 'letter.txt'), 'dear');
    const { code, err } = await wizard(at('model'), '', '', '', at('model'), at('mine'), at(), at('out'));
    expect(code).toBe(0);
    expect(err).not.toMatch(/Replace it/);
    expect(err.match(/Into which folder/g)).toHaveLength(4);
    expect(fs.readFileSync(at('mine', 'letter.txt'), 'utf8')).toBe('dear');
  });
});

describe('stopped', () => {
  const questions: [after: string, answers: string[]][] = [
    ['nothing', []],
    ['the model', ['MODEL']],
    ['the mode', ['MODEL', '', 'deploy']],
    ['an output that exists', ['MODEL', '', '', '', 'OLD']],
  ];
  const typed = (answers: string[]) =>
    answers.map((each) => `${each.replace('MODEL', at('model')).replace('OLD', at('old'))}\n`).join('');

  beforeEach(() => writeLayers(at('old')));
  afterEach(() => expect(namesIn(at())).toEqual(['model', 'old']));

  test.each(questions)('the input ends after %s: 1', async (_, answers) => {
    const { code, out, err } = await runHere(['convert'], { typed: typed(answers) });
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/(^|\n)stopped; nothing was written\n$/);
    expect(err).not.toMatch(/tfjs-tune-mode convert/);
  });

  // All keys come at once here: Ctrl-C also takes back what was typed ahead of it.
  test.each(questions)('Ctrl-C after %s: 130', async (_, answers) => {
    const { code, out, err } = await runHere(['convert'], { typed: `${typed(answers)}\x03`, keys: true });
    expect({ code, out }).toEqual({ code: 130, out: '' });
    expect(err).toMatch(/\nstopped; nothing was written\n$/);
    expect(err).not.toMatch(/tfjs-tune-mode convert/);
  });
});

test.each([[[]], [['--mode', 'deploy']], [['--json']]])(
  'nobody is asked in a pipe, nor beside options: convert %j',
  async (more) => {
    const { code, out, err } = await runHere(['convert', ...more]);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(/^error: <input> is missing\nusage: tfjs-tune-mode convert <input> <output>/);
  },
);

test('an argument that is given is not asked for', async () => {
  const { code, err } = await runHere(['convert', at('model')], { typed: `${at('out')}\n` });
  expect(code).toBe(2);
  expect(err).toMatch(/^error: <output> is missing/);
});

/** The built command at a real terminal; `script` (util-linux) makes one. */
const hasScript = spawnSync('script', ['--version']).status === 0;
(hasScript ? describe : describe.skip)('at a terminal of its own', () => {
  function dialogue(answers: [question: RegExp, keys: string][]): Promise<{ code: number | null; text: string }> {
    const command = `'${process.execPath}' '${path.join(root, 'dist', 'cli.js')}' convert`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { env: { ...process.env, TERM: 'xterm' } });
    let text = '';
    let from = 0;
    const left = [...answers];
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk;
      // Each answer waits for its question, as a person does.
      while (left.length > 0 && left[0][0].test(text.slice(from))) {
        from = text.length;
        child.stdin.write((left.shift() as [RegExp, string])[1]);
      }
    });
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, text })));
  }

  test('asks, shows progress, and writes', async () => {
    await writeH5(at('small.h5'));
    const { code, text } = await dialogue([
      [/Which model\?/, `${at('small.h5')}\r`],
      [/1–2 \(1\)\?/, '\r'],
      [/1–2 \(1\)\?/, 'deploy\r'],
      [/1–4 \(1\)\?/, '\r'],
      [/Into which folder\?/, `${at('out')}\r`],
    ]);
    expect(text).toMatch(/It is a Keras HDF5 \(\.h5\), Keras 2\.15\.0, \d+ kB\./);
    expect(text).toMatch(/verifying █+ 100 %[\s\S]*written .*out: tfjs LayersModel, deploy/);
    expect(code).toBe(0);
    expect(namesIn(at())).toEqual(['model', 'out', 'small.h5']);
  });

  test('Ctrl-C ends it with 130', async () => {
    const { code, text } = await dialogue([
      [/Which model\?/, `${at('model')}\r`],
      [/1–2 \(1\)\?/, '\x03'],
    ]);
    expect(code).toBe(130);
    expect(text).toMatch(/\nstopped; nothing was written\r\n/);
    expect(namesIn(at())).toEqual(['model']);
  });
});
