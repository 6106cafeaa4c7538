/**
 * The program of a thread that reads pictures for `DecodePool`, one after the other. It knows nothing of tfjs, so that
 * it starts quickly and stays small.
 */
import { parentPort } from 'node:worker_threads';
import type { FromWorker, ToWorker } from './decode-pool';
import { type PictureRequest, readPicture } from './read-picture';

const port = parentPort!;
let queue: { id: number; request: PictureRequest }[] = [];
let isBusy = false;

port.on('message', (message: ToWorker) => {
  if ('drop' in message) {
    const dropped = new Set(message.drop);
    queue = queue.filter(({ id }) => !dropped.has(id));
    return;
  }
  queue.push(message);
  if (!isBusy) void work();
});

async function work(): Promise<void> {
  isBusy = true;
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
    const { id, request } = job;
    send({ began: id });
    try {
      const reading = await readPicture(request);
      send({ id, reading }, 'pixels' in reading ? [reading.pixels.buffer] : []);
    } catch (error) {
      send({ id, error });
    }
  }
  isBusy = false;
}

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}
