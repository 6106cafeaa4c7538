/** Text of a page or picture, in which every string that comes from outside is escaped. */

/** Text that is markup already. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Part = Markup | string | number | null | false | readonly Part[];

/** What XML does not allow even when escaped, and what would turn the direction of the text after it. */
const FORBIDDEN = /(?![\t\n\r])\p{Cc}|\p{Cs}|[\ufffe\uffff\u202a-\u202e\u2066-\u2069]/gu;
const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/**
 * A template tag: strings are escaped, for text and quoted attributes alike; numbers are rounded to two decimals, which
 * is exact enough for coordinates; lists are joined; null and false are left out.
 */
export function markup(literals: TemplateStringsArray, ...parts: Part[]): Markup {
  return new Markup(
    literals.map((literal, index) => literal + (index < parts.length ? render(parts[index]) : '')).join(''),
  );
}

/** A name that may be broken after its separators. */
export function breakable(name: string): Markup {
  return markup`${name.split(/(?<=[_/\\])/).map((part, index) => markup`${index > 0 && markup`<wbr>`}${part}`)}`;
}

function render(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (typeof part === 'string') return escaped(part);
  if (typeof part === 'number') return String(Math.round(part * 100) / 100);
  return part ? part.map(render).join('') : '';
}

function escaped(text: string): string {
  return text.replace(FORBIDDEN, '\ufffd').replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
