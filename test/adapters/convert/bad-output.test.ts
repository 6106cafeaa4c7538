/** Where a conversion may not write, or is stopped: what was there stays, and nothing else is left. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { type ConvertOptions, convert } from '../../../adapters/convert';
import { useBackend } from '../../helpers/backends';
import { temporaryFolder } from '../node/temporary-folder';
import { attempt, contentOf, refused } from './attempt';
import { writeGraph, writeLayers } from './small-files';

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));
beforeEach(() => writeLayers(at('in')));

type Row = [name: string, make: () => void, options: ConvertOptions, says: RegExp | undefined];
const write = (name: string, text = 'x') => {
  fs.mkdirSync(path.dirname(at(name)), { recursive: true });
  fs.writeFileSync(at(name), text);
};
const force = { force: true };
const h5 = { to: 'h5' as const };
const ROWS: Row[] = [
  ['nothing', () => {}, {}, undefined],
  ['an empty folder', () => fs.mkdirSync(at('out')), {}, undefined],
  [
    'a link to an empty folder',
    () => {
      fs.mkdirSync(at('real'));
      fs.symlinkSync(at('real'), at('out'));
    },
    {},
    undefined,
  ],
  ['a link to nowhere', () => fs.symlinkSync(at('nowhere'), at('out')), force, /is a link that leads nowhere/],
  [
    'a link to nowhere, for a file',
    () => fs.symlinkSync(at('nowhere'), at('out')),
    { ...force, ...h5 },
    /leads nowhere/,
  ],
  ['a model', () => writeLayers(at('out')), {}, /exists already; .*--force/],
  ['a model, with force', () => writeLayers(at('out')), force, undefined],
  ['a graph, with force', () => writeGraph(at('out')), force, undefined],
  [
    'a link to a model, with force',
    () => {
      writeLayers(at('real'));
      fs.symlinkSync(at('real'), at('out'));
    },
    force,
    undefined,
  ],
  [
    'a model and strangers',
    () => {
      writeLayers(at('out'));
      write('out/notes.txt');
    },
    force,
    /\(notes\.txt\), so it is not/,
  ],
  [
    'a model and strangers below',
    () => {
      writeLayers(at('out'));
      write('out/a/b.txt');
    },
    force,
    /\(a\/b\.txt\)/,
  ],
  ['pictures', () => write('out/a.jpg'), force, /has files that no tfjs model names \(a\.jpg\)/],
  [
    'a model.json that names others',
    () => {
      write('out/model.json', '{"weightsManifest":[{"paths":["../x"]}]}');
      write('out/y');
    },
    force,
    /\(y\)/,
  ],
  ['a model.json that is no JSON', () => write('out/model.json', '{'), force, /has files that no tfjs model names/],
  [
    'a model.json that is a pipe',
    () => {
      fs.mkdirSync(at('out'));
      execFileSync('mkfifo', [at('out/model.json')]);
    },
    force,
    /has files/,
  ],
  ['a file', () => write('out'), force, /is a file, and a folder is to be written/],
  [
    'a folder, for a file',
    () => fs.mkdirSync(at('out')),
    { ...force, ...h5 },
    /is a folder, and a file is to be written/,
  ],
  ['a file, for a file', () => write('out'), h5, /exists already/],
  ['a text, for a file', () => write('out'), { ...force, ...h5 }, /is no HDF5 file, so it is not replaced/],
  ['an empty file, for a file', () => write('out', ''), { ...force, ...h5 }, undefined],
  ['a pipe', () => execFileSync('mkfifo', [at('out')]), force, /is neither a file nor a folder/],
];

test.each(ROWS)('an output that is %s', async (_name, make, options, says) => {
  make();
  if (says === undefined) {
    const { report } = await attempt(at(), at('in'), at('out'), options);
    expect(report?.verification?.passed).toBe(true);
    expect(fs.readdirSync(at()).filter((name) => name.startsWith('.'))).toEqual([]);
    return;
  }
  const error = await refused(at(), at('in'), at('out'), options);
  expect([error.code, error.message]).toEqual(['invalid-option', expect.stringMatching(says)]);
  expect(error.message).toMatch(/out'.*Nothing was written/);
});

test('an output below a file: the file is named, and nothing is made', async () => {
  write('file', 'mine');
  const error = await refused(at(), at('in'), at('file/deep/out'), {});
  expect([error.code, error.message]).toEqual(['invalid-option', expect.stringMatching(/file' is no folder/)]);
  expect(fs.readFileSync(at('file'), 'utf8')).toBe('mine');
});

const onLinux = process.platform === 'linux' ? test : test.skip;
onLinux('an output where the system makes no folders ends at once', async () => {
  // Node's own `mkdir` with `recursive` goes round for ever there.
  const { error } = await attempt(at(), at('in'), '/proc/tune-mode/deep/out', {});
  expect(error).toMatchObject({ code: 'ENOENT', syscall: 'mkdir' });
});

test('an output that is, holds or lies in the input, and the current folder', async () => {
  const before = contentOf(at('in'));
  for (const out of ['in', '.', 'in/', 'in/../in']) {
    const { message } = await refused(at(), at('in'), at(out), force);
    expect(message).toMatch(/what is converted; name another output/);
  }
  fs.symlinkSync(at('in'), at('link'));
  expect((await refused(at(), at('in'), at('link'), force)).message).toMatch(/what is converted/);
  expect((await refused(at(), at('in/model.json'), at('in'), force)).message).toMatch(/what is converted/);
  // A weight file of the model itself.
  const shard = await refused(at(), at('in'), at('in/group1-shard1of2.bin'), { ...force, ...h5 });
  expect(shard.message).toMatch(/is no HDF5 file/);
  expect(contentOf(at('in'))).toEqual(before);
  expect((await attempt(at(), at('in'), at('in/below'))).report).toBeDefined();
  expect((await refused(at(), at('in'), process.cwd(), force)).message).toMatch(/the current folder|files that no/);
});

test('folders are made, and removed again where the conversion fails', async () => {
  fs.writeFileSync(at('in/group1-shard1of2.bin'), '');
  await refused(at(), at('in'), at('a/b/c'));
  expect(fs.readdirSync(at())).toEqual(['in']);
  writeLayers(at('in'));
  const stop = new Error('stop');
  const onProgress = () => {
    throw stop;
  };
  for (const to of ['layers', 'h5'] as const) {
    expect((await attempt(at(), at('in'), at('a/b/c'), { to, onProgress })).error).toBe(stop);
  }
  expect(fs.readdirSync(at())).toEqual(['in']);
  expect((await attempt(at(), at('in'), at('a/b/c'))).report).toBeDefined();
  // A file is where a folder should be.
  const { error } = await attempt(at(), at('in'), at('in/model.json/x'));
  expect(String(error)).toMatch(/model\.json/);
});

test('a folder that cannot be written into', async () => {
  // Whatever is loaded late is loaded here, by whoever may read it.
  expect((await attempt(at(), at('in'), at('open'))).report).toBeDefined();
  fs.mkdirSync(at('closed'));
  fs.chmodSync(at('closed'), 0o555);
  // Root writes everywhere, so it is somebody else meanwhile, who may look into the folder.
  const root = process.getuid?.() === 0;
  fs.chmodSync(at(), 0o755);
  if (root) process.seteuid?.(65534);
  try {
    const { error } = await attempt(at(), at('in'), at('closed/out'));
    expect(String(error)).toMatch(/EACCES.*closed/);
  } finally {
    if (root) process.seteuid?.(0);
  }
});

test.each(['reading', 'writing', 'verifying'])('stopped while %s', async (phase) => {
  const seenBy: string[] = [];
  for (const [input, to] of [
    ['in', 'layers'],
    ['in', 'h5'],
    ['graph', 'layers'],
    ['graph', 'graph'],
  ] as const) {
    writeGraph(at('graph'));
    const controller = new AbortController();
    const reason = new Error('enough');
    let seen = false;
    const { error, report } = await attempt(at(), at(input), at('out'), {
      to,
      signal: controller.signal,
      onProgress: (progress) => {
        seen ||= progress.phase === phase;
        if (progress.phase === phase) controller.abort(reason);
      },
    });
    if (seen) expect([input, to, error]).toEqual([input, to, reason]);
    else expect(report).toBeDefined();
    if (seen) seenBy.push(`${input} → ${to}`);
    fs.rmSync(at('out'), { recursive: true, force: true });
  }
  // Not every phase is reported of a small graph.
  expect(seenBy).toEqual(expect.arrayContaining(['in → layers', 'in → h5']));
});

test('stopped before it begins', async () => {
  expect((await attempt(at(), at('in'), at('out'), { signal: AbortSignal.abort('no') })).error).toBe('no');
});

test('two conversions into one place, and many at once into others', async () => {
  const before = tf.memory().numTensors;
  const one = () =>
    convert(at('in'), at('out'), { force: true }).then(
      () => 'done',
      (error) => String(error),
    );
  const results = await Promise.all([one(), one()]);
  expect(results).toContain('done');
  for (const each of results) expect(each).toMatch(/^done$|out/);
  const broken = at('broken');
  writeLayers(broken);
  fs.writeFileSync(path.join(broken, 'group1-shard1of2.bin'), Buffer.alloc(149, 0xff));
  const many = await Promise.allSettled([
    ...['a', 'b', 'c'].map((name) => convert(at('in'), at(name), { mode: 'deploy' })),
    ...['d', 'e'].map((name) => convert(broken, at(name))),
  ]);
  expect(many.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected']);
  expect(fs.readdirSync(at()).sort()).toEqual(['a', 'b', 'broken', 'c', 'in', 'out']);
  expect(tf.memory().numTensors).toBe(before);
});

test('no input, and inputs that are something else', async () => {
  fs.writeFileSync(at('text.txt'), 'hello');
  fs.writeFileSync(at('picture.png'), Buffer.from('89504e470d0a1a0a', 'hex'));
  execFileSync('mkfifo', [at('pipe')]);
  fs.mkdirSync(at('empty'));
  fs.mkdirSync(at('piped'));
  execFileSync('mkfifo', [at('piped/model.json')]);
  for (const [name, says] of [
    ['nowhere', /There is no '.*nowhere'/],
    ['nowhere/model.json', /There is no '/],
    ['text.txt', /text\.txt' is no model that can be read here/],
    ['picture.png', /picture\.png' is no model that can be read here/],
    ['pipe', /pipe' is neither a file nor a folder/],
    ['empty', /empty' has no model\.json/],
    ['piped', /piped' has no model\.json/],
    ['/dev/null', /neither a file nor a folder/],
  ] as const) {
    const { message } = await refused(at(), path.isAbsolute(name) ? name : at(name), at('out'));
    expect(message).toMatch(says);
  }
});

test('a pipe among pictures and beside the model is passed over', async () => {
  fs.mkdirSync(at('pictures'));
  expect((await refused(at(), at('in'), at('out'), { pictures: at('pictures') })).message).toMatch(/no pictures/);
  execFileSync('mkfifo', [at('pictures/a.png')]);
  expect((await refused(at(), at('in'), at('out'), { pictures: at('pictures') })).message).toMatch(/no pictures/);
  expect((await refused(at(), at('in'), at('out'), { pictures: at('none') })).message).toMatch(/There is no folder/);
  fs.writeFileSync(at('pictures/b.png'), 'no picture');
  expect((await refused(at(), at('in'), at('out'), { pictures: at('pictures') })).message).toMatch(/b\.png/);
  fs.writeFileSync(at('in/metadata.json'), '{');
  expect((await refused(at(), at('in'), at('out'))).message).toMatch(/metadata\.json/);
  fs.rmSync(at('in/metadata.json'));
  spawnSync('mkfifo', [at('in/metadata.json')]);
  expect((await refused(at(), at('in'), at('out'))).message).toMatch(/metadata\.json' is no file/);
});

test.each<[string, unknown]>([
  ...(['mode', 'to', 'quantize'] as const).flatMap((name) =>
    ['x', '', 1, null].map((value): [string, unknown] => [name, value]),
  ),
  ...['topology', 'restore', 'pictures'].flatMap((name) =>
    ['', 1, null].map((value): [string, unknown] => [name, value]),
  ),
  ...['verify', 'allowCustom', 'force'].flatMap((name) =>
    ['yes', 1, null].map((value): [string, unknown] => [name, value]),
  ),
  ...[0, 1023, 1.5, '4MB', Number.NaN, Number.POSITIVE_INFINITY].map((value): [string, unknown] => [
    'shardSize',
    value,
  ]),
  ...[[1], [0, 1], [1.5, 2], [1e9, 1], '224', 224].map((value): [string, unknown] => ['imageSize', value]),
  ...[[1, 0], [0, 0], [0], [0, Number.NaN], 'x'].map((value): [string, unknown] => ['inputRange', value]),
  ...[-1, Number.NaN, '1', Number.POSITIVE_INFINITY].map((value): [string, unknown] => ['tolerance', value]),
  ['onProgress', 'x'],
  ['signal', {}],
  ['sorcery', true],
])('the option %s as %p', async (name, value) => {
  const error = await refused(at(), at('in'), at('out'), { [name]: value } as ConvertOptions);
  expect(error.code).toBe('invalid-option');
  expect(error.message).toMatch(new RegExp(`'${name}'`));
});

test.each([undefined, null, '', 3, {}])('the path %p', async (value) => {
  for (const paths of [
    [value, at('out')],
    [at('in'), value],
  ] as [string, string][]) {
    await expect(convert(...paths)).rejects.toMatchObject({ code: 'invalid-option', name: 'TuneModeError' });
  }
});
