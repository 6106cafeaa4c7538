/**
 * Memory of a conversion: `npm run bench:convert [-- --megabytes 504]`. A net of that size is made on disk; each conversion
 * runs in a process of its own, and what counts is how far its largest resident size lies above that of a process that has
 * only started the backend, and above that plus the model's weights.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { layers, sequential } from '@tensorflow/tfjs-layers';
import { writeFolder } from '../adapters/convert/write-folder';
import { useBestBackend } from '../adapters/node';
import { seededRandom } from '../src/random';
import { table } from '../src/report';
import { readOptions, runBench, wholeNumber } from './command-line';

/** Channels of each 1 × 1 convolution: 12 MiB of weights. */
const CHANNELS = 1773;
const BLOCK_BYTES = 4 * (CHANNELS * CHANNELS + 4 * CHANNELS);
const MB = 1e6;

const USAGE = 'npm run bench:convert -- [--megabytes <size of the model>]';

if (process.argv[2] === '--conversion') await convertHere(process.argv[3], process.argv[4], process.argv[5]);
else await runBench(USAGE, main);

async function convertHere(input: string, output: string, options: string): Promise<void> {
  const { convert } = await import('../adapters/convert');
  await useBestBackend({ backend: 'wasm' });
  if (input !== '-') await convert(input, output, JSON.parse(options));
  console.log(process.resourceUsage().maxRSS * 1024);
}

async function main(): Promise<void> {
  const given = readOptions(USAGE, { megabytes: { type: 'string', default: '504' } });
  const megabytes = wholeNumber('megabytes', given.megabytes as string);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tune-mode-bench-'));
  try {
    const blocks = Math.max(1, Math.round((megabytes * MB) / BLOCK_BYTES));
    const model = path.join(folder, 'model');
    fs.mkdirSync(model);
    const bytes = await makeModel(model, blocks);
    const h5 = path.join(folder, 'model.h5');
    const idle = run('-', '-', {});
    const rows: string[][] = [];
    for (const verify of [false, true]) {
      for (const [name, input, output, options] of [
        ['layers → layers, tune', model, path.join(folder, 'tune'), {}],
        ['layers → layers, deploy', model, path.join(folder, 'deploy'), { mode: 'deploy' }],
        ['layers → .h5', model, h5, {}],
        ['.h5 → layers, tune', h5, path.join(folder, 'back'), {}],
      ] as const) {
        const most = run(input, output, { ...options, verify, force: true });
        const over = most - idle;
        rows.push([name, verify ? 'yes' : 'no', mb(over), mb(over - bytes)]);
      }
    }
    console.log(`${mb(bytes)} of weights in ${blocks} blocks; a process with the backend alone: ${mb(idle)}\n`);
    console.log(table(['conversion', 'verified', 'more than that', 'more than that and the model'], rows));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

function run(input: string, output: string, options: object): number {
  const argv = [
    '--import',
    'tsx',
    path.resolve('bench/convert.ts'),
    '--conversion',
    input,
    output,
    JSON.stringify(options),
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`'${input}' was not converted: ${stderr}`);
  return Number(stdout.trim().split('\n').at(-1));
}

/** 1 × 1 convolutions with BatchNorms, written weight by weight. */
async function makeModel(folder: string, blocks: number): Promise<number> {
  await useBestBackend({ backend: 'cpu' });
  const random = seededRandom('bench:convert');
  const kernel = Float32Array.from({ length: CHANNELS * CHANNELS }, () => (2 * random() - 1) / Math.sqrt(CHANNELS));
  const small = sequential({
    layers: Array.from({ length: blocks }).flatMap((_, i) => [
      layers.conv2d({
        name: `conv_${i}`,
        filters: 1,
        kernelSize: 1,
        useBias: false,
        ...(i === 0 ? { inputShape: [4, 4, 1] } : {}),
      }),
      layers.batchNormalization({ name: `bn_${i}` }),
    ]),
  });
  // Its topology with more channels: the model itself is never built here.
  const text = JSON.stringify(small.toJSON(undefined, false))
    .replaceAll('"filters":1,', `"filters":${CHANNELS},`)
    .replaceAll('[null,4,4,1]', `[null,4,4,${CHANNELS}]`);
  const weights = Array.from({ length: blocks }).flatMap((_, i) => [
    { name: `conv_${i}/kernel`, shape: [1, 1, CHANNELS, CHANNELS], dtype: 'float32' as const, read: () => kernel },
    ...['gamma', 'beta', 'moving_mean', 'moving_variance'].map((name) => ({
      name: `bn_${i}/${name}`,
      shape: [CHANNELS],
      dtype: 'float32' as const,
      read: () => new Float32Array(CHANNELS).fill(name === 'gamma' || name === 'moving_variance' ? 1 : 0),
    })),
  ]);
  await writeFolder(folder, { format: 'layers-model', modelTopology: JSON.parse(text) }, weights, 4 * 2 ** 20);
  return blocks * BLOCK_BYTES;
}

function mb(bytes: number): string {
  return `${(bytes / MB).toFixed(0)} MB`;
}
