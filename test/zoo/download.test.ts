/** Models over http: what is asked of the server, what is kept, and what is not. */
import { fork } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayers } from 'tfjs-tune-mode/zoo';
import type { TuneModeError } from '../../src/errors';
import { temporaryFolder } from '../adapters/node/temporary-folder';
import { refusal } from '../fine-tune/toy';
import { useBackend } from '../helpers/backends';
import { inputsFor, predictions } from '../helpers/models';
import { listed, type ModelFiles, tinyFiles, under } from './models';
import { cutOff, html, redirect, type Server, stalled, startServer } from './server';

const folder = temporaryFolder();
let files: ModelFiles;
let server: Server;
let tensors: number;

beforeAll(() => useBackend('cpu'));
beforeEach(async () => {
  files = await tinyFiles();
  server = await startServer(under('/net', files));
  tensors = tf.memory().numTensors;
});
afterEach(async () => {
  await server.close();
  expect(tf.memory().numTensors).toBe(tensors);
});

const url = () => `${server.address}/net/model.json`;
const cache = () => folder('cache');
const shards = ['a1.bin', 'a2.bin', 'sub/b.bin'];
const changed = (bytes: string | Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(bytes as Uint8Array);
  copy[copy.length - 3] ^= 1;
  return copy;
};

/** Loads it, asks it, frees it. */
async function outputs(options: Parameters<typeof loadLayers>[1] = {}, from = url()): Promise<number[][]> {
  const loaded = await loadLayers(from, { cache: cache(), ...options });
  expect(loaded.report.pairs).toHaveLength(2);
  const x = inputsFor(loaded.model, 3);
  const y = predictions(loaded.model, x);
  tf.dispose(x);
  loaded.dispose();
  return y;
}

/** The file of the one entry in the cache. */
function kept(name: string): string {
  const [entry, ...others] = fs.readdirSync(cache());
  expect(others).toEqual([]);
  return path.join(cache(), entry, name);
}

