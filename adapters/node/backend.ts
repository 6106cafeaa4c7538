import os from 'node:os';
import * as tf from '@tensorflow/tfjs-core';
import { checkOptionNames, TuneModeError } from '../../src/errors';
import { withoutEmscriptenListeners } from './crash-listeners';
import { runningThreads } from './threads/running';
import { checkThreads, inWords, useThreads } from './threads/use-threads';

export interface BackendOptions {
  /** Forces one: 'tfjs-node-gpu', 'tfjs-node', 'tensorflow' (either of these two), 'wasm' or 'cpu'. */
  backend?: string;
  /**
   * How many threads compute on wasm, 1 to 64: as many as the machine has cores that are not busy otherwise, or fewer. To
   * be asked for before wasm starts. Results are the same to rounding, and bit-identical in every run with the same
   * number. Default 1.
   */
  threads?: number;
}

export interface BackendChoice {
  /** What `tf.getBackend()` says now: 'tensorflow', 'wasm' or 'cpu'. */
  backend: string;
  /** One sentence for people: why this backend and no faster one. */
  why: string;
  /** How many threads compute. Absent with tfjs-node and tfjs-node-gpu, which see to that themselves. */
  threads?: number;
}

/** One way to compute. */
interface Candidate {
  name: string;
  /** The name under which tfjs knows it. */
  backend: string;
  /** Loads what is needed and registers the backend. @returns undefined, or why that is not possible. */
  load(): Promise<string | undefined>;
  /** Why it has no use for `threads`; absent where it has. */
  ownThreads?: string;
}

const NATIVE = { backend: 'tensorflow', ownThreads: 'takes the cores that it wants by itself' };

/** From fastest to slowest. */
const CANDIDATES: readonly Candidate[] = [
  { ...NATIVE, name: 'tfjs-node-gpu', load: () => loadNative('@tensorflow/tfjs-node-gpu') },
  { ...NATIVE, name: 'tfjs-node', load: () => loadNative('@tensorflow/tfjs-node') },
  { name: 'wasm', backend: 'wasm', load: loadWasm },
  { name: 'cpu', backend: 'cpu', load: loadCpu, ownThreads: 'always computes on one thread' },
];

/**
 * Switches tfjs to the fastest backend that works here: tfjs-node-gpu, then tfjs-node (each only where the user has
 * installed it), then wasm (with the training kernels that it lacks), then cpu. Each is tried with a small computation
 * before it is taken. Calling it again is harmless. Where `threads` cannot be started, wasm computes on one.
 *
 * Nothing is loaded before the call, and tfjs-node is not touched where another backend is forced.
 * @throws TuneModeError `unknown-backend` for a name that does not exist, `backend-unavailable` where the forced one
 * (or every one) does not start, and where wasm runs already on another number of threads; the backend that was active
 * before is then active again. `invalid-option`.
 */
export async function useBestBackend(options?: BackendOptions): Promise<BackendChoice> {
  checkOptionNames('useBestBackend', options, ['backend', 'threads']);
  const wanted = options?.backend;
  const threads = options?.threads;
  checkThreads(threads);
  const candidates = wanted === undefined ? CANDIDATES : named(wanted);
  if (threads !== undefined) refuseUseless(threads, candidates);
  const before = tf.getBackend();
  const reasons: string[] = [];
  for (const candidate of candidates) {
    const { failure, withoutThreads } = await start(candidate, threads);
    if (failure === undefined) {
      const why = explain(candidate, wanted, reasons, threadsNote(candidate, threads, withoutThreads));
      const choice = { backend: tf.getBackend(), why };
      return candidate.backend === 'tensorflow' ? choice : { ...choice, threads: threadsOf(candidate) };
    }
    reasons.push(failure);
  }
  if (before && tf.findBackendFactory(before)) await tf.setBackend(before);
  const what = wanted === undefined ? 'No backend can' : `The backend '${wanted}' cannot`;
  throw new TuneModeError(
    'backend-unavailable',
    `${what} be used here: ${reasons.join('; ')}. Call useBestBackend() without 'backend' to take the best that works.`,
  );
}

function named(wanted: unknown): readonly Candidate[] {
  if (typeof wanted !== 'string') {
    throw new TuneModeError(
      'invalid-option',
      `useBestBackend: option 'backend' must be a string; found ${JSON.stringify(wanted)}.`,
    );
  }
  const found = CANDIDATES.filter(({ name, backend }) => name === wanted || backend === wanted);
  if (found.length === 0) {
    const valid = [...new Set(CANDIDATES.flatMap(({ name, backend }) => [name, backend]))];
    throw new TuneModeError(
      'unknown-backend',
      `There is no backend '${wanted}'. Valid backends: ${valid.map((name) => `'${name}'`).join(', ')}.`,
    );
  }
  return found;
}

