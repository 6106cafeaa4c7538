import * as tf from '@tensorflow/tfjs-core';
import { checkOptionNames, TuneModeError } from '../../src/errors';
import { withoutEmscriptenListeners } from './crash-listeners';

export interface BackendOptions {
  /** Forces one: 'tfjs-node-gpu', 'tfjs-node', 'tensorflow' (either of these two), 'wasm' or 'cpu'. */
  backend?: string;
}

export interface BackendChoice {
  /** What `tf.getBackend()` says now: 'tensorflow', 'wasm' or 'cpu'. */
  backend: string;
  /** One sentence for people: why this backend and no faster one. */
  why: string;
}

/** One way to compute. */
interface Candidate {
  name: string;
  /** The name under which tfjs knows it. */
  backend: string;
  /** Loads what is needed and registers the backend. @returns undefined, or why that is not possible. */
  load(): Promise<string | undefined>;
}

/** From fastest to slowest. */
const CANDIDATES: readonly Candidate[] = [
  { name: 'tfjs-node-gpu', backend: 'tensorflow', load: () => loadNative('@tensorflow/tfjs-node-gpu') },
  { name: 'tfjs-node', backend: 'tensorflow', load: () => loadNative('@tensorflow/tfjs-node') },
  { name: 'wasm', backend: 'wasm', load: loadWasm },
  { name: 'cpu', backend: 'cpu', load: loadCpu },
];

/**
 * Switches tfjs to the fastest backend that works here: tfjs-node-gpu, then tfjs-node (each only where the user has
 * installed it), then wasm (with the training kernels that it lacks), then cpu. Each is tried with a small computation
 * before it is taken. Calling it again is harmless.
 *
 * Nothing is loaded before the call, and tfjs-node is not touched where another backend is forced.
 * @throws TuneModeError `unknown-backend` for a name that does not exist, `backend-unavailable` where the forced one
 * (or every one) does not start; the backend that was active before is then active again. `invalid-option`.
 */
export async function useBestBackend(options?: BackendOptions): Promise<BackendChoice> {
  checkOptionNames('useBestBackend', options, ['backend']);
  const wanted = options?.backend;
  const candidates = wanted === undefined ? CANDIDATES : named(wanted);
  const before = tf.getBackend();
  const reasons: string[] = [];
  for (const candidate of candidates) {
    const reason = await start(candidate);
    if (reason === undefined) return { backend: tf.getBackend(), why: explain(candidate, wanted, reasons) };
    reasons.push(reason);
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

function explain(candidate: Candidate, wanted: string | undefined, reasons: string[]): string {
  if (wanted !== undefined) return `Using ${candidate.name}, as asked for.`;
  const because = reasons.length === 0 ? 'it is the fastest, and it is installed' : reasons.join('; ');
  return `Using ${candidate.name}: ${because}.`;
}

/** @returns undefined when the backend is active and computes, or why it is not. */
async function start({ name, backend, load }: Candidate): Promise<string | undefined> {
  const reason = await load();
  if (reason !== undefined) return reason;
  try {
    const started = await withoutEmscriptenListeners(() => tf.setBackend(backend));
    if (!started) throw new Error('see the warning above');
    await tf.ready();
    // tfjs-node 4.22.0 loads under Node 23 and later, but then fails in its first tensor.
    const sum = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), 1).dataSync());
    if (sum[0] !== 2 || sum[1] !== 3) throw new Error('it computes wrong numbers');
    return undefined;
  } catch (error) {
    // tfjs-node and tfjs-node-gpu register under one name, and the first one stays: make room for the next.
    if (backend === 'tensorflow') tf.removeBackend(backend);
    return `${name} does not work here (${firstLine(error)})`;
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
