/** A page or its workers: downloads in the Cache API, models in tfjs's storages. */
import type { Store } from './cache';
import type { Platform } from './platform';
import { tfjsSaveHandler } from './save-handler';

export const browserPlatform: Platform = {
  ownCopy: "the URL of another copy, or 'indexeddb://…'",
  // Pages that are not secure (http from another machine) have no cache.
  openStore: (place = 'tfjs-tune-mode') => (typeof caches === 'undefined' ? undefined : cacheStore(place)),
  showProgress: () => undefined,
  urlOf: (source) =>
    new URL(source, typeof document === 'undefined' ? globalThis.location?.href : document.baseURI).href,
  target(place) {
    const isDownload = place.startsWith('downloads://');
    return { handler: tfjsSaveHandler(place), writeBeside: isDownload ? downloadText : undefined };
  },
};

function cacheStore(place: string): Store {
  // Not the models' own URLs: a page that keeps those itself would find files that it did not put there.
  const folder = (key: string) => `https://tfjs-tune-mode.invalid/${key}/`;
  const urlOf = (key: string, name: string) => folder(key) + encodeURIComponent(name);
  return {
    place,
    async get(key, name) {
      const found = await (await caches.open(place)).match(urlOf(key, name));
      return found && new Uint8Array(await found.arrayBuffer());
    },
    async put(key, files) {
      const cache = await caches.open(place);
      for (const [name, content] of files) await cache.put(urlOf(key, name), new Response(content));
      const wanted = new Set([...files.keys()].map((name) => urlOf(key, name)));
      for (const { url } of await cache.keys()) {
        if (url.startsWith(folder(key)) && !wanted.has(url)) await cache.delete(url);
      }
    },
  };
}

async function downloadText(name: string, text: string): Promise<void> {
  const link = document.createElement('a');
  link.download = name;
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.click();
  URL.revokeObjectURL(link.href);
}
