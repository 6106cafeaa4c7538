/** Downloads that fail or are stopped: what is said, and that nothing is kept. */
import fs from 'node:fs';
import { loadLayers } from 'tfjs-tune-mode/zoo';
import type { TuneModeError } from '../../src/errors';
import { refusal } from '../fine-tune/toy';
import { listed, type ModelFiles } from './models';
import { servedNet } from './served-net';
import { cutOff, html, stalled } from './server';

const { net, folder, url, cache, outputs, kept } = servedNet();

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
    const content = change(net.files);
    if (content === undefined) delete net.server.pages[`/net/${name}`];
    else net.server.pages[`/net/${name}`] = content;
    const error = await refusal(loadLayers(url(), { cache: cache() }));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
    // A graph model is a whole download; it is not this loader's.
    if (title !== 'a graph model') expect(listed(folder())).toEqual([]);
  });

  test('offline with an empty cache: one sentence with the URL and the way out', async () => {
    await net.server.close();
    const error = await refused();
    expect(error.code).toBe('download-failed');
    expect(error.message).toBe(
      `'${url()}' cannot be downloaded (ECONNREFUSED) and is not in the cache: connect to its server, or pass the path of ` +
        "a copy on this machine as 'urlOrHandler'.",
    );
  });

  test('offline without a cache', async () => {
    await net.server.close();
    expect((await refused(url(), { cache: false })).message).not.toMatch('cache');
  });

  test('a damaged entry is no reason to fail otherwise than without one', async () => {
    await outputs();
    fs.truncateSync(kept('a1.bin'), 3);
    await net.server.close();
    expect((await refusal(loadLayers(url(), { cache: cache() }))).message).toMatch('and is not in the cache');
  });

  test.each([
    ['before it begins', 0],
    ['while the weights come', 1],
  ])('aborted %s: the reason of the signal', async (_, when) => {
    net.server.pages['/net/sub/b.bin'] = stalled(net.files['sub/b.bin'] as Uint8Array, 10);
    const controller = new AbortController();
    if (when === 0) controller.abort(new RangeError('enough'));
    const loading = loadLayers(url(), {
      cache: cache(),
      signal: controller.signal,
      onProgress: (fraction) => fraction > 0.5 && controller.abort(new RangeError('enough')),
    });
    await expect(loading).rejects.toThrow(new RangeError('enough'));
    expect(listed(folder())).toEqual([]);
    if (when === 0) expect(net.server.asked).toEqual([]);
  });

  test('aborted by the signal of requestInit', async () => {
    const requestInit = { signal: AbortSignal.abort(new RangeError('enough')) };
    await expect(loadLayers(url(), { cache: cache(), requestInit })).rejects.toThrow(new RangeError('enough'));
    expect(net.server.asked).toEqual([]);
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
    net.server.pages['/net/sub/b.bin'] = (response) => {
      response.on('close', () => {
        closed = true;
      });
      stalled(net.files['sub/b.bin'] as Uint8Array, 10);
      response.write('x');
    };
    net.server.pages['/net/a2.bin'] = page(500);
    await refused();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(closed).toBe(true);
  });
});
