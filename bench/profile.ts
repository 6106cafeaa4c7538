/**
 * `npm run bench:profile -- --model <dir> --mode tune`: where the time of a training step goes, kernel by kernel, or with
 * `--shapes` shape by shape; with `--memory` what is on the wasm heap at the step's peak.
 */
import { dispose, enableProdMode, getBackend, type TensorInfo } from '@tensorflow/tfjs-core';
import { useBestBackend } from '../adapters/node';
import { table } from '../src/report';
import { modelPaths, nameOf, oneOf, readOptions, runBench, wholeNumber } from './command-line';
import { type KernelCall, kernelTable, timeKernels, watchKernels } from './kernel-times';
import { heapPeakOf, warmUp } from './measure';
import { compileFor, loadInMode, MODES, type NoiseBatch, noiseFor, OPTIMIZERS } from './subjects';

const USAGE = `npm run bench:profile -- --model <folder or model.json> [--model …]
  --mode tune       ${MODES.join(', ')}
  --batch 8         pictures in a batch
  --rounds 7        medians over so many steps, after a warm-up
  --optimizer sgd   ${OPTIMIZERS.join(', ')}
  --backend         wasm, cpu, tfjs-node or tfjs-node-gpu; default the fastest that works
  --shapes          a row for each kernel and shape, not only for each kernel
  --top 40          so many rows, and one for all others
  --memory          instead of times: what is on the wasm heap when there is most
  --json            the rows as JSON, a line for each model`;

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    model: { type: 'string', multiple: true },
    mode: { type: 'string', default: 'tune' },
    batch: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '7' },
    optimizer: { type: 'string', default: 'sgd' },
    backend: { type: 'string' },
    shapes: { type: 'boolean', default: false },
    top: { type: 'string', default: '40' },
    memory: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  });
  const paths = modelPaths(options.model);
  const mode = oneOf('mode', options.mode, MODES);
  const batch = wholeNumber('batch', options.batch);
  const rounds = wholeNumber('rounds', options.rounds);
  const top = wholeNumber('top', options.top);
  const optimizer = oneOf('optimizer', options.optimizer, OPTIMIZERS);
  enableProdMode();
  const { why } = await useBestBackend(options.backend === undefined ? {} : { backend: options.backend });
  console.error(why);
  for (const path of paths) {
    const model = await loadInMode(path, mode);
    const made = compileFor(model, optimizer);
    const noise: NoiseBatch = noiseFor(model, batch);
    const step = () => model.trainOnBatch(noise.x, noise.y);
    await warmUp(step);
    const title = `${nameOf(path)}, ${mode}, batch ${batch}, ${optimizer}, backend ${getBackend()}`;
    if (options.memory) await weigh(title, step, top, options.json);
    else {
      const times = await timeKernels(step, rounds, options.shapes ? withShapes : undefined);
      if (options.json) console.log(JSON.stringify({ model: path, mode, batch, optimizer, ...times }));
      else {
        console.log(`${title}, ${rounds} steps\n`);
        console.log(`${kernelTable(times, options.shapes ? 'kernel and shapes' : 'kernel', top)}\n`);
      }
    }
    dispose([noise.x, noise.y]);
    made.dispose();
    model.dispose();
  }
}

/** `Conv2D x 8×56×56×32, filter 1×1×32×32 → 8×56×56×32 /1` */
function withShapes({ name, inputs, outputs, attrs }: KernelCall): string {
  const shape = (info: TensorInfo) => (info.shape.length === 0 ? 'scalar' : info.shape.join('×'));
  const given = Object.entries(inputs).flatMap(([key, info]) => (info === undefined ? [] : [`${key} ${shape(info)}`]));
  const strides = attrs.strides === undefined ? '' : ` /${[attrs.strides].flat()[0]}`;
  const activation = typeof attrs.activation === 'string' ? ` ${attrs.activation}` : '';
  return `${name} ${given.join(', ')} → ${outputs.map(shape).join(', ')}${strides}${activation}`;
}

/** The blocks that make up the peak, by the kernel that allocated them. */
async function weigh(title: string, step: () => Promise<unknown>, top: number, json: boolean): Promise<void> {
  let running: string | null = null;
  const watch = {
    onBegin: (name: string) => {
      running = name;
    },
    onCall: () => {
      running = null;
    },
  };
  const peak = await watchKernels(() => heapPeakOf(step, () => running ?? 'data written from JavaScript'), watch);
  if (peak === null) {
    console.log(`${title}: --memory reads the wasm heap, which this backend does not have.`);
    return;
  }
  const found = new Map<string, { bytes: number; blocks: number }>();
  for (const { bytes, label } of peak.blocks) {
    const heading = `${label} ${(bytes / 1e6).toFixed(2)} MB`;
    const row = found.get(heading) ?? { bytes: 0, blocks: 0 };
    row.bytes += bytes;
    row.blocks++;
    found.set(heading, row);
  }
  const rows = [...found].map(([heading, row]) => ({ heading, ...row })).sort((a, b) => b.bytes - a.bytes);
  if (json) {
    console.log(JSON.stringify({ title, bytes: peak.bytes, rows }));
    return;
  }
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  const rest = rows.slice(top).reduce((sum, { bytes }) => sum + bytes, 0);
  const cells = rows.slice(0, top).map(({ heading, bytes, blocks }) => [heading, String(blocks), mb(bytes)]);
  if (rest > 0) cells.push([`${rows.length - top} others`, '', mb(rest)]);
  console.log(`${title}: ${mb(peak.bytes)} MB at the peak, above what was there before the step\n`);
  console.log(`${table(['made by, and size of a block', 'blocks', 'MB'], cells)}\n`);
}

await runBench(USAGE, main);
