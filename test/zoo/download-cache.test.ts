/** Downloads that are kept: what a second load asks of the server, and what is fetched anew. */
import { fork } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { loadLayers } from 'tfjs-tune-mode/zoo';
import { refusal } from '../fine-tune/toy';
import { listed, tinyFiles, under } from './models';
import { servedNet } from './served-net';

const { net, folder, url, cache, outputs, kept } = servedNet();
const changed = (bytes: string | Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(bytes as Uint8Array);
  copy[copy.length - 3] ^= 1;
  return copy;
};

describe('the cache', () => {
  test('a second load asks the server nothing, and gives the same numbers', async () => {
    const first = await outputs();
    expect(net.server.asked.sort()).toEqual(Object.keys(net.server.pages).sort());
    await net.server.close();
    expect(await outputs()).toEqual(first);
  });

  test('an entry is a model that can be given as a path', async () => {
    const first = await outputs();
    const asked = net.server.asked.length;
    expect(await outputs({}, path.dirname(kept('model.json')))).toEqual(first);
    expect(net.server.asked).toHaveLength(asked);
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
    net.server.asked.length = 0;
    expect(await outputs()).toEqual(first);
    expect(net.server.asked).toHaveLength(4);
    // … and is whole from then on.
    net.server.asked.length = 0;
    expect(await outputs()).toEqual(first);
    expect(net.server.asked).toEqual([]);
  });

  test('fetched anew where a file is missing', async () => {
    await outputs();
    fs.rmSync(kept('a1.bin'));
    net.server.asked.length = 0;
    await outputs();
    expect(net.server.asked).toHaveLength(4);
  });

  test('another URL, query or prefix is another entry', async () => {
    Object.assign(net.server.pages, under('/net', await tinyFiles(2), '?v=2'), under('/else', await tinyFiles(3)));
    const found = [
      await outputs(),
      await outputs({}, `${url()}?v=2`),
      await outputs({ weightPathPrefix: `${net.server.address}/else` }),
    ];
    expect(fs.readdirSync(cache())).toHaveLength(3);
    expect(new Set(found.map(String)).size).toBe(3);
  });

  test('cache: false keeps nothing', async () => {
    await outputs({ cache: false });
    await outputs({ cache: false });
    expect(net.server.asked).toHaveLength(8);
    expect(listed(folder())).toEqual([]);
  });

  test('refresh replaces what is kept, and keeps it where the server fails', async () => {
    const old = await outputs();
    net.server.pages = under('/net', await tinyFiles(7));
    expect(await outputs()).toEqual(old);
    const fresh = await outputs({ refresh: true });
    expect(fresh).not.toEqual(old);
    await net.server.close();
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
    net.server.asked.length = 0;
    expect(await outputs()).toEqual(a);
    expect(net.server.asked).toEqual([]);
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