describe('the cache', () => {
  test('a second load asks the server nothing, and gives the same numbers', async () => {
    const first = await outputs();
    expect(server.asked.sort()).toEqual(Object.keys(server.pages).sort());
    await server.close();
    expect(await outputs()).toEqual(first);
  });

  test('an entry is a model that can be given as a path', async () => {
    const first = await outputs();
    const asked = server.asked.length;
    expect(await outputs({}, path.dirname(kept('model.json')))).toEqual(first);
    expect(server.asked).toHaveLength(asked);
  });

  test.each([
    ['a weight file is cut off', 'a2.bin', (content: Buffer) => content.subarray(0, 5)],
    ['a weight file is too long', 'a2.bin', (content: Buffer) => Buffer.concat([content, content])],
    [
      'a weight file of the right length has other bytes',
      'sub/b.bin',
      (content: Buffer) => Buffer.from(changed(content)),
    ],
    ['the model.json is empty', 'model.json', () => Buffer.from('')],
    ['the model.json is another one', 'model.json', () => Buffer.from('{"modelTopology":{}}')],
    ['the index is no JSON', 'download.json', () => Buffer.from('{"files":')],
    ['the index has no files', 'download.json', () => Buffer.from('null')],
    [
      'the index names a file outside',
      'download.json',
      (content: Buffer) => Buffer.from(String(content).replace('a1.bin', '../x')),
    ],
  ])('fetched anew where %s', async (_, name, damage) => {
    const first = await outputs();
    fs.writeFileSync(kept(name), damage(fs.readFileSync(kept(name))));
    server.asked.length = 0;
    expect(await outputs()).toEqual(first);
    expect(server.asked).toHaveLength(4);
    // … and is whole from then on.
    server.asked.length = 0;
    expect(await outputs()).toEqual(first);
    expect(server.asked).toEqual([]);
  });

  test('fetched anew where a file is missing', async () => {
    await outputs();
    fs.rmSync(kept('a1.bin'));
    server.asked.length = 0;
    await outputs();
    expect(server.asked).toHaveLength(4);
  });

  test('another URL, query or prefix is another entry', async () => {
    Object.assign(server.pages, under('/net', await tinyFiles(2), '?v=2'), under('/else', await tinyFiles(3)));
    const found = [
      await outputs(),
      await outputs({}, `${url()}?v=2`),
      await outputs({ weightPathPrefix: `${server.address}/else` }),
    ];
    expect(fs.readdirSync(cache())).toHaveLength(3);
    expect(new Set(found.map(String)).size).toBe(3);
  });

  test('cache: false keeps nothing', async () => {
    await outputs({ cache: false });
    await outputs({ cache: false });
    expect(server.asked).toHaveLength(8);
    expect(listed(folder())).toEqual([]);
  });

  test('refresh replaces what is kept, and keeps it where the server fails', async () => {
    const old = await outputs();
    server.pages = under('/net', await tinyFiles(7));
    expect(await outputs()).toEqual(old);
    const fresh = await outputs({ refresh: true });
    expect(fresh).not.toEqual(old);
    await server.close();
    const error = await refusal(loadLayers(url(), { cache: cache(), refresh: true }));
    expect(error.message).not.toMatch('not in the cache');
    expect(await outputs()).toEqual(fresh);
  });

  test('the environment names the folder', async () => {
    process.env.TFJS_TUNE_MODE_CACHE = folder('named');
    try {
      await outputs({ cache: undefined });
    } finally {
      delete process.env.TFJS_TUNE_MODE_CACHE;
    }
    expect(listed(folder('named'))).toHaveLength(5);
    expect(listed(cache())).toEqual([]);
  });

  test('a folder that cannot be written is said once, and loading goes on', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
    fs.writeFileSync(cache(), 'a file');
    await outputs();
    await outputs();
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/^The download of 'http.*' cannot be kept in '.*cache' \(EEXIST\)/)],
    ]);
    warn.mockRestore();
  });

  test('what a killed process was writing is removed by the next download, not what runs', async () => {
    const parts = ['.part-4194305-dead', `.part-${process.pid}-alive`];
    for (const part of parts) fs.mkdirSync(path.join(cache(), part), { recursive: true });
    await outputs();
    expect(fs.readdirSync(cache()).filter((name) => name.startsWith('.part'))).toEqual([parts[1]]);
  });

  test('two loads at once both work, and leave one whole entry', async () => {
    const [a, b] = await Promise.all([outputs(), outputs()]);
    expect(a).toEqual(b);
    server.asked.length = 0;
    expect(await outputs()).toEqual(a);
    expect(server.asked).toEqual([]);
    expect(listed(cache()).map((name) => name.slice(65))).toEqual([
      'a1.bin',
      'a2.bin',
      'download.json',
      'model.json',
      'sub/b.bin',
    ]);
  });

  test('four processes at once, each loading again and again while the entry is replaced', async () => {
    const program = path.join(__dirname, 'load-loop.ts');
    const runs = Array.from({ length: 4 }, () => {
      const child = fork(program, [url(), cache(), '15'], { execArgv: ['--import', 'tsx'], stdio: 'pipe' });
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (said += chunk));
      return new Promise<string>((resolve) => child.on('close', (code) => resolve(`${code}: ${said.trim()}`)));
    });
    const said = await Promise.all(runs);
    expect(said).toEqual(said.map(() => expect.stringMatching(/^0: \d+$/)));
    expect(new Set(said).size).toBe(1);
    expect(listed(cache())).toHaveLength(5);
  });
});

describe('addresses', () => {
  test('a folder with / at its end, and a fragment', async () => {
    const first = await outputs({}, `${server.address}/net/`);
    expect(await outputs({}, `${url()}#top`)).toEqual(first);
    expect(server.asked).toHaveLength(4);
  });

  test('without a / at its end it is asked as it is', async () => {
    server.pages['/net'] = files['model.json'];
    server.pages = { ...server.pages, ...under('', files) };
    await outputs({}, `${server.address}/net`);
    expect(server.asked).toContain('/net');
    expect(server.asked).toContain('/a1.bin');
  });

  test('a redirect of every file', async () => {
    for (const name of Object.keys(files)) server.pages[`/old/${name}`] = redirect(`/net/${name}`);
    await outputs({}, `${server.address}/old/model.json`);
    expect(server.asked).toHaveLength(8);
  });

  test('fromTFHub adds what tfjs-converter adds, and its query to the weights', async () => {
    server.pages = under('/module/1', files, '?tfjs-format=file');
    await outputs({ fromTFHub: true }, `${server.address}/module/1`);
    expect(server.asked.sort()).toEqual(Object.keys(server.pages).sort());
  });

  test('weightUrlConverter, fetchFunc and requestInit', async () => {
    server.pages = { ...under('/net', { 'model.json': files['model.json'] }), ...under('/weights', files) };
    const fetched: [string, unknown][] = [];
    const fetchFunc: typeof fetch = (input, init) => {
      fetched.push([String(input), new Headers(init?.headers).get('X-Key')]);
      return fetch(input, init);
    };
    await outputs({
      weightUrlConverter: async (name) => `${server.address}/weights/${name}`,
      fetchFunc,
      requestInit: { headers: { 'X-Key': 'k' } },
    });
    expect(fetched.map(([, key]) => key)).toEqual(['k', 'k', 'k', 'k']);
    expect(fetched.slice(1).map(([where]) => where.slice(server.address.length))).toEqual(
      shards.map((name) => `/weights/${name}`),
    );
  });

  test('a fetchFunc whose responses have no stream', async () => {
    const fetchFunc = async (input: unknown) => {
      const response = await fetch(input as string);
      const { ok, status, headers } = response;
      return { ok, status, headers, arrayBuffer: () => response.arrayBuffer() } as Response;
    };
    await outputs({ fetchFunc });
  });
});

