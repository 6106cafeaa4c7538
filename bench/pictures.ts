/**
 * `npx tsx bench/pictures.ts --data <folder>`: how long a training step that blocks its thread waits for pictures, decoded
 * in that thread and in others. Build first (`npm run build`): from the sources the threads run dist/picture-worker.js.
 */
import { parseArgs } from 'node:util';
import { dispose, enableProdMode } from '@tensorflow/tfjs-core';
import { loadPictureFolder, type PictureFolderOptions, useBestBackend } from '../adapters/node';
import { table } from '../src/report';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    size: { type: 'string', default: '224' },
    batch: { type: 'string', default: '16' },
    step: { type: 'string', default: '300' },
    epochs: { type: 'string', default: '2' },
    augment: { type: 'boolean', default: false },
  },
});
if (values.data === undefined) {
  console.error(
    'usage: npx tsx bench/pictures.ts --data <folder> [--size 224] [--batch 16] [--step 300 (ms)] [--epochs 2] [--augment]',
  );
  process.exit(2);
}
const data = values.data;
const stepMs = Number(values.step);

/** As a step on the wasm or native backend: nothing else runs in this thread. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

interface Waits {
  /** Milliseconds in all, before the first batch of each epoch, and the longest wait before any other. */
  all: number;
  first: number;
  longest: number;
  steps: number;
}

async function run(options: PictureFolderOptions): Promise<Waits[]> {
  const folder = await loadPictureFolder(data, {
    imageSize: Number(values.size),
    batchSize: Number(values.batch),
    onSkip: () => {},
    ...options,
  });
  const epochs: Waits[] = [];
  for (let epoch = 0; epoch < Number(values.epochs); epoch++) {
    const waits: number[] = [];
    let asked = performance.now();
    for await (const { xs, ys } of folder.train.batches({ epoch, shuffle: true, augment: values.augment })) {
      waits.push(performance.now() - asked);
      block(stepMs);
      dispose([xs, ys]);
      asked = performance.now();
    }
    const all = waits.reduce((sum, wait) => sum + wait, 0);
    epochs.push({ all, first: waits[0], longest: Math.max(0, ...waits.slice(1)), steps: waits.length });
  }
  await folder.close();
  return epochs;
}

enableProdMode();
const { backend } = await useBestBackend();
const rows: string[][] = [];
for (const [name, options] of [
  ['0', { workers: 0 }],
  ['default', {}],
] as const) {
  (await run(options)).forEach(({ all, first, longest, steps }, epoch) => {
    const share = (100 * all) / (all + steps * stepMs);
    rows.push([
      name,
      String(epoch + 1),
      ...[all / steps, first, longest].map((ms) => ms.toFixed(0)),
      `${share.toFixed(1)} %`,
    ]);
  });
}
console.log(`${data}, ${values.size} pixels, batch ${values.batch}, steps of ${stepMs} ms, backend ${backend}\n`);
console.log(table(['workers', 'epoch', 'wait ms/step', 'first ms', 'longest other ms', 'share waited'], rows));
