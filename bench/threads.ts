/**
 * `npm run bench:threads -- --model <dir>`: the same Tune step on one thread and on several, or, with `--data <folder>`,
 * whole runs of `tfjs-tune-mode finetune`. A process can only have one number of threads, so each measurement has a
 * process of its own; the numbers take turns, as whatever else runs on the machine comes and goes.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { enableProdMode } from '@tensorflow/tfjs-core';
import { useBestBackend } from '../adapters/node';
import { makeOptimizer, OPTIMIZER_NAMES } from '../src/fine-tune/optimizer';
import { table } from '../src/report';
import { modelPaths, nameOf, oneOf, progress, readOptions, runBench, wholeNumber, wholeNumbers } from './command-line';
import { median, timeStep } from './measure';
import { loadInMode, MODES, noiseFor } from './subjects';

const USAGE = `npm run bench:threads -- --model <folder or model.json> [--model …]
  --threads 1,2      numbers of threads; ratios are to the first
  --mode tune        ${MODES.join(', ')}
  --batch 16         pictures in a batch
  --steps 15         steps in each process, after three that are not counted
  --rounds 5         processes for each number of threads
  --optimizer adam   ${OPTIMIZER_NAMES.join(', ')}: fineTune's own
  --data <folder>    instead: a whole run of finetune on these pictures, as it is built
  --epochs 2         of that run`;

const WARM_UP = 3;

interface Times {
  /** Milliseconds of each step, or of the run. */
  ms: number[];
  /** Cores that other programs kept busy meanwhile, where that can be told. */
  others?: number;
}

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    model: { type: 'string', multiple: true },
    threads: { type: 'string', default: '1,2' },
    mode: { type: 'string', default: 'tune' },
    batch: { type: 'string', default: '16' },
    steps: { type: 'string', default: '15' },
    rounds: { type: 'string', default: '5' },
    optimizer: { type: 'string', default: 'adam' },
    data: { type: 'string' },
    epochs: { type: 'string', default: '2' },
    child: { type: 'boolean', default: false },
  });
  const paths = modelPaths(options.model);
  const numbers = wholeNumbers('threads', options.threads);
  const mode = oneOf('mode', options.mode, MODES);
  const batch = wholeNumber('batch', options.batch);
  const steps = wholeNumber('steps', options.steps);
  const rounds = wholeNumber('rounds', options.rounds);
  const optimizer = oneOf('optimizer', options.optimizer, OPTIMIZER_NAMES);
  const epochs = wholeNumber('epochs', options.epochs);
  if (options.child) {
    enableProdMode();
    await useBestBackend({ backend: 'wasm', threads: numbers[0] });
    const model = await loadInMode(paths[0], mode);
    // So small a rate that nothing drifts away while it is measured.
    model.compile({ optimizer: makeOptimizer(optimizer, 1e-9), loss: 'meanSquaredError' });
    const { x, y } = noiseFor(model, batch);
    for (let i = 0; i < WARM_UP; i++) await timeStep(model, x, y);
    const idle = watchOthers();
    const ms: number[] = [];
    for (let i = 0; i < steps; i++) ms.push(await timeStep(model, x, y));
    console.log(JSON.stringify({ ms, others: idle() } satisfies Times));
    return;
  }
  for (const model of paths) {
    const measure = (threads: number) => {
      if (options.data !== undefined) return finetune(model, options.data, epochs, batch, threads);
      const given = { model, threads, mode, batch, steps, optimizer };
      return inChild([...Object.entries(given).flatMap(([name, value]) => [`--${name}`, String(value)]), '--child']);
    };
    const found = await inTurn(numbers, rounds, measure);
    const what = options.data === undefined ? `${mode}, ${optimizer}` : `finetune, ${epochs} epochs, ${options.data}`;
    console.log(`${nameOf(model)}, ${what}, batch ${batch}; ${os.availableParallelism()} cores\n`);
    console.log(`${resultTable(numbers, found)}\n`);
  }
}

async function inTurn(numbers: number[], rounds: number, measure: (threads: number) => Promise<Times>) {
  const found = new Map<number, Times[]>(numbers.map((threads) => [threads, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const threads of numbers) {
      progress(`round ${round} of ${rounds}, ${threads} threads`);
      found.get(threads)?.push(await measure(threads));
    }
  }
  progress('');
  return found;
}

/** The quietest process is the one from which other programs took least. */
function resultTable(numbers: number[], found: Map<number, Times[]>): string {
  const rows = numbers.map((threads) => {
    const times = found.get(threads) ?? [];
    const all = times.flatMap(({ ms }) => ms);
    const [quietest] = [...times].sort((a, b) => (a.others ?? a.ms[0]) - (b.others ?? b.ms[0]));
    return { threads, quietest, figures: [median(all), median(quietest.ms), Math.min(...all)] };
  });
  return table(
    ['threads', 'ms, median', 'median of the quietest process', 'least', 'cores busy with other programs then'],
    rows.map(({ threads, quietest, figures }) => [
      String(threads),
      ...figures.map((ms, i) => `${ms.toFixed(1)} (${(rows[0].figures[i] / ms).toFixed(2)}×)`),
      quietest.others?.toFixed(2) ?? '',
    ]),
  );
}

async function inChild(given: string[]): Promise<Times> {
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, process.argv[1], ...given]);
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Times;
}

async function finetune(model: string, data: string, epochs: number, batch: number, threads: number): Promise<Times> {
  const out = fs.mkdtempSync(path.join(os.tmpdir(), 'bench-threads-'));
  const argv = ['finetune', '--model', model, '--data', data, '--out', path.join(out, 'run'), '--backend', 'wasm'];
  const numbers = ['--epochs', String(epochs), '--batch-size', String(batch), '--threads', String(threads)];
  const main = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
  try {
    const start = performance.now();
    await promisify(execFile)(process.execPath, [main, ...argv, ...numbers]);
    return { ms: [performance.now() - start] };
  } finally {
    fs.rmSync(out, { recursive: true, force: true });
  }
}

/** @returns A function that tells how many cores other programs kept busy since. */
function watchOthers(): () => number {
  const own = process.cpuUsage();
  const busy = busyMs();
  const start = performance.now();
  return () => {
    const { user, system } = process.cpuUsage(own);
    return (busyMs() - busy - (user + system) / 1000) / (performance.now() - start);
  };
}

function busyMs(): number {
  return os.cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0);
}

await runBench(USAGE, main);