describe('progress', () => {
  async function fractions(options: object = {}): Promise<number[]> {
    const told: number[] = [];
    await outputs({ ...options, onProgress: (fraction) => void told.push(fraction) });
    return told;
  }

  test('grows from 0 to 1, and says each share once', async () => {
    const told = await fractions();
    expect(told[0]).toBe(0);
    expect(told.at(-1)).toBe(1);
    expect(told.length).toBeGreaterThanOrEqual(5);
    for (let i = 1; i < told.length; i++) expect(told[i]).toBeGreaterThan(told[i - 1]);
  });

  test('0 and 1 for what is kept', async () => {
    await outputs();
    expect(await fractions()).toEqual([0, 1]);
  });

  test('1 is not reached by a download that fails', async () => {
    server.pages['/net/a2.bin'] = (files['a2.bin'] as Uint8Array).slice(1);
    const told: number[] = [];
    await refusal(loadLayers(url(), { cache: cache(), onProgress: (fraction) => void told.push(fraction) }));
    expect(Math.max(...told)).toBeLessThan(1);
  });

  test('an error of the callback comes through', async () => {
    const onProgress = () => {
      throw new RangeError('mine');
    };
    await expect(loadLayers(url(), { cache: cache(), onProgress })).rejects.toThrow(new RangeError('mine'));
  });

  test('shows nothing where stderr is no terminal; a line that is removed where it is one', async () => {
    const write = jest.spyOn(process.stderr, 'write').mockImplementation(() => true);
    const isTTY = process.stderr.isTTY;
    try {
      process.stderr.isTTY = false;
      await outputs({ cache: false });
      expect(write).not.toHaveBeenCalled();
      process.stderr.isTTY = true;
      await outputs({ cache: false });
      const shown = write.mock.calls.map(([text]) => String(text));
      expect(shown.join('')).toMatch(/downloading net\/model.json █+░* +\d+ %/);
      expect(shown.at(-1)).toBe('\r\x1b[K');
      write.mockClear();
      await outputs({ cache: false, onProgress: () => {} });
      expect(write).not.toHaveBeenCalled();
    } finally {
      process.stderr.isTTY = isTTY;
      write.mockRestore();
    }
  });
});

