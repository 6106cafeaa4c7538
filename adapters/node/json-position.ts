/**
 * Where a text stops being JSON. `JSON.parse` of Node 20 names the position in some messages and not in others, so
 * it is looked for here, token by token, once parsing has failed.
 * @returns line and column, both from 1, or undefined if the text is JSON after all.
 */
export function findJsonError(text: string): { line: number; column: number } | undefined {
  const at = errorOffset(text);
  if (at === undefined) return undefined;
  const before = text.slice(0, at).split('\n');
  return { line: before.length, column: before[before.length - 1].length + 1 };
}

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** Where a string ends, or undefined; by hand, as a pattern for it goes back over a long one again and again. */
function endOfString(text: string, from: number): number | undefined {
  for (let at = from + 1; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === 0x22) return at + 1;
    if (code < 0x20) return undefined;
    ESCAPE.lastIndex = at;
    if (code !== 0x5c) at++;
    else if (ESCAPE.test(text)) at = ESCAPE.lastIndex;
    else return undefined;
  }
  return undefined;
}

function errorOffset(text: string): number | undefined {
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  const takeString = (): boolean => {
    const end = text[at] === '"' ? endOfString(text, at) : undefined;
    at = end ?? at;
    return end !== undefined;
  };
  // The open brackets, instead of recursion, which a deep text would overflow.
  const open: ('{' | '[')[] = [];
  let expected: 'value' | 'value or end' | 'key' | 'key or end' | 'comma or end' = 'value';
  for (;;) {
    take(SPACE);
    const char = text[at];
    const inside = open[open.length - 1];
    const closes = char === (inside === '{' ? '}' : ']') && inside !== undefined;
    if (closes && expected.endsWith('end')) {
      at++;
      open.pop();
      expected = 'comma or end';
    } else if (expected === 'comma or end') {
      if (inside === undefined) return at < text.length ? at : undefined;
      if (char !== ',') return at;
      at++;
      expected = inside === '{' ? 'key' : 'value';
    } else if (expected.startsWith('key')) {
      if (!takeString()) return at;
      take(SPACE);
      if (text[at] !== ':') return at;
      at++;
      expected = 'value';
    } else if (char === '{' || char === '[') {
      at++;
      open.push(char);
      expected = char === '{' ? 'key or end' : 'value or end';
    } else {
      if (!takeString() && take(SCALAR) === undefined) return at;
      expected = 'comma or end';
    }
  }
}
