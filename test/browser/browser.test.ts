/**
 * The package in a real page, on every backend that a page has: bundled for the browser (which fails on any Node import)
 * from `dist`, by the names and the `exports` map that a user's bundler goes by.
 */
import type { Page } from 'playwright-core';
import { rowsOn } from '../backends/rows';
import { bundle, describeBrowser, type Site, startSite } from './chromium';

/** What `page.ts` puts into the page. */
interface InPage {
  start(backend: string): Promise<boolean>;
  checkRow(name: string, backend: string): Promise<void>;
  tune(backend: string): Promise<Record<string, unknown>>;
}

/** What Chromium and tfjs's webgpu backend say of slow reading. */
const HARMLESS = /synchronously reading data from GPU|GPU stall due to ReadPixels/;

describeBrowser('in Chromium', () => {
  let site: Site;
  const html = '<!doctype html><title>test</title><script src="/page.js"></script>';

  beforeAll(async () => {
    site = await startSite({ page: html, isolated: html }, { 'page.js': (await bundle('page.ts')).code });
  });
  afterAll(() => site?.close());

  describe.each([
    ['cpu', 'page'],
    ['wasm', 'page'],
    ['wasm', 'isolated'],
    ['webgl', 'page'],
    ['webgpu', 'page'],
  ])('%s in a page (%s)', (backend, name) => {
    let page: Page;
    const complaints: string[] = [];

    beforeAll(async () => {
      page = await site.open(name, complaints);
      const threads = await page.evaluate((b) => (globalThis as unknown as InPage).start(b), backend);
      expect(threads).toBe(name === 'isolated');
    });
    afterAll(() => page?.close());

    test.each(rowsOn(backend))('$title', async (row) => {
      complaints.length = 0;
      await page.evaluate(([r, b]) => (globalThis as unknown as InPage).checkRow(r, b), [row.name, backend]);
      if (row.title === row.name) expect(complaints.filter((text) => !HARMLESS.test(text))).toEqual([]);
    });

    // The same steps on the same backend: webgl and webgpu may choose other programs for what they have seen before.
    const tolerance = backend.startsWith('web') ? 1e-3 : 0;

    test('fineTune, stopped and gone on with from IndexedDB', async () => {
      complaints.length = 0;
      const result = await page.evaluate((b) => (globalThis as unknown as InPage).tune(b), backend);
      expect(result).toMatchObject({
        pairs: 4,
        endings: ['finished', 'interrupted', 'finished'],
        epochs: 4,
        trained: true,
      });
      expect(result.left).toBe(0);
      // Two colours far apart: guessing gives 0.5.
      expect(result.accuracy).toBeGreaterThan(0.9);
      expect(result.curve).toBeLessThanOrEqual(tolerance);
      expect(complaints.filter((text) => !HARMLESS.test(text))).toEqual([]);
    });
  });
});
