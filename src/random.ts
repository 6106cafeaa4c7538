/**
 * A random number generator that depends on its key alone: the same key gives the same numbers on every machine.
 * The key is hashed to 32 bits (FNV-1a); each number is a Weyl step followed by a mixing of the bits (splitmix).
 * @param key for example `'0:epoch:3'`; other keys give unrelated sequences.
 * @returns a function giving numbers in [0, 1).
 */
export function seededRandom(key: string): () => number {
  let state = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    state = Math.imul(state ^ key.charCodeAt(i), 0x01000193);
  }
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** A shuffled copy of `items` (Fisher-Yates) that depends on the items and the key alone; `items` stays as it is. */
export function shuffled<T>(items: readonly T[], key: string): T[] {
  const random = seededRandom(key);
  const result = items.slice();
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}
