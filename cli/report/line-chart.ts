/** A line chart as SVG. It knows nothing of runs. */
import { type Axis, position } from './axis';
import { type Markup, markup } from './markup';
import { textWidth } from './text';

export interface Series {
  name: string;
  /** Which colour it has. */
  kind: 'train' | 'val';
  /** In the order of x. Where there is no finite y the line has a gap. */
  points: { x: number; y: number | null; label: string }[];
}

export interface LineChart {
  title: string;
  /** What the curves say, for those who do not see them. */
  description: string;
  x: Axis;
  xTitle: string;
  y: Axis;
  series: Series[];
  /** A vertical line, with what is said of it. */
  mark: { x: number; label: string } | null;
}

export interface ChartSize {
  width: number;
  height: number;
}

const FONT = 12;
const TOP = 50;
const BOTTOM = 42;
const RIGHT = 12;
const KEY = 18;

/** The chart as a picture in a page, whose points say their values when pointed at. */
export function chartPicture(chart: LineChart, size: ChartSize): Markup {
  return markup`<svg class="chart" viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${chart.title}. ${chart.description}">${drawChart(chart, size, true)}</svg>`;
}

/** What is in the picture. Its class `chart` is the caller's. */
export function drawChart(chart: LineChart, { width, height }: ChartSize, hasHints: boolean): Markup {
  const left = 8 + FONT * Math.max(...chart.y.ticks.map(({ label }) => textWidth(label)), 1);
  const right = width - RIGHT;
  const bottom = height - BOTTOM;
  const x = (value: number) => left + (right - left) * position(chart.x, value);
  const y = (value: number) => bottom - (bottom - TOP) * position(chart.y, value);

  const most = Math.max(...chart.series.map(({ points }) => points.length));
  const radius = most > 60 ? 1.2 : most > 26 ? 2 : 3;

  const rows = chart.y.ticks.map(
    ({ at, label }) => markup`<line class="grid" x1="${left}" x2="${right}" y1="${y(at)}" y2="${y(at)}"/>
<text x="${left - 8}" y="${y(at) + 4}" text-anchor="end">${label}</text>`,
  );
  const columns = chart.x.ticks.map(
    ({ at, label }) => markup`<line class="axis" x1="${x(at)}" x2="${x(at)}" y1="${bottom}" y2="${bottom + 4}"/>
<text x="${x(at)}" y="${bottom + 17}" text-anchor="middle">${label}</text>`,
  );
  return markup`<text class="chart-title" x="0" y="15">${chart.title}</text>
${legend(chart.series, right)}
${rows}
<line class="axis" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>
${columns}
<text x="${(left + right) / 2}" y="${bottom + 35}" text-anchor="middle">${chart.xTitle}</text>
${chart.mark && drawMark(x(chart.mark.x), chart.mark.label, left, right, bottom)}
${chart.series.map((series) => drawSeries(series, x, y, radius, chart.mark?.x ?? null, hasHints))}`;
}

/** Above the curves, where nothing can be in its way. */
function drawMark(at: number, label: string, left: number, right: number, bottom: number): Markup {
  const half = (FONT * textWidth(label)) / 2;
  const anchor = at - half < left ? 'start' : at + half > right ? 'end' : 'middle';
  const shift = anchor === 'start' ? -3 : anchor === 'end' ? 3 : 0;
  return markup`<line class="mark" x1="${at}" x2="${at}" y1="${TOP - 6}" y2="${bottom}"/>
<text class="mark-label" x="${at + shift}" y="${TOP - 11}" text-anchor="${anchor}">${label}</text>`;
}

function drawSeries(
  { kind, points }: Series,
  x: (value: number) => number,
  y: (value: number) => number,
  radius: number,
  marked: number | null,
  hasHints: boolean,
): Markup {
  let path = '';
  let isGap = true;
  const dots: Markup[] = [];
  for (const point of points) {
    if (point.y === null || !Number.isFinite(point.y)) {
      isGap = true;
      continue;
    }
    const [px, py] = [x(point.x), y(point.y)];
    path += `${isGap ? 'M' : 'L'}${px.toFixed(1)} ${py.toFixed(1)}`;
    isGap = false;
    const isBest = kind === 'val' && point.x === marked;
    const dot = markup`<circle class="dot ${kind}${isBest ? ' best' : ''}" cx="${px}" cy="${py}" r="${isBest ? 4.5 : radius}"/>`;
    // The area around a dot that answers to the pointer is larger than the dot.
    const hit = markup`<circle class="hit" cx="${px}" cy="${py}" r="8"/>`;
    dots.push(hasHints ? markup`<g><title>${point.label}</title>${dot}${hit}</g>` : dot);
  }
  return markup`${path !== '' && markup`<path class="line ${kind}" d="${path}"/>`}
${dots}
`;
}

/** To the right of the title. One series needs none. */
function legend(series: readonly Series[], right: number): Markup[] {
  if (series.length < 2) return [];
  let end = right;
  return [...series].reverse().map(({ name, kind }) => {
    const start = end - FONT * textWidth(name) - KEY - 6;
    const entry = markup`<line class="key ${kind}" x1="${start}" x2="${start + KEY}" y1="11" y2="11"/>
<text class="label-${kind}" x="${start + KEY + 6}" y="15">${name}</text>`;
    end = start - 14;
    return entry;
  });
}
