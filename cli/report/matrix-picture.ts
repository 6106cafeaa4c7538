/** The confusion matrix as part of the SVG picture. */
import { rowShares } from './confusion';
import { whole } from './format';
import { type Markup, markup } from './markup';
import { CELL_STRENGTH } from './palette';
import type { RunReport } from './run-report';
import { className } from './summary';
import { shorten, textWidth } from './text';

const GAP = 2;
/** Cells lower than this have no number in them. */
const NUMBERS_FROM = 17;
const MAX_CELL = { width: 160, height: 124 };

export interface Drawing {
  markup: Markup;
  height: number;
}

/** At most `width` wide, from (0, 0) on. */
export function drawMatrix({ confusion, labels }: RunReport, width: number): Drawing {
  const n = confusion.length;
  const font = n <= 6 ? 13 : n <= 16 ? 11 : n <= 24 ? 9 : 8;
  const names = confusion.map((_, index) => shorten(className(labels, index), (n <= 24 ? 110 : 92) / font));
  const widest = Math.ceil(font * Math.max(...names.map(textWidth), 3));
  const left = widest + 8;
  const step = Math.min((width - left) / n, MAX_CELL.width + GAP);
  // Names above the columns stand upright where they do not fit.
  const isUpright = widest > step - 6;
  const top = isUpright ? widest + 8 : font + 10;
  const stepDown = Math.min(step, MAX_CELL.height + GAP);
  const middle = (index: number, size: number) => (index + 0.5) * size;

  const columnNames = names.map((name, index) => {
    const x = left + middle(index, step);
    return isUpright
      ? markup`<text transform="translate(${x + font * 0.35} ${top - 6}) rotate(-90)">${name}</text>\n`
      : markup`<text x="${x}" y="${top - 7}" text-anchor="middle">${name}</text>\n`;
  });
  const rows = confusion.map((row, label) => {
    const shares = rowShares(row);
    const y = top + label * stepDown;
    const cells = row.map((value, predicted) => {
      const x = left + predicted * step;
      const kind = label === predicted ? 'right' : 'wrong';
      const strength = CELL_STRENGTH.light * (0.25 + 0.75 * (shares?.[predicted] ?? 0));
      const [w, h] = [step - GAP, stepDown - GAP];
      const isWritten = stepDown >= NUMBERS_FROM && (value > 0 || n <= 6);
      const size = Math.min(18, Math.max(8, stepDown * 0.42), (w - 2) / textWidth(whole(value)));
      return markup`<rect class="cell" x="${x}" y="${y}" width="${w}" height="${h}"/>${
        value > 0 &&
        markup`<rect class="${kind}" x="${x}" y="${y}" width="${w}" height="${h}" fill-opacity="${strength}"/>`
      }${
        isWritten &&
        markup`<text class="${value > 0 ? 'count' : 'zero'}" x="${x + w / 2}" y="${y + h / 2 + size * 0.36}" text-anchor="middle" style="font-size:${size}px">${whole(value)}</text>`
      }\n`;
    });
    return markup`<text x="${left - 8}" y="${y + (stepDown - GAP) / 2 + font * 0.35}" text-anchor="end">${names[label]}</text>\n${cells}`;
  });
  return {
    markup: markup`<g class="matrix" style="font-size:${font}px">${columnNames}${rows}</g>`,
    height: top + n * stepDown,
  };
}
