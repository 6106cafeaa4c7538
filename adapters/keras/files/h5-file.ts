/** What can be asked of an HDF5 file, with readable refusals. */
import fs from 'node:fs/promises';
import { TuneModeError } from '../../../src/errors';
import { type H5Failure, H5Thread } from './h5-thread';

/** A dataset's header. */
export interface H5Dataset {
  kind: 'dataset';
  path: string;
  shape: number[];
  /** HDF5's class number. */
  type: number;
  size: number;
  signed: boolean;
  isBool: boolean;
  chunks: number[] | null;
  filters: { id: number; name: string }[];
  isVirtual: boolean;
}

type Found = H5Dataset | { kind: 'group' } | undefined;

interface Looked {
  kind: 'group' | 'dataset' | 'other' | 'link';
  to?: string;
  metadata?: {
    type: number;
    size: number;
    shape: number[] | null;
    signed: boolean;
    chunks: number[] | null;
    enum_type?: { type: number; members: Record<string, number> };
    virtual_sources?: unknown[];
  };
  filters?: { id: number; name: string }[];
}

/** Files with more names than this are no model's: groups may hold one another, and so go on for ever. */
const MOST_NAMES = 200_000;

/** An HDF5 file, read. */
export class H5File {
  private readonly names = new Map<string, Set<string>>();
  private readonly looked = new Map<string, Found>();
  private readonly attributes = new Map<string, Set<string>>();
  private count = 0;

  private constructor(
    /** As it is named in messages. */
    readonly place: string,
    readonly bytes: number,
    private readonly thread: H5Thread,
  ) {}

  /**
   * @param place what messages call it.
   * @throws TuneModeError `invalid-model-file` where HDF5 cannot open it.
   */
  static async open(file: string, place: string): Promise<H5File> {
    const { size } = await fs.stat(file);
    const thread = await H5Thread.start(file);
    const opened = new H5File(place, size, thread);
    try {
      opened.call('open', [0], 'the file as a whole');
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /** What a path leads to; `undefined` where there is nothing. Refuses links: Keras writes none, and they may lead out. */
  find(path: string): Found {
    if (path === '') return { kind: 'group' };
    if (this.looked.has(path)) return this.looked.get(path);
    const cut = path.lastIndexOf('/');
    const found =
      this.find(path.slice(0, Math.max(cut, 0)))?.kind === 'group' &&
      this.childrenOf(path.slice(0, Math.max(cut, 0))).has(path.slice(cut + 1))
        ? this.look(path)
        : undefined;
    this.looked.set(path, found);
    return found;
  }

  /** @throws TuneModeError where it is missing, or no group. */
  group(path: string): void {
    const found = this.find(path);
    if (found?.kind === 'group') return;
    throw this.damaged(`expected a group at '${path}', found ${found ? 'numbers (a dataset)' : 'nothing'}`);
  }

  /** @throws TuneModeError where it is missing, or no dataset. */
  dataset(path: string): H5Dataset {
    const found = this.find(path);
    if (found?.kind === 'dataset') return found;
    throw this.damaged(`expected a weight at '${path}', found ${found ? 'a group' : 'nothing'}`);
  }

  /** The names in a group. */
  childrenOf(path: string): Set<string> {
    let names = this.names.get(path);
    if (names === undefined) {
      names = new Set(this.call<string[]>('names', [`/${path}`], `the group '${path || '/'}'`));
      this.names.set(path, names);
      this.count += names.size;
      if (this.count > MOST_NAMES) throw this.damaged(`it has more than ${MOST_NAMES} names`);
    }
    return names;
  }

  /** A text attribute, or a list of them, as texts; `undefined` where it is missing. */
  texts(path: string, name: string): string[] | undefined {
    let names = this.attributes.get(path);
    if (names === undefined) {
      names = new Set(this.call<string[]>('attributeNames', [`/${path}`], `the attributes of '${path || '/'}'`));
      this.attributes.set(path, names);
    }
    if (!names.has(name)) return undefined;
    const what = `the attribute '${name}' of '${path || '/'}'`;
    type Answer = { texts: string[]; isText: boolean; shape?: number[] };
    const { texts, isText, shape } = this.call<Answer>('attribute', [`/${path}`, name], what);
    // An empty list has numpy's default type, which is a number's.
    if (isText || shape === undefined || shape.includes(0)) return texts;
    throw this.damaged(`${what} holds something else than text`);
  }

  /** A list of names, which Keras cuts in pieces `name0`, `name1` … where it is longer than HDF5 takes. */
  list(path: string, name: string): string[] | undefined {
    const whole = this.texts(path, name);
    if (whole !== undefined) return whole;
    const all: string[] = [];
    for (let i = 0; ; i++) {
      const piece = this.texts(path, `${name}${i}`);
      if (piece === undefined) return i > 0 ? all : undefined;
      for (const text of piece) all.push(text);
    }
  }

  /** Bytes of a part of a dataset, little endian; of a dataset without dimensions with empty lists. */
  read(path: string, offset: number[], count: number[], bytes: number): ArrayBuffer {
    return this.call('read', [`/${path}`, offset, count, bytes], `the weight '${path}'`);
  }

  close(): Promise<void> {
    return this.thread.close();
  }

  damaged(what: string): TuneModeError {
    return new TuneModeError(
      'invalid-model-file',
      `'${this.place}': ${what}. The file is damaged, or no Keras model; copy it again, or save the model anew.`,
    );
  }

  private look(path: string): Found {
    const { kind, to, metadata, filters } = this.call<Looked>('look', [`/${path}`], `'${path}'`);
    if (kind === 'link') {
      throw this.damaged(`'${path}' is a link to '${to}'. Keras writes no links, and they are not followed`);
    }
    if (kind === 'other') throw this.damaged(`'${path}' is neither a group nor a weight`);
    if (kind === 'group') return { kind };
    if (!metadata?.shape) throw this.damaged(`the weight '${path}' is empty`);
    const { enum_type: named } = metadata;
    return {
      kind: 'dataset',
      path,
      shape: [...metadata.shape],
      type: metadata.type,
      size: metadata.size,
      signed: metadata.signed,
      isBool: named?.type === 0 && Object.keys(named.members).sort().join() === 'FALSE,TRUE',
      chunks: metadata.chunks,
      filters: filters ?? [],
      isVirtual: metadata.virtual_sources !== undefined,
    };
  }

  private call<Result>(op: string, args: unknown[], what: string): Result {
    return this.thread.call<Result>(op, args, ({ told, reason, outside }: H5Failure) => {
      if (outside !== undefined) {
        return this.damaged(`${what} lies in another file, '${outside}', which is not opened`);
      }
      const why = [reason, told].filter((text) => text !== '' && text.length < 200);
      return this.damaged(`HDF5 cannot read ${what}${why.length > 0 ? ` (${why[0]})` : ''}`);
    });
  }
}
