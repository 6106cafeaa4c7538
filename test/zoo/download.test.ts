/** Models over http: what is asked of the server, and how a download tells its progress. */
import { loadLayers } from 'tfjs-tune-mode/zoo';
import { refusal } from '../fine-tune/toy';
import { under } from './models';
import { servedNet } from './served-net';
import { redirect } from './server';

const { net, url, cache, outputs } = servedNet();
const shards = ['a1.bin', 'a2.bin', 'sub/b.bin'];

describe('addresses', () => {
  test('a folder with / at its end, and a fragment', async () => {
    const first = await outputs({}, `${net.server.address}/net/`);
    expect(await outputs({}, `${url()}#top`)).toEqual(first);
    expect(net.server.asked).toHaveLength(4);
  });

  test('without a / at its end it is asked as it is', async () => {
    net.server.pages['/net'] = net.files['model.json'];
    net.server.pages = { ...net.server.pages, ...under('', net.files) };
    await outputs({}, `${net.server.address}/net`);
    expect(net.server.asked).toContain('/net');
    expect(net.server.asked).toContain('/a1.bin');
  });

  test('a redirect of every file', async () => {
    for (const name of Object.keys(net.files)) net.server.pages[`/old/${name}`] = redirect(`/net/${name}`);
    await outputs({}, `${net.server.address}/old/model.json`);
    expect(net.server.asked).toHaveLength(8);
  });

  test('fromTFHub adds what tfjs-converter adds, and its query to the weights', async () => {
    net.server.pages = under('/module/1', net.files, '?tfjs-format=file');
    await outputs({ fromTFHub: true }, `${net.server.address}/module/1`);
    expect(net.server.asked.sort()).toEqual(Object.keys(net.server.pages).sort());
  });

  test('weightUrlConverter, fetchFunc and requestInit', async () => {
    net.server.pages = { ...under('/net', { 'model.json': net.files['model.json'] }), ...under('/weights', net.files) };
    const fetched: [string, unknown][] = [];
    const fetchFunc: typeof fetch = (input, init) => {
      fetched.push([String(input), new Headers(init?.headers).get('X-Key')]);
      return fetch(input, init);
    };
    await outputs({
      weightUrlConverter: async (name) => `${net.server.address}/weights/${name}`,
      fetchFunc,
      requestInit: { headers: { 'X-Key': 'k' } },
    });
    expect(fetched.map(([, key]) => key)).toEqual(['k', 'k', 'k', 'k']);
    expect(fetched.slice(1).map(([where]) => where.slice(net.server.address.length))).toEqual(
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
    net.server.pages['/net/a2.bin'] = (net.files['a2.bin'] as Uint8Array).slice(1);
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
