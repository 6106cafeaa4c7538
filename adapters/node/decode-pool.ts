import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { TuneModeError } from '../../src/errors';
import { type PictureReading, type PictureRequest, readPicture } from './read-picture';

/** Reads pictures, in this thread or in others. */
export interface PictureReader {
  /** Whether it reads while this thread is busy, so that asking ahead is worth it. */
  readonly isBeside: boolean;
  /**
   * @param pass any object that names who asks, for `drop`.
   * @throws TuneModeError `unsupported` if a thread cannot be started, or `close` comes first.
   */
  read(request: PictureRequest, pass: object): Promise<PictureReading>;
  /** What this pass has asked for and not got yet is not needed any more. */
  drop(pass: object): void;
  /** Ends the threads; reading again starts them again. */
  close(): Promise<void>;
}

export type ToWorker = { id: number; request: PictureRequest } | { drop: number[] };
export type FromWorker = { began: number } | { id: number; reading: PictureReading } | { id: number; error: unknown };

/** Milliseconds after which threads that have nothing to do are ended: whoever forgets `close` keeps no memory. */
const IDLE_MS = 30_000;

/** @param workers number of threads; 0 for this one, which is also taken where the worker's file is missing. */
export function pictureReader(workers: number): PictureReader {
  const file = workers > 0 ? workerFile() : undefined;
  if (file !== undefined) return new DecodePool(workers, file);
  return { isBeside: false, read: readPicture, drop() {}, close: () => Promise.resolve() };
}

/** Beside the built package; from the sources the one that was built last, if any. */
function workerFile(): string | undefined {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const places = ['picture-worker.js', '../../dist/picture-worker.js'].map((place) => path.join(here, place));
  return places.find((place) => fs.existsSync(place));
}

/** A thread and what it has still to answer. */
interface Thread {
  worker: Worker;
  jobs: Map<number, Job>;
  /** The job that it is at, which may have been dropped meanwhile. */
  current?: number;
  /** Why it ended, if it said so. */
  error?: Error;
}

interface Job {
  request: PictureRequest;
  pass: object;
  resolve(reading: PictureReading): void;
  reject(error: unknown): void;
}

/**
 * Threads that read pictures. Requests go to a thread at once and wait there: this thread may be blocked by a training
 * step when the one before is done. Threads are started when they are needed, and keep the process alive only while
 * somebody waits for them.
 *
 * When a thread dies, the picture that it was at is answered with the reason; its other pictures go to a new thread.
 */
export class DecodePool implements PictureReader {
  readonly isBeside = true;
  private readonly threads = new Set<Thread>();
  private nextId = 0;
  private idleTimer?: NodeJS.Timeout;

  constructor(
    private readonly size: number,
    private readonly file: string,
  ) {}

  read(request: PictureRequest, pass: object): Promise<PictureReading> {
    const reading = new Promise<PictureReading>((resolve, reject) => {
      this.assign(this.nextId++, { request, pass, resolve, reject });
    });
    reading.catch(() => {}); // whoever asked ahead may have left
    return reading;
  }

  drop(pass: object): void {
    for (const thread of this.threads) {
      const drop = [...thread.jobs].filter(([, job]) => job.pass === pass).map(([id]) => id);
      if (drop.length === 0) continue;
      for (const id of drop) thread.jobs.delete(id);
      thread.worker.postMessage({ drop } satisfies ToWorker);
      this.rest(thread);
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.idleTimer);
    const closing = [...this.threads];
    this.threads.clear();
    for (const { jobs } of closing) {
      for (const job of jobs.values()) {
        const message = `'${job.request.file}' was not read, as its picture folder was closed. Close it after the last pass.`;
        job.reject(new TuneModeError('unsupported', message));
      }
      jobs.clear();
    }
    await Promise.all(closing.map(({ worker }) => worker.terminate()));
  }

  private assign(id: number, job: Job): void {
    clearTimeout(this.idleTimer);
    const thread = this.leastBusy();
    thread.jobs.set(id, job);
    thread.worker.ref();
    thread.worker.postMessage({ id, request: job.request } satisfies ToWorker);
  }

  private leastBusy(): Thread {
    const [thread] = [...this.threads].sort((a, b) => a.jobs.size - b.jobs.size);
    return thread && (thread.jobs.size === 0 || this.threads.size >= this.size) ? thread : this.start();
  }

  private start(): Thread {
    // Without the flags of this process: a loader for TypeScript, say, would only make it start late.
    const worker = new Worker(this.file, { execArgv: [] });
    worker.unref();
    const thread: Thread = { worker, jobs: new Map() };
    this.threads.add(thread);
    worker.on('message', (message: FromWorker) => this.receive(thread, message));
    worker.on('error', (error) => {
      thread.error = error;
    });
    worker.on('exit', () => this.bury(thread));
    return thread;
  }

  private receive(thread: Thread, message: FromWorker): void {
    // A late answer of a thread that is being ended must not let go of it: the process would end in the middle of `close`.
    if (!this.threads.has(thread)) return;
    if ('began' in message) {
      thread.current = message.began;
      return;
    }
    const job = thread.jobs.get(message.id);
    thread.jobs.delete(message.id);
    thread.current = undefined;
    this.rest(thread);
    if ('reading' in message) job?.resolve(message.reading);
    else job?.reject(message.error);
  }

  /** Lets the process end if nobody waits for this thread. */
  private rest(thread: Thread): void {
    if (thread.jobs.size > 0) return;
    thread.worker.unref();
    if ([...this.threads].some(({ jobs }) => jobs.size > 0)) return;
    clearTimeout(this.idleTimer);
    this.idleTimer = setTimeout(() => void this.close(), IDLE_MS).unref();
  }

  /** A thread has ended, unless by `close` against our will. */
  private bury(thread: Thread): void {
    if (!this.threads.delete(thread)) return;
    const why = thread.error?.message ?? 'it ended by itself';
    const { current, jobs } = thread;
    // A thread that has not begun anything is not the picture's fault, and the next one would end like it.
    if (current === undefined) {
      const message = `The thread that decodes pictures cannot be used (${why}). Call loadPictureFolder with workers: 0.`;
      for (const job of jobs.values()) job.reject(new TuneModeError('unsupported', message, { cause: thread.error }));
      return;
    }
    jobs.get(current)?.resolve({ reason: `decoding it ended the thread that did it (${why})` });
    jobs.delete(current);
    for (const [id, job] of jobs) this.assign(id, job);
  }
}
