/** A small net on a server, and a folder that its downloads are kept in: anew for each test of a file. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayers } from 'tfjs-tune-mode/zoo';
import { temporaryFolder } from '../adapters/node/temporary-folder';
import { useBackend } from '../helpers/backends';
import { inputsFor, predictions } from '../helpers/models';
import { type ModelFiles, tinyFiles, under } from './models';
import { type Server, startServer } from './server';

/** Call at the top of a test file. Each test must leave as many tensors as it found. */
export function servedNet() {
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

  const net = {
    get files() {
      return files;
    },
    get server() {
      return server;
    },
  };
  return { net, folder, url, cache, outputs, kept };
}
