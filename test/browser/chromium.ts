/** A real headless Chromium, and a server for the pages it opens. webgl and webgpu run on SwiftShader, in float32. */
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type BuildOptions, build, type Metafile } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) =>
  fs.existsSync(file),
);
if (CHROMIUM === undefined)
  console.warn('skipped: no Chromium found; the browser tests need one (Debian: apt-get install chromium)');

/** A `describe` for tests that need a browser; where there is none they are skipped, and the output says so. */
export const describeBrowser = CHROMIUM === undefined ? describe.skip : describe;

const ROOT = path.resolve(__dirname, '../..');

/**
 * A page's program in this folder, in one file as a user's bundler makes it.
 * @param options other settings of esbuild.
 * @returns the file, and what went into it.
 */
export async function bundle(
  file: string,
  options: BuildOptions = {},
): Promise<{ code: string; inputs: Metafile['inputs'] }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [path.join(__dirname, file)],
    bundle: true,
    write: false,
    metafile: true,
    platform: 'browser',
    format: 'iife',
    logLevel: 'silent',
    // Without the paths of this repository's tsconfig: 'tfjs-tune-mode' is the package as it was built.
    tsconfigRaw: {},
    ...options,
  });
  return { code: outputFiles?.[0].text ?? '', inputs: metafile?.inputs ?? {} };
}

export interface Site {
  /** Opens `/<page>`; everything that it complains about is added to `complaints`. */
  open(page: string, complaints: string[]): Promise<Page>;
  close(): Promise<void>;
}

/**
 * Starts a browser and a server. The server has the given pages (their HTML) and scripts, and under `/root/` the files of
 * the repository. Pages whose names begin with `isolated` are cross-origin isolated: they may use threads.
 */
export async function startSite(pages: Record<string, string>, scripts: Record<string, string> = {}): Promise<Site> {
  const server = http.createServer((request, response) => {
    const name = (request.url ?? '/').slice(1);
    if (name.startsWith('isolated')) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    if (name in pages) return send(response, 'text/html', pages[name]);
    if (name in scripts) return send(response, 'text/javascript', scripts[name]);
    if (name === 'favicon.ico') return send(response.writeHead(204), '', '');
    const file = path.join(ROOT, name.slice('root/'.length));
    if (!name.startsWith('root/') || !fs.existsSync(file)) return send(response.writeHead(404), 'text/plain', name);
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    send(response, file.endsWith('.wasm') ? 'application/wasm' : 'text/javascript', fs.readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const browser: Browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--enable-unsafe-swiftshader',
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      `--crash-dumps-dir=${os.tmpdir()}`,
    ],
  });
  return {
    async open(name, complaints) {
      const page = await browser.newPage();
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
      });
      await page.goto(`${address}/${name}`);
      return page;
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

function send(response: http.ServerResponse, type: string, body: string | Buffer): void {
  if (!response.headersSent) response.setHeader('Content-Type', type);
  response.end(body);
}
