/** How wide a text will be, without a font to ask: an estimate, rather too wide than too narrow. */

const SEGMENTER = new Intl.Segmenter('en', { granularity: 'grapheme' });
const ELLIPSIS = '…';

/** Width of a character in em, from the first pattern that fits. */
const WIDTHS: readonly (readonly [RegExp, number])[] = [
  [/^[ijlI.,:;'|!\s]/, 0.34],
  [/^[frt()[\]{}/\\"*-]/, 0.42],
  [/^[mwMW@%…—]/, 0.92],
  [/^[<>=+~&#_\ufffd]/, 0.84],
  [/^[A-Z]/, 0.71],
  // Emoji, Chinese, Japanese, Korean.
  [/^[\p{Extended_Pictographic}\p{RI}\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef]/u, 1.25],
];
const OTHERWISE = 0.59;
export const MONOSPACE = 0.61;

const characters = (text: string): string[] => Array.from(SEGMENTER.segment(text), ({ segment }) => segment);

function widthOf(character: string): number {
  return WIDTHS.find(([pattern]) => pattern.test(character))?.[1] ?? OTHERWISE;
}

/** In em. */
export function textWidth(text: string): number {
  return characters(text).reduce((sum, character) => sum + widthOf(character), 0);
}

/** Leaves out the middle of a text wider than `width` em: names often differ at their end only. */
export function shorten(text: string, width: number): string {
  // A name of thousands of characters is not measured to its end.
  if (text.length < 1000 && textWidth(text) <= width) return text;
  const all = characters(text.length < 1000 ? text : text.slice(0, 500) + text.slice(-500));
  let left = width - widthOf(ELLIPSIS);
  let [head, tail] = [0, 0];
  while (head + tail < all.length) {
    const fromHead = head <= tail;
    left -= widthOf(fromHead ? all[head] : all[all.length - 1 - tail]);
    if (left < 0) break;
    if (fromHead) head++;
    else tail++;
  }
  return all.slice(0, head).join('') + ELLIPSIS + all.slice(all.length - tail).join('');
}

/** Lines of at most `columns` characters, broken at spaces where there are any; the last one ends with … if it has to. */
export function wrap(text: string, columns: number, maxLines: number): string[] {
  const lines: string[] = [];
  let rest = characters(
    text
      .replace(/\s+/g, ' ')
      .trim()
      .slice(0, 10 * columns * maxLines),
  );
  while (rest.length > columns && lines.length < maxLines - 1) {
    const space = rest.lastIndexOf(' ', columns);
    const end = space > columns / 2 ? space : columns;
    lines.push(rest.slice(0, end).join(''));
    rest = rest.slice(rest[end] === ' ' ? end + 1 : end);
  }
  lines.push(rest.length > columns ? rest.slice(0, columns - 1).join('') + ELLIPSIS : rest.join(''));
  return lines;
}
