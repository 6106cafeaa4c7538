import { findJsonError } from '../../../adapters/node/json-position';

test.each([
  ['', 1, 1],
  ['{', 1, 2],
  ['{"a": 1,}', 1, 9],
  ['{"a" 1}', 1, 6],
  ['[1, 2', 1, 6],
  ['[1 2]', 1, 4],
  ['[1,]', 1, 4],
  ['{"a": tru}', 1, 7],
  ['{"a": "b\n"}', 1, 7],
  ['{"a": 01}', 1, 8],
  ['{\n  "a": [1,\n  x]\n}', 3, 3],
  ['{} {}', 1, 4],
  ['{"a": "\\x"}', 1, 7],
  ["{'a': 1}", 1, 2],
  ['[}', 1, 2],
  [']', 1, 1],
])('%j breaks at line %i, column %i', (text, line, column) => {
  expect(() => JSON.parse(text)).toThrow();
  expect(findJsonError(text)).toEqual({ line, column });
});

test.each(['{}', ' [1, -2.5e+3, true, false, null, "\\u00e4\\n", {"a": {"b": []}}]\n', '"x"', '0', '[[],{}]'])(
  '%j is JSON',
  (text) => {
    JSON.parse(text);
    expect(findJsonError(text)).toBeUndefined();
  },
);

test('every prefix of a text that is not JSON has an error at its end', () => {
  const text = '{"ab": [1, {"c": "d"}], "e": null}';
  for (let length = 0; length < text.length; length++) expect(findJsonError(text.slice(0, length))).toBeDefined();
});

test('a deep text does not overflow the stack', () => {
  expect(findJsonError('['.repeat(200000))).toEqual({ line: 1, column: 200001 });
});
