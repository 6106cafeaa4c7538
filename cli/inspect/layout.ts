/**
 * Where boxes and edges go: top to bottom, a long net folded into columns.
 *
 * A net is cut only behind a box from which every edge goes that crosses the cut: a residual block, or a U-Net's arms, stay
 * in one column. The box behind which it was cut is drawn once more, as a small port, at the head of the next column.
 */
import dagre from '@dagrejs/dagre';
import type { Group } from './calls';
import type { Box, Graph } from './graph';

export const WIDTH = 228;
export const TALL = 40;
export const LOW = 24;
const RANK_GAP = 20;
const NODE_GAP = 16;
const GUTTER = 44;
const TITLE = 24;
const PADDING = 8;
/** Width to height that is aimed at. */
const ASPECT = 1.5;
/** What fits on a large screen. */
const WIDEST = 1800;
const MOST_COLUMNS = 12;

export interface Placed {
  /** Index of the box. */
  box: number;
  /** Whether it is the port of a box that stands in the column before. */
  isPort: boolean;
  /** Middle. */
  x: number;
  y: number;
  height: number;
}

export interface Point {
  x: number;
  y: number;
}

export interface Frame {
  group: Group;
  /** Whether a column before this one has a part of the group already. */
  isContinued: boolean;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Layout {
  width: number;
  height: number;
  placed: Placed[];
  edges: { from: number; to: number; points: Point[] }[];
  /** From the last box of a column to the port of the next one. */
  connectors: Point[][];
  /** Outer ones first. */
  frames: Frame[];
}

export const heightOf = (box: Box): number => (box.state === 'other' ? LOW : TALL);

export function layoutOf(graph: Graph): Layout {
  const columns = columnsOf(graph);
  const layout: Layout = { width: 0, height: 0, placed: [], edges: [], connectors: [], frames: [] };
  const begun = new Set<Group>();
  let last: Placed | undefined;
  let [left, bottom] = [0, 0];
  for (const [index, column] of columns.entries()) {
    const drawn = drawColumn(graph, column, index > 0);
    framesIn(graph, drawn, begun);
    const bounds = boundsOf(drawn);
    move(drawn, left - bounds.left, -bounds.top);
    const port = drawn.placed.find(({ isPort }) => isPort);
    if (last !== undefined && port !== undefined) {
      layout.connectors.push(connector(last, port, left - GUTTER / 2, bottom));
    }
    last = drawn.placed.find(({ box, isPort }) => box === column[column.length - 1] && !isPort);
    bottom = bounds.bottom - bounds.top;
    layout.placed.push(...drawn.placed);
    layout.edges.push(...drawn.edges);
    layout.frames.push(...drawn.frames);
    layout.width = left + bounds.right - bounds.left;
    layout.height = Math.max(layout.height, bottom);
    left = layout.width + GUTTER;
  }
  layout.frames.sort((a, b) => depthOf(a.group) - depthOf(b.group));
  return layout;
}

/** The boxes of each column; from the second on they begin with the box that the port stands for. */
function columnsOf(graph: Graph): number[][] {
  const segments = segmentsOf(graph);
  const sizes = segments.map((segment) => sizeOf(graph, segment));
  const total = sizes.reduce((sum, { height }) => sum + height, 0);
  const tallest = Math.max(...sizes.map(({ height }) => height));
  let best: { score: number; runs: number[][] } | undefined;
  for (let count = 1; count <= MOST_COLUMNS; count++) {
    let limit = Math.max(tallest, total / count);
    let runs = stack(sizes, limit);
    while (runs.length > count) {
      limit *= 1.03;
      runs = stack(sizes, limit);
    }
    const heights = runs.map((run) => run.reduce((sum, i) => sum + sizes[i].height, 0));
    const highest = Math.max(...heights);
    const width = runs.reduce((sum, run) => sum + GUTTER + Math.max(...run.map((i) => sizes[i].width)), 0);
    const empty = 1 - total / (runs.length * highest);
    // A column of one box beside a tall one looks torn off.
    const torn = Math.min(...heights) < highest / 4 ? 1 : 0;
    const tooWide = Math.max(0, Math.log(width / WIDEST));
    const score = Math.abs(Math.log(width / highest / ASPECT)) + 1.5 * empty + tooWide + torn;
    if (best === undefined || score < best.score) best = { score, runs };
  }
  return (best?.runs ?? []).map((run, i) => {
    const port = i === 0 ? [] : segments[run[0] - 1].slice(-1);
    return [...port, ...run.flatMap((segment) => segments[segment])];
  });
}

/** Segments one below the other, in columns of at most this height. */
function stack(sizes: { height: number }[], limit: number): number[][] {
  const runs: number[][] = [];
  let height = Number.POSITIVE_INFINITY;
  sizes.forEach((size, i) => {
    height += size.height;
    if (height > limit + 0.5) {
      runs.push([]);
      height = size.height;
    }
    runs[runs.length - 1].push(i);
  });
  return runs;
}

/** Runs of boxes, the last of each being the only one of its run from which edges lead on. */
function segmentsOf({ boxes, edges }: Graph): number[][] {
  const furthest = boxes.map((_, i) => i);
  for (const { from, to } of edges) furthest[from] = Math.max(furthest[from], to);
  const segments: number[][] = [];
  let current: number[] = [];
  let reach = 0;
  boxes.forEach((_, i) => {
    current.push(i);
    if (reach <= i && furthest[i] > i) {
      segments.push(current);
      current = [];
    }
    reach = Math.max(reach, furthest[i]);
  });
  if (current.length > 0) segments.push(current);
  return segments;
}

/** About how much room a segment takes: its longest path, and its widest rank. */
function sizeOf({ boxes, edges }: Graph, segment: number[]): { width: number; height: number } {
  const rank = new Map(segment.map((i) => [i, 0]));
  const inside = edges.filter(({ from, to }) => rank.has(from) && rank.has(to)).sort((a, b) => a.to - b.to);
  for (const { from, to } of inside) {
    rank.set(to, Math.max(rank.get(to) as number, (rank.get(from) as number) + 1));
  }
  const [counts, heights]: [number[], number[]] = [[], []];
  for (const [i, r] of rank) {
    counts[r] = (counts[r] ?? 0) + 1;
    heights[r] = Math.max(heights[r] ?? 0, heightOf(boxes[i]) + RANK_GAP);
  }
  return { width: Math.max(...counts) * (WIDTH + NODE_GAP), height: heights.reduce((a, b) => a + b, 0) };
}

interface Drawn extends Omit<Layout, 'width' | 'height' | 'connectors'> {}

function drawColumn({ boxes, edges }: Graph, column: number[], hasPort: boolean): Drawn {
  const inside = new Set(column);
  const drawable = new dagre.graphlib.Graph({ compound: true });
  drawable.setGraph({ rankdir: 'TB', ranksep: RANK_GAP, nodesep: NODE_GAP, edgesep: 10 });
  drawable.setDefaultEdgeLabel(() => ({}));
  const heights = column.map((box, i) => (hasPort && i === 0 ? LOW : heightOf(boxes[box])));
  column.forEach((box, i) => {
    drawable.setNode(String(box), { width: WIDTH, height: heights[i] });
  });
  const drawnEdges = edges.filter(({ from, to }) => inside.has(from) && inside.has(to));
  for (const { from, to } of drawnEdges) {
    // What follows the main path should be straight: of a box's edges, the one to the next box.
    drawable.setEdge(String(from), String(to), { weight: to === from + 1 ? 4 : 1 });
  }
  nest(drawable, boxes, hasPort ? column.slice(1) : column);
  dagre.layout(drawable);
  return {
    placed: column.map((box, i) => {
      const { x, y } = drawable.node(String(box)) as Point;
      return { box, isPort: hasPort && i === 0, x, y, height: heights[i] };
    }),
    edges: drawnEdges.map(({ from, to }) => ({
      from,
      to,
      points: [...((drawable.edge(String(from), String(to)) as { points: Point[] }).points ?? [])],
    })),
    frames: [],
  };
}

/** Keeps the boxes of a nested model together, where there are others beside it. */
function nest(drawable: InstanceType<typeof dagre.graphlib.Graph>, boxes: Box[], column: number[]): void {
  const groups = new Map<Group | null, string>();
  for (const box of column) if (!groups.has(boxes[box].group)) groups.set(boxes[box].group, `group ${groups.size}`);
  if (groups.size < 2) return;
  for (const box of column) {
    const { group } = boxes[box];
    if (group === null) continue;
    const name = groups.get(group) as string;
    if (!drawable.hasNode(name)) drawable.setNode(name, {});
    drawable.setParent(String(box), name);
  }
}

/** Frames around the boxes of each nested model; everything moves down to make room for them. */
function framesIn({ boxes }: Graph, drawn: Drawn, begun: Set<Group>): void {
  const members = new Map<Group, Placed[]>();
  for (const placed of drawn.placed) {
    if (placed.isPort) continue;
    for (let group = boxes[placed.box].group; group !== null; group = group.parent) {
      members.set(group, [...(members.get(group) ?? []), placed]);
    }
  }
  if (members.size === 0) return;
  const room: { at: number; extra: number }[] = [];
  for (const placed of members.values()) {
    room.push({ at: Math.min(...placed.map(({ y, height }) => y - height / 2)), extra: TITLE });
    room.push({ at: Math.max(...placed.map(({ y, height }) => y + height / 2)) + 0.01, extra: PADDING });
  }
  const down = (y: number) => y + room.reduce((sum, { at, extra }) => sum + (at <= y + 0.001 ? extra : 0), 0);
  for (const placed of drawn.placed) {
    placed.y = down(placed.y - placed.height / 2) + placed.height / 2;
  }
  const moved = new Map(drawn.placed.map((placed) => [placed.box, placed]));
  for (const { from, to, points } of drawn.edges) {
    points.forEach((point, i) => {
      points[i] = { x: point.x, y: down(point.y) };
    });
    const [above, below] = [moved.get(from) as Placed, moved.get(to) as Placed];
    points[0].y = above.y + above.height / 2;
    points[points.length - 1].y = below.y - below.height / 2;
  }
  drawn.frames = [...members].map(([group, placed]) => {
    const inner = Math.max(0, ...[...members.keys()].map((other) => levelsBetween(other, group)));
    const bounds = boundsOf({ placed, edges: [], frames: [] });
    const [side, top] = [PADDING * (inner + 1), TITLE * (inner + 1)];
    const isContinued = begun.has(group);
    begun.add(group);
    return {
      group,
      isContinued,
      x: bounds.left - side,
      y: bounds.top - top + 4,
      width: bounds.right - bounds.left + 2 * side,
      height: bounds.bottom - bounds.top + top - 4 + side,
    };
  });
}

const depthOf = (group: Group | null): number => (group === null ? 0 : 1 + depthOf(group.parent));

/** How deep one group is in another one; 0 where it is not. */
function levelsBetween(inner: Group, outer: Group): number {
  let levels = 0;
  for (let group: Group | null = inner; group !== null; group = group.parent) {
    if (group === outer) return levels;
    levels++;
  }
  return 0;
}

function boundsOf({ placed, edges, frames }: Drawn) {
  const xs = [
    ...placed.flatMap(({ x }) => [x - WIDTH / 2, x + WIDTH / 2]),
    ...edges.flatMap(({ points }) => points.map(({ x }) => x)),
    ...frames.flatMap(({ x, width }) => [x, x + width]),
  ];
  const ys = [
    ...placed.flatMap(({ y, height }) => [y - height / 2, y + height / 2]),
    ...frames.flatMap(({ y, height }) => [y, y + height]),
  ];
  const least = (values: number[]) => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const most = (values: number[]) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return { left: least(xs), right: most(xs), top: least(ys), bottom: most(ys) };
}

function move({ placed, edges, frames }: Drawn, dx: number, dy: number): void {
  const points = edges.flatMap((edge) => edge.points);
  for (const each of [...placed, ...frames, ...points]) {
    each.x += dx;
    each.y += dy;
  }
}

/** Down to below the column, through the gutter, and up to the head of the next column. */
function connector(from: Placed, to: Placed, gutter: number, bottom: number): Point[] {
  const below = from.y + from.height / 2;
  const above = to.y - to.height / 2;
  return [
    { x: from.x, y: below },
    { x: from.x, y: bottom + 12 },
    { x: gutter, y: bottom + 12 },
    { x: gutter, y: above - 12 },
    { x: to.x, y: above - 12 },
    { x: to.x, y: above },
  ];
}