describe('a download that fails says why, and leaves nothing', () => {
  const refused = async (from = url(), options: object = {}): Promise<TuneModeError> => {
    const error = await refusal(loadLayers(from, { cache: cache(), ...options }));
    expect(listed(folder())).toEqual([]);
    return error;
  };
  const page = (status: number) => (response: import('node:http').ServerResponse) =>
    void response.writeHead(status).end('no');

  test.each<[string, string, (all: ModelFiles) => import('./server').Page | undefined, string, RegExp]>([
    [
      '404',
      'model.json',
      () => undefined,
      'download-failed',
      /^'http.*\/net\/model.json' answers with status 404 Not Found; expected the model.json of a tfjs model/,
    ],
    ['403', 'model.json', () => page(403), 'download-failed', /status 403 Forbidden/],
    [
      '500',
      'sub/b.bin',
      () => page(500),
      'download-failed',
      /^'http.*\/net\/sub\/b.bin' answers with status 500.*expected the weights 'sub\/b.bin'/,
    ],
    ['a missing weight file', 'a2.bin', () => undefined, 'download-failed', /\/net\/a2.bin' answers with status 404/],
    [
      'a web page as model.json',
      'model.json',
      () => html,
      'download-failed',
      /\/net\/model.json' answers with a web page \(status 200\)/,
    ],
    ['a web page as weights', 'a1.bin', () => html, 'download-failed', /\/net\/a1.bin' answers with a web page/],
    [
      'no JSON',
      'model.json',
      () => '{"modelTopology": {},\n nonsense',
      'invalid-model-file',
      /is not valid JSON \(line 2, column 2\)/,
    ],
    ['JSON without a model', 'model.json', () => '[]', 'invalid-model-file', /is no tfjs model/],
    [
      'a short weight file',
      'a2.bin',
      ({ 'a2.bin': a }) => (a as Uint8Array).slice(4),
      'invalid-model-file',
      /group 0 need \d+ bytes, but \d+ were found .*cut off/,
    ],
    [
      'a long weight file',
      'sub/b.bin',
      ({ 'sub/b.bin': b }) => new Uint8Array([...(b as Uint8Array), 0]),
      'invalid-model-file',
      /too long/,
    ],
    [
      'a connection cut in the model.json',
      'model.json',
      ({ 'model.json': m }) => cutOff(Buffer.from(m), 100),
      'download-failed',
      /\/net\/model.json' cannot be downloaded/,
    ],
    [
      'a connection cut in the weights',
      'sub/b.bin',
      ({ 'sub/b.bin': b }) => cutOff(b as Uint8Array, 9),
      'download-failed',
      /\/net\/sub\/b.bin' cannot be downloaded/,
    ],
    [
      'a path out of the folder',
      'model.json',
      ({ 'model.json': m }) => String(m).replace('a1.bin', '../a1.bin'),
      'invalid-model-file',
      /not inside the model's folder/,
    ],
    [
      'a graph model',
      'model.json',
      () => '{"format":"graph-model","modelTopology":{"node":[]},"weightsManifest":[]}',
      'not-a-layers-model',
      /GraphModel.*liftGraphModel.*loadMobileNet/,
    ],
  ])('%s', async (title, name, change, code, message) => {
    const content = change(files);
    if (content === undefined) delete server.pages[`/net/${name}`];
    else server.pages[`/net/${name}`] = content;
    const error = await refusal(loadLayers(url(), { cache: cache() }));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
    // A graph model is a whole download; it is not this loader's.
    if (title !== 'a graph model') expect(listed(folder())).toEqual([]);
  });

  test('offline with an empty cache: one sentence with the URL and the way out', async () => {
    await server.close();
    const error = await refused();
    expect(error.code).toBe('download-failed');
    expect(error.message).toBe(
      `'${url()}' cannot be downloaded (ECONNREFUSED) and is not in the cache: connect to its server, or pass the path of ` +
        "a copy on this machine as 'urlOrHandler'.",
    );
  });

  test('offline without a cache', async () => {
    await server.close();
    expect((await refused(url(), { cache: false })).message).not.toMatch('cache');
  });

  test('a damaged entry is no reason to fail otherwise than without one', async () => {
    await outputs();
    fs.truncateSync(kept('a1.bin'), 3);
    await server.close();
    expect((await refusal(loadLayers(url(), { cache: cache() }))).message).toMatch('and is not in the cache');
  });

  test.each([
    ['before it begins', 0],
    ['while the weights come', 1],
  ])('aborted %s: the reason of the signal', async (_, when) => {
    server.pages['/net/sub/b.bin'] = stalled(files['sub/b.bin'] as Uint8Array, 10);
    const controller = new AbortController();
    if (when === 0) controller.abort(new RangeError('enough'));
    const loading = loadLayers(url(), {
      cache: cache(),
      signal: controller.signal,
      onProgress: (fraction) => fraction > 0.5 && controller.abort(new RangeError('enough')),
    });
    await expect(loading).rejects.toThrow(new RangeError('enough'));
    expect(listed(folder())).toEqual([]);
    if (when === 0) expect(server.asked).toEqual([]);
  });

  test('aborted by the signal of requestInit', async () => {
    const requestInit = { signal: AbortSignal.abort(new RangeError('enough')) };
    await expect(loadLayers(url(), { cache: cache(), requestInit })).rejects.toThrow(new RangeError('enough'));
    expect(server.asked).toEqual([]);
  });

  test('aborted with a fetchFunc that knows nothing of signals', async () => {
    const controller = new AbortController();
    const loading = loadLayers(url(), {
      cache: cache(),
      signal: controller.signal,
      fetchFunc: (input) => fetch(input),
      onProgress: (fraction) => fraction > 0 && controller.abort(new RangeError('enough')),
    });
    await expect(loading).rejects.toThrow(new RangeError('enough'));
    expect(listed(folder())).toEqual([]);
  });

  test('a failing file stops the others', async () => {
    let closed = false;
    server.pages['/net/sub/b.bin'] = (response) => {
      response.on('close', () => {
        closed = true;
      });
      stalled(files['sub/b.bin'] as Uint8Array, 10);
      response.write('x');
    };
    server.pages['/net/a2.bin'] = page(500);
    await refused();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(closed).toBe(true);
  });
});
