/** The graph of a model as a picture. */
import { type Markup, markup } from '../report/markup';
import { shorten, textWidth } from '../report/text';
import { shapeText } from './facts';
import type { Box, Graph } from './graph';
import { type Frame, type Layout, layoutOf, type Placed, type Point, WIDTH } from './layout';
import { STATES, STRIPED } from './states';

const MARGIN = 20;
const INSET = 9;
const INNER = WIDTH - 2 * INSET;
/** Font sizes; the name's is in bold, which is wider. */
const [NAME, SMALL] = [12 * 1.14, 11];
/** How much wider, in em, a × is than other characters. */
const TIMES = 0.25;

export function drawGraph(graph: Graph, title: string): Markup {
  const layout = layoutOf(graph);
  const [width, height] = [layout.width + 2 * MARGIN, layout.height + 2 * MARGIN].map(Math.ceil);
  return markup`<svg class="graph" xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="graph-title">
<title id="graph-title">${title}</title>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0.5 8 4 0 7.5z" class="head"/></marker></defs>
<g transform="translate(${MARGIN} ${MARGIN})">
${layout.frames.map(drawFrame)}${edgesOf(layout)}${layout.frames.map(drawFrameTitle)}${layout.placed.map((placed) => drawPlaced(graph.boxes[placed.box], placed))}</g>
</svg>`;
}

function edgesOf({ edges, connectors }: Layout): Markup {
  const drawn = edges.map(({ points }) => markup`<path d="${smooth(points)}"/>`);
  const between = connectors.map((points) => markup`<path class="onward" d="${rounded(points)}"/>`);
  return markup`<g class="edges">${[...drawn, ...between]}</g>\n`;
}

function drawFrame({ x, y, width, height }: Frame): Markup {
  return markup`<rect class="frame" x="${x}" y="${y}" width="${width}" height="${height}" rx="8"/>\n`;
}

/** Above the edges, which may cross it. */
function drawFrameTitle({ group, isContinued, x, y, width }: Frame): Markup {
  const repeated = group.steps > 1 ? ` × ${group.steps} steps` : '';
  const label = `${group.path}${repeated}${isContinued ? ' (continued)' : ''}`;
  return markup`<text class="frame-title" x="${x + 9}" y="${y + 14}"><title>${`Nested model ${label}`}</title>${shorten(label, (width - 18) / NAME)}</text>\n`;
}

function drawPlaced(box: Box, { isPort, x, y, height }: Placed): Markup {
  const [left, top] = [x - WIDTH / 2, y - height / 2];
  const at = markup`transform="translate(${left} ${top})"`;
  if (isPort) {
    return markup`<g class="port" ${at}><title>${`Continues from ${box.calls[0].path}`}</title><rect width="${WIDTH}" height="${height}" rx="${height / 2}"/><text class="small" x="${WIDTH / 2}" y="16" text-anchor="middle">${`from ${ending(box.name, INNER / SMALL - 3)}`}</text></g>\n`;
  }
  const shape = shapeText(box.shape);
  const besideShape = (INNER - 8) / SMALL - textWidth(shape) - TIMES * (shape.split('×').length - 1);
  const isLow = height < 30;
  const name = ending(box.name, isLow ? (besideShape * SMALL) / NAME : INNER / NAME);
  const what =
    !isLow && markup`<text class="small" x="${INSET}" y="32">${shorten(box.what, besideShape + TIMES)}</text>`;
  const ends = `${box.isInput ? ' input' : ''}${box.isOutput ? ' output' : ''}`;
  return markup`<g class="${`box ${box.state}${ends}`}" data-state="${box.state}" ${at}><title>${titleOf(box)}</title><rect width="${WIDTH}" height="${height}" rx="4"/>${STRIPED.includes(box.state) && markup`<rect class="stripe" width="4" height="${height}"/>`}<text class="label" x="${INSET}" y="16">${name}</text>${what}<text class="small" x="${WIDTH - INSET}" y="${isLow ? 16 : 32}" text-anchor="end">${shape}</text></g>\n`;
}

/** The end of a name wider than `width` em: layers of one net begin alike, and differ in what comes last. */
function ending(name: string, width: number): string {
  if (name.length < 200 && textWidth(name) <= width) return name;
  const characters = [...name.slice(-100)];
  while (characters.length > 0 && textWidth(`…${characters.join('')}`) > width) characters.shift();
  return `…${characters.join('')}`;
}

function titleOf({ calls, what, state, reason, shape, isInput, isOutput }: Box): string {
  const [{ use }] = calls;
  return [
    calls.map(({ path }) => path).join(' + '),
    `${what}, output ${shapeText(shape)}${use > 0 ? `, use ${use + 1} of the same layer` : ''}`,
    ...(state === 'other' ? [] : [STATES.find((each) => each.state === state)?.name ?? '']),
    ...(reason === null ? [] : [reason]),
    ...(isInput ? ['an input of the model'] : []),
    ...(isOutput ? ['an output of the model'] : []),
  ].join('\n');
}

const at = ({ x, y }: Point): string => `${Math.round(10 * x) / 10} ${Math.round(10 * y) / 10}`;

/** Through the middles between the points, bent towards them. */
function smooth(points: Point[]): string {
  let path = `M${at(points[0])}`;
  for (let i = 1; i < points.length - 1; i++) {
    const [point, next] = [points[i], points[i + 1]];
    const end = i === points.length - 2 ? next : { x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 };
    path += `Q${at(point)} ${at(end)}`;
  }
  return points.length === 2 ? `${path}L${at(points[1])}` : path;
}

/** Straight lines with round corners. */
function rounded(points: Point[]): string {
  const towards = (from: Point, to: Point): Point => {
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    const share = length === 0 ? 0 : Math.min(8, length / 2) / length;
    return { x: from.x + share * (to.x - from.x), y: from.y + share * (to.y - from.y) };
  };
  const inner = points.slice(1, -1).map((point, i) => {
    const [before, after] = [points[i], points[i + 2]];
    return `L${at(towards(point, before))}Q${at(point)} ${at(towards(point, after))}`;
  });
  return `M${at(points[0])}${inner.join('')}L${at(points[points.length - 1])}`;
}
