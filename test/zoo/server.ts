/** A web server for models, which notes what it was asked for. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** Content, or what is done instead of sending it. */
export type Page = string | Uint8Array | ((response: http.ServerResponse, request: http.IncomingMessage) => void);

export interface Server {
  /** 'http://127.0.0.1:…' */
  address: string;
  /** Path with query → what is there. Anything else gives 404. */
  pages: Record<string, Page>;
  /** Paths that were asked for, in their order. */
  asked: string[];
  close(): Promise<void>;
}

export async function startServer(pages: Record<string, Page> = {}): Promise<Server> {
  const asked: string[] = [];
  const served: Server = { address: '', pages, asked, close };
  const server = http.createServer((request, response) => {
    const url = request.url ?? '/';
    asked.push(url);
    const page = served.pages[url];
    response.setHeader('Access-Control-Allow-Origin', '*'); // pages come from elsewhere
    if (typeof page === 'function') return page(response, request);
    if (page === undefined) return response.writeHead(404, { 'Content-Type': 'text/plain' }).end('no such file');
    response.setHeader('Content-Type', url.includes('.json') ? 'application/json' : 'application/octet-stream');
    response.end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  served.address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return served;

  async function close(): Promise<void> {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

export const html: Page = (response) =>
  void response.setHeader('Content-Type', 'text/html; charset=utf-8').end('<!doctype html><title>Welcome</title>');

/** Answers with another address. */
export const redirect =
  (to: string): Page =>
  (response) =>
    void response.writeHead(302, { Location: to }).end();

/** Sends the beginning, and closes the connection. */
export const cutOff =
  (content: Uint8Array, after: number): Page =>
  (response) => {
    response.setHeader('Content-Length', content.length);
    response.write(content.subarray(0, after), () => response.destroy());
  };

/** Sends the beginning, and then nothing. */
export const stalled =
  (content: Uint8Array, after: number): Page =>
  (response) => {
    response.setHeader('Content-Length', content.length);
    response.write(content.subarray(0, after));
  };
