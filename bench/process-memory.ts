/**
 * What a training step does to its process: the wasm heap never shrinks and RSS seldom does, so each mode has a process
 * of its own. `bench.ts` starts itself again with `--child <mode>` for it.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { promisify } from 'node:util';
import { heapSize, timeStep } from './measure';
import { type BenchMode, compileFor, loadInMode, noiseFor } from './subjects';

export interface ProcessMemory {
  /** The wasm heap after loading the model, after the first step, and after the third; null on other backends. */
  heap: [loaded: number, first: number, third: number] | null;
  /** Resident bytes after loading the model, and the most there were from then on. */
  rss: [loaded: number, peak: number];
}

const STEPS = 3;

/** In the child: RSS is read off the operating system's own high-water mark, since a step blocks every timer. */
export async function weighProcess(path: string, mode: BenchMode, batch: number): Promise<ProcessMemory> {
  const model = await loadInMode(path, mode);
  compileFor(model);
  const { x, y } = noiseFor(model, batch);
  const heap = [heapSize()];
  globalThis.gc?.();
  const restarted = restartHighWaterMark();
  const loaded = process.memoryUsage.rss();
  for (let step = 1; step <= STEPS; step++) {
    await timeStep(model, x, y);
    if (step === 1 || step === STEPS) heap.push(heapSize());
  }
  const peak = restarted ? highWaterMark() : process.resourceUsage().maxRSS * 1024;
  return { heap: heap.includes(null) ? null : (heap as [number, number, number]), rss: [loaded, peak] };
}

/** In the parent: the same bench in a new process, with the loader that this one runs under. */
export async function weighInChild(
  path: string,
  mode: BenchMode,
  batch: number,
  backend: string,
): Promise<ProcessMemory> {
  const options = ['--child', mode, '--model', path, '--batch', String(batch), '--backend', backend];
  const argv = [...process.execArgv, process.argv[1], ...options];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as ProcessMemory;
}

/** Linux only; elsewhere the mark is that of the whole process, loading included. */
function restartHighWaterMark(): boolean {
  try {
    fs.writeFileSync('/proc/self/clear_refs', '5');
    return true;
  } catch {
    return false;
  }
}

function highWaterMark(): number {
  const [, kib] = /VmHWM:\s+(\d+) kB/.exec(fs.readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kib) * 1024;
}