/** @throws TuneModeError `invalid-option` where threads are wanted of a backend that was forced and has no use for them. */
function refuseUseless(threads: number, candidates: readonly Candidate[]): void {
  if (threads === 1 || candidates.some(({ ownThreads }) => ownThreads === undefined)) return;
  const [{ name, ownThreads }] = candidates;
  throw new TuneModeError(
    'invalid-option',
    `useBestBackend: option 'threads' is for the backend 'wasm'; found ${threads} with '${name}', which ${ownThreads}. ` +
      "Leave it out, or take backend: 'wasm'.",
  );
}

/** What is to be said after the backend's name. */
function threadsNote(candidate: Candidate, wanted: number | undefined, withoutThreads: string | undefined): string {
  const { ownThreads } = candidate;
  if (ownThreads !== undefined) {
    return wanted === undefined || wanted === 1 ? '' : ` ('threads' has no effect: it ${ownThreads})`;
  }
  if (withoutThreads !== undefined) return ` on one thread (${wanted} cannot be started: ${withoutThreads})`;
  const threads = threadsOf(candidate);
  if (threads === 1) return '';
  const cores = os.availableParallelism();
  return ` on ${inWords(threads)}${threads > cores ? ` (more than can run at a time here: ${cores})` : ''}`;
}

function threadsOf({ backend }: Candidate): number {
  return backend === 'wasm' ? (runningThreads() ?? 1) : 1;
}

function explain({ name }: Candidate, wanted: string | undefined, reasons: string[], note: string): string {
  if (wanted !== undefined) return `Using ${name}${note}, as asked for.`;
  const because = reasons.length === 0 ? 'it is the fastest, and it is installed' : reasons.join('; ');
  return `Using ${name}${note}: ${because}.`;
}

interface Outcome {
  /** Why the backend is not active; absent where it is, and computes. */
  failure?: string;
  /** Why it computes without the threads that were asked for. */
  withoutThreads?: string;
}

async function start({ name, backend, load }: Candidate, threads: number | undefined): Promise<Outcome> {
  const failure = await load();
  if (failure !== undefined) return { failure };
  const withoutThreads = backend === 'wasm' && threads !== undefined ? await useThreads(threads) : undefined;
  try {
    const started = await withoutEmscriptenListeners(() => tf.setBackend(backend));
    if (!started) throw new Error('see the warning above');
    await tf.ready();
    // tfjs-node 4.22.0 loads under Node 23 and later, but then fails in its first tensor.
    const sum = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), 1).dataSync());
    if (sum[0] !== 2 || sum[1] !== 3) throw new Error('it computes wrong numbers');
    return { withoutThreads };
  } catch (error) {
    // tfjs-node and tfjs-node-gpu register under one name, and the first one stays: make room for the next.
    if (backend === 'tensorflow') tf.removeBackend(backend);
    return { failure: `${name} does not work here (${firstLine(error)})` };
  }
}

/** tfjs-node and tfjs-node-gpu register the backend 'tensorflow' as they are imported. */
async function loadNative(packageName: string): Promise<string | undefined> {
  const already = tf.findBackendFactory('tensorflow') !== null;
  let loaded: { Tensor?: unknown; default?: { Tensor?: unknown } };
  try {
    loaded = await import(packageName);
  } catch (error) {
    if (isMissing(error, packageName)) return `${packageName} is not installed`;
    return `${packageName} is installed but fails to load (${firstLine(error)})`;
  }
  // Two copies of tfjs-core share one engine, but not their classes: half of what follows would fail oddly.
  const Tensor = loaded.Tensor ?? loaded.default?.Tensor;
  if (Tensor !== undefined && Tensor !== tf.Tensor) {
    if (!already) tf.removeBackend('tensorflow');
    return `${packageName} is installed but brings a second copy of @tensorflow/tfjs-core (install version ${tf.version_core} of both)`;
  }
  return tf.findBackendFactory('tensorflow') ? undefined : `${packageName} is installed but registers no backend`;
}

async function loadWasm(): Promise<string | undefined> {
  try {
    // In Node the package finds its .wasm files beside itself, under ESM, CommonJS and jest alike.
    await import('@tensorflow/tfjs-backend-wasm');
    const { registerWasmTrainingKernels } = await import('../wasm/register');
    registerWasmTrainingKernels();
    return undefined;
  } catch (error) {
    return `wasm fails to load (${firstLine(error)})`;
  }
}

async function loadCpu(): Promise<string | undefined> {
  try {
    await import('@tensorflow/tfjs-backend-cpu');
    return undefined;
  } catch (error) {
    return `cpu fails to load (${firstLine(error)})`;
  }
}

/** Whether the package itself is missing, not one of the files that it needs in turn. */
function isMissing(error: unknown, packageName: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
  return missing && (message.includes(`package '${packageName}'`) || message.includes(`module '${packageName}'`));
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String((error as { message?: unknown })?.message ?? error);
  return message.split('\n')[0].trim().replace(/\.$/, '');
}
