/**
 * Downloads that are kept: an entry is all files of one address, and an index of them with lengths and SHA-256.
 *
 * Whatever is missing, cut off or changed makes the whole entry count as absent, so that it is fetched anew: files of two
 * versions of a model never mix. Failing to keep something is no reason to stop.
 */
import { isInsidePath } from '../adapters/node/weights-manifest';

/** Names → contents. */
export type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

/** Where entries are kept. */
export interface Store {
  /** For people. */
  readonly place: string;
  /** @returns undefined, or an error of any kind, where there is no such file. */
  get(key: string, name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Replaces an entry. Whatever happens, each of its files is then whole or absent; the last one is written last. */
  put(key: string, files: Files): Promise<void>;
}

const INDEX = 'download.json';

interface Index {
  /** For people who look into the cache; not read. */
  url: string;
  files: { name: string; bytes: number; sha256: string }[];
}

/** @returns the files of an entry, each just as it was downloaded; undefined if there is no whole entry. */
export async function readEntry(store: Store, url: string): Promise<Files | undefined> {
  try {
    const key = await keyOf(url);
    const index = await store.get(key, INDEX);
    if (index === undefined) return undefined;
    const { files } = JSON.parse(new TextDecoder().decode(index)) as Index;
    const found = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const { name, bytes, sha256 } of files) {
      const content = isInsidePath(name) ? await store.get(key, name) : undefined;
      if (content?.length !== bytes || (await digest(content)) !== sha256) return undefined;
      found.set(name, content);
    }
    return found;
  } catch {
    return undefined;
  }
}

/** Stores that have been complained about: once is enough. */
const complained = new Set<string>();

export async function writeEntry(store: Store, url: string, files: Files): Promise<void> {
  try {
    const index: Index = { url, files: [] };
    for (const [name, content] of files) {
      index.files.push({ name, bytes: content.length, sha256: await digest(content) });
    }
    const text = new TextEncoder().encode(JSON.stringify(index, null, 2));
    await store.put(await keyOf(url), new Map([...files, [INDEX, text]]));
  } catch (error) {
    if (complained.has(store.place)) return;
    complained.add(store.place);
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    console.warn(
      `The download of '${url}' cannot be kept in '${store.place}' (${reason}); it is fetched again next time.`,
    );
  }
}

function keyOf(url: string): Promise<string> {
  return digest(new TextEncoder().encode(url));
}

/** SHA-256 in hexadecimal digits. Exists in Node and in every page that has the Cache API (secure contexts). */
async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
