/** The thread in which HDF5 runs, asked while wakes that belong to no answer keep coming. */
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { H5Thread } from '../../../adapters/keras/files/h5-thread';
import { TuneModeError } from '../../../src/errors';
import { makeFolder } from './h5-python';

const folder = makeFolder();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const fail = () => new TuneModeError('invalid-model-file', 'HDF5 fails');

/** Wakes whoever waits for an answer, over and over. */
async function startWaking(thread: H5Thread): Promise<Worker> {
  const { signal } = thread as unknown as { signal: Int32Array };
  const program = `
const { parentPort, workerData } = require('node:worker_threads');
const signal = new Int32Array(workerData);
parentPort.postMessage('ready');
(function wake() {
  for (let i = 0; i < 1000; i++) Atomics.notify(signal, 0);
  setImmediate(wake);
})();`;
  const worker = new Worker(program, { eval: true, execArgv: [], workerData: signal.buffer });
  await new Promise((resolve) => worker.once('message', resolve));
  return worker;
}

// The wake of an answer that was seen before its asker went to sleep comes during the next call. It must not pass for
// that call's answer.
test('a wake without an answer is not taken for one', async () => {
  const thread = await H5Thread.start(path.join(folder, 'woken.h5'));
  const waker = await startWaking(thread);
  try {
    thread.call('open', [4], fail);
    for (let i = 0; i < 300; i++) {
      thread.call('group', [`/group${i}`], fail);
      expect(thread.call('look', [`/group${i}`], fail)).toEqual({ kind: 'group' });
    }
    expect(thread.call<string[]>('names', ['/'], fail)).toHaveLength(300);
  } finally {
    await waker.terminate();
    await thread.close();
  }
});

test('each answer belongs to its question, and a failure takes none of the answers after it', async () => {
  const thread = await H5Thread.start(path.join(folder, 'turns.h5'));
  const waker = await startWaking(thread);
  try {
    thread.call('open', [4], fail);
    thread.call('group', ['/there'], fail);
    for (let i = 0; i < 100; i++) {
      expect(() => thread.call('look', ['/nothing/in/here'], fail)).toThrow('HDF5 fails');
      expect(thread.call('look', ['/there'], fail)).toEqual({ kind: 'group' });
    }
  } finally {
    await waker.terminate();
    await thread.close();
  }
});
