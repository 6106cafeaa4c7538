/** What a run confuses, as part of the SVG picture: the matrix, and beside it what went wrong. */
import { isPerfect, topConfusions } from './confusion';
import { rateCurve } from './curves';
import { percent, whole } from './format';
import { drawChart } from './line-chart';
import { markup } from './markup';
import { type Drawing, drawMatrix } from './matrix-picture';
import type { RunReport } from './run-report';
import { shorten, textWidth } from './text';

const FONT = 13;
const TOP = 28;
const COLUMNS = 3;
const SPACE = 18;
const RATE = 250;
const NOTHING: Drawing = { markup: markup``, height: 0 };

/** Matrices of more classes get more room than what is beside them. */
const MANY = 12;

export function drawResults(report: RunReport, width: number, gutter: number): Drawing {
  if (report.confusion.length === 0) return NOTHING;
  const isLarge = report.confusion.length > MANY;
  const left = (width - gutter) * (isLarge ? 0.58 : 0.5);
  const right = width - gutter - left;
  const matrix = drawMatrix(report, left);
  const mistakes = drawMistakes(report, right);
  const confusions = drawConfusions(report, right);
  // Where there is nothing to tell of the classes, the way to the learning rate fits there.
  const rate = mistakes.height + confusions.height === 0 ? drawRate(report, right) : NOTHING;
  return {
    markup: markup`<text class="title" y="13">Confusion matrix <tspan class="muted" font-weight="400">(rows: true, columns: predicted)</tspan></text>
<g transform="translate(0 ${TOP})">${matrix.markup}</g>
<g transform="translate(${left + gutter} 0)">${mistakes.markup}<g transform="translate(0 ${mistakes.height})">${confusions.markup}</g>${rate.markup}</g>`,
    height: Math.max(TOP + matrix.height, mistakes.height + confusions.height, rate.height) + 26,
  };
}

function drawRate(report: RunReport, width: number): Drawing {
  const curve = rateCurve(report);
  if (curve === null) return NOTHING;
  return { markup: markup`<g class="chart">${drawChart(curve, { width, height: RATE }, false)}</g>`, height: RATE };
}

function drawMistakes({ worst, confusion }: RunReport, width: number): Drawing {
  const title = markup`<text class="title" y="13">Most wrong</text>`;
  if (worst.length === 0 && isPerfect(confusion)) {
    const text = markup`<text y="42">Nothing: every validation picture was recognised.</text>`;
    return { markup: markup`${title}${text}`, height: 60 };
  }
  const seen = worst.filter(({ src }) => src.startsWith('data:image/')).slice(0, confusion.length > 2 ? 3 : 6);
  if (seen.length === 0) return NOTHING;
  const side = (width - SPACE * (COLUMNS - 1)) / COLUMNS;
  const rowHeight = side + 70;
  const pictures = seen.map(({ src, label, predicted, probability }, index) => {
    const x = (index % COLUMNS) * (side + SPACE);
    const y = TOP + rowHeight * Math.floor(index / COLUMNS);
    return markup`<g transform="translate(${x} ${y})">
<image href="${src}" width="${side}" height="${side}" preserveAspectRatio="xMidYMid slice"/>
<text class="mistaken" y="${side + 17}">${shorten(predicted, side / FONT)}</text>
<text y="${side + 34}">not ${shorten(label, side / FONT - textWidth('not '))}</text>
<text class="muted" y="${side + 51}">${percent(probability, 0)} sure</text></g>
`;
  });
  return { markup: markup`${title}${pictures}`, height: TOP + rowHeight * Math.ceil(seen.length / COLUMNS) };
}

/** The most frequent ones; with two classes the matrix says it all. */
function drawConfusions({ confusion, labels }: RunReport, width: number): Drawing {
  const top = confusion.length > 2 ? topConfusions(confusion, labels, confusion.length > MANY ? 8 : 5) : [];
  if (top.length === 0) return NOTHING;
  const lines = top.map(({ label, predicted, count: times, share }, index) => {
    const numbers = `${whole(times)}× (${percent(share, 0)})`;
    const room = width / FONT - textWidth(` taken for ${numbers}`) - 1;
    // Half of the room for each, and what one does not need for the other.
    const first = shorten(label, Math.max(room / 2, room - textWidth(predicted)));
    const second = shorten(predicted, room - textWidth(first));
    const y = 38 + 21 * index;
    return markup`<text y="${y}">${first} <tspan class="muted">taken for</tspan> ${second}</text>
<text x="${width}" y="${y}" text-anchor="end" class="muted">${numbers}</text>
`;
  });
  return {
    markup: markup`<text class="title" y="13">Most frequent confusions</text>${lines}`,
    height: 38 + 21 * top.length,
  };
}
