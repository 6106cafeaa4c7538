/**
 * The core entry in a real page: bundled for the browser (which fails on any Node import) and run in headless Chromium.
 *
 * Tolerance: float32 on both backends, a few layers of a few dozen terms each: 1e-4 of the largest value. webgl runs on
 * SwiftShader here, in float32.
 */
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) =>
  fs.existsSync(file),
);
if (CHROMIUM === undefined)
  console.warn('skipped: no Chromium found; the browser tests need one (Debian: apt-get install chromium)');
const describeBrowser = CHROMIUM === undefined ? describe.skip : describe;

describeBrowser('in Chromium', () => {
  let browser: Browser;
  let server: http.Server;
  let page: Page;
  const errors: string[] = [];

  beforeAll(async () => {
    const bundled = await build({
      entryPoints: [path.join(__dirname, 'page.ts')],
      bundle: true,
      write: false,
      platform: 'browser',
      format: 'iife',
      mainFields: ['module', 'main'],
      logLevel: 'silent',
    });
    const script = bundled.outputFiles[0].text;
    server = http.createServer((request, response) => {
      const isScript = request.url === '/page.js';
      response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
      response.end(isScript ? script : '<!doctype html><title>test</title><script src="/page.js"></script>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--enable-unsafe-swiftshader',
        `--crash-dumps-dir=${os.tmpdir()}`,
      ],
    });
    page = await browser.newPage();
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  });

  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  test.each(['cpu', 'webgl'])('Tune equals Eval and Deploy on %s', async (backend) => {
    const result = await page.evaluate(
      (name) => (globalThis as unknown as { run(name: string): Promise<Record<string, number>> }).run(name),
      backend,
    );
    expect(result.pairs).toBe(4);
    expect(result.skipped).toBe(0);
    expect(result.activations).toBe(4);
    expect(result.outputs).toBeLessThan(1e-4);
    expect(result.gradients).toBeLessThan(1e-4);
    expect(result.deploy).toBeLessThan(1e-4);
    // Eval cannot train the dilated conv at all; Tune gives every weight a finite gradient.
    expect(result.gradientsOfAll).toBe(result.weights);
    expect(errors).toEqual([]);
  });

  // Tolerance: the same steps on the same backend in one page; webgl may choose other shaders for what it has seen before.
  test.each([
    ['cpu', 0],
    ['webgl', 1e-3],
  ])('fineTune in a page, stopped and gone on with from IndexedDB, on %s', async (backend, tolerance) => {
    const result = await page.evaluate(
      (name) => (globalThis as unknown as { tune(name: string): Promise<Record<string, unknown>> }).tune(name),
      backend,
    );
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
    expect(errors).toEqual([]);
  });
});
