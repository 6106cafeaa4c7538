/** What JSON may be before it is parsed: a text of 100 MB takes gigabytes as objects, and one that is too deep ends the process. */

/** Topologies of the largest published vision nets take 2 to 8 MB. */
export const MOST_JSON_BYTES = 32 * 2 ** 20;
export const DEEPEST_JSON = 300;

/** Whether brackets are nested too deep; strings are left out. */
export function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      // A string: to its end, over whatever is escaped.
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++;
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > DEEPEST_JSON) return true;
    } else if (code === 0x7d || code === 0x5d) depth--;
  }
  return false;
}
