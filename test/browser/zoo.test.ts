/**
 * The zoo in a real page: bundled for the browser from `dist`, by the `browser` condition of the package's `exports`, which
 * fails on any Node import. What is downloaded stays in the Cache API, models are saved in IndexedDB.
 */
import type { Page } from 'playwright-core';
import { disposeLayers } from '../fine-tune/toy';
import { useBackend } from '../helpers/backends';
import { filesOf, type ModelFiles, teachable, tinyFiles, under } from '../zoo/models';
import { html, type Server, startServer } from '../zoo/server';
import { bundle, describeBrowser, type Site, startSite } from './chromium';

/** What `zoo-page.ts` puts into the page. */
type InPage = Record<'load' | 'teachable' | 'download' | 'damage' | 'inCache', (...args: unknown[]) => Promise<Found>>;
// biome-ignore lint/suspicious/noExplicitAny: data out of a page, which the expectations name field by field
type Found = any;

const METADATA = {
  labels: ['apple', 'pear', 'plum'],
  imageSize: 16,
  tmVersion: '2.4.7',
  packageName: '@teachablemachine/image',
};

describeBrowser('the zoo in Chromium', () => {
  let site: Site;
  let server: Server;
  let page: Page;
  let files: ModelFiles;
  const complaints: string[] = [];

  beforeAll(async () => {
    await useBackend('cpu');
    site = await startSite(
      { zoo: '<!doctype html><title>test</title><script src="/page.js"></script>' },
      { 'page.js': (await bundle('zoo-page.ts')).code },
    );
    files = await tinyFiles();
  });
  afterAll(() => site?.close());
  beforeEach(async () => {
    server = await startServer(under('/net', files));
    complaints.length = 0;
    page = await site.open('zoo', complaints);
  });
  afterEach(async () => {
    await page.evaluate(() => caches.delete('tfjs-tune-mode'));
    await page.close();
    await server.close();
  });

  const call = (name: keyof InPage, ...args: unknown[]) =>
    page.evaluate(([n, given]) => (globalThis as unknown as InPage)[n](...given), [name, args] as const);
  const url = () => `${server.address}/net/model.json`;

  test('over http, then offline from the Cache API, then from IndexedDB: the same numbers', async () => {
    const first = await call('load', url());
    expect(first).toMatchObject({ mode: 'tune', pairs: 2, left: 0 });
    expect(first.progress[0]).toBe(0);
    expect(first.progress.at(-1)).toBe(1);
    for (let i = 1; i < first.progress.length; i++) expect(first.progress[i]).toBeGreaterThan(first.progress[i - 1]);
    expect(server.asked.sort()).toEqual(Object.keys(server.pages).sort());
    expect(await call('inCache')).toHaveLength(5);
    await server.close();
    const offline = await call('load', url());
    expect(offline).toEqual({ ...first, progress: [0, 1] });
    const kept = await call('load', 'indexeddb://kept');
    expect(kept.output).toEqual(first.output);
    expect(complaints).toEqual([]);
  });

  test('a damaged entry is fetched anew', async () => {
    const first = await call('load', url());
    await call('damage', 'a1.bin', 'short');
    server.asked.length = 0;
    expect((await call('load', url())).output).toEqual(first.output);
    expect(server.asked).toHaveLength(4);
    expect(await call('inCache')).toHaveLength(5);
  });

  test('another name of the cache, and none', async () => {
    await call('load', url(), { cache: 'mine' });
    expect(await page.evaluate(() => caches.keys())).toEqual(['mine']);
    await page.evaluate(() => caches.delete('mine'));
    await call('load', url(), { cache: false });
    expect(await call('inCache')).toEqual([]);
  });

  test('two loads at once', async () => {
    const both = await Promise.all([call('load', url()), call('load', url())]);
    expect(both[0].output).toEqual(both[1].output);
    await server.close();
    expect((await call('load', url())).output).toEqual(both[0].output);
  });

  test('what fails says why, and nothing is kept', async () => {
    expect(await call('load', `${server.address}/none/model.json`)).toMatchObject({
      code: 'download-failed',
      message: expect.stringMatching(/none\/model.json' answers with status 404/),
      left: 0,
    });
    server.pages['/net/a1.bin'] = html;
    expect((await call('load', url())).message).toMatch(/a1.bin' answers with a web page/);
    for (const place of ['indexeddb://nothing', 'localstorage://nothing']) {
      expect(await call('load', place)).toMatchObject({ code: 'not-found', left: 0 });
    }
    await server.close();
    const offline = await call('load', url());
    expect(offline.message).toMatch(
      /model.json' cannot be downloaded \(Failed to fetch\) and is not in the cache: connect to its server, or pass the URL of another copy/,
    );
    expect(await call('inCache')).toEqual([]);
  });

  test("a relative URL is the page's own", async () => {
    expect((await call('load', 'models/none.json')).message).toMatch(
      /^'http:\/\/127.*\/models\/none.json' answers with status 404/,
    );
  });

  describe('Teachable Machine', () => {
    beforeEach(async () => {
      const model = teachable(3);
      Object.assign(
        server.pages,
        under('/m', { ...(await filesOf(model)), 'metadata.json': JSON.stringify(METADATA) }),
      );
      disposeLayers(model);
    });

    test('elements as its own library takes them; fine-tuned, saved in IndexedDB, loaded again', async () => {
      const result = await call('teachable', `${server.address}/m`);
      expect(result).toMatchObject({ labels: ['red', 'blue'], imageSize: 16, left: 0 });
      expect(result.differences.small).toBe(0);
      expect(result.differences.canvas).toBe(0);
      // Resized by tfjs: a canvas gives whole numbers of 0…255, and has its own way of interpolating.
      expect(result.differences.pixels).toBeLessThan(3e-3);
      expect(new Set(result.kinds).size).toBe(1);
      expect(result.after).toEqual(result.before);
      expect(complaints.filter((text) => !text.includes('willReadFrequently'))).toEqual([]);
    });

    test('saved into the downloads, metadata.json beside the model', async () => {
      const { names, metadata, left } = await call('download', `${server.address}/m/`);
      expect(names.sort()).toEqual(['metadata.json', 'model.json', 'model.weights.bin']);
      expect(metadata).toMatchObject(METADATA);
      expect(left).toBe(0);
    });
  });
});
