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
const SCALAR =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are forbidden in JSON strings
  /"(?:[^"\\\u0000-\u001f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

function errorOffset(text: string): number | undefined {
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
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
      if (char !== '"' || take(SCALAR) === undefined) return at;
      take(SPACE);
      if (text[at] !== ':') return at;
      at++;
      expected = 'value';
    } else if (char === '{' || char === '[') {
      at++;
      open.push(char);
      expected = char === '{' ? 'key or end' : 'value or end';
    } else {
      if (take(SCALAR) === undefined) return at;
      expected = 'comma or end';
    }
  }
}
