/**
 * Draws the README's picture of time against batch and picture size from the bench's own figures, a series for each model
 * in the order of the names:
 *
 *   npm run bench:scaling --silent -- --model <a> --model <b> --json | node scripts/draw-scaling.mjs "A" "B" > docs/step-time.svg
 */
import fs from 'node:fs';

const results = fs
  .readFileSync(0, 'utf8')
  .trim()
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line));
const names = results.map(({ model }, i) => process.argv[2 + i] ?? model.split('/').at(-1));
const COLOURS = ['#e8710a', '#3f6fb5', '#4b8a4f', '#8a5a9e'];
const [WIDTH, HEIGHT, TOP, BOTTOM, LEFT, GAP, RIGHT] = [760, 392, 84, 58, 58, 66, 24];
const HEADROOM = 1.25;
const PANEL = (WIDTH - LEFT - GAP - RIGHT) / 2;
const escapeXml = (text) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
const short = (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0));

/** A step for about `count` ticks: 1, 2 or 5 times a power of ten. */
function tickStep(largest, count) {
  const rough = largest / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
}

function panel(left, caption, axis, all, ticks, slopeText) {
  // The legend has the room above the lines.
  const room = HEADROOM * Math.max(...all.flatMap(({ points }) => points.map(({ ms }) => ms)));
  const step = tickStep(room, 6);
  const highest = step * Math.ceil(room / step);
  const farthest = Math.max(...all.flatMap(({ points }) => points.map(({ n }) => n)));
  const [bottom, right] = [HEIGHT - BOTTOM, left + PANEL];
  const x = (n) => (left + (PANEL * n) / (1.04 * farthest)).toFixed(1);
  const y = (ms) => (bottom - ((bottom - TOP) * ms) / highest).toFixed(1);
  const parts = [`  <text x="${left}" y="${TOP - 18}" class="caption">${caption}</text>`];
  for (let ms = 0; ms <= highest + step / 2; ms += step) {
    parts.push(
      `  <line x1="${left}" y1="${y(ms)}" x2="${right}" y2="${y(ms)}" class="${ms === 0 ? 'axis' : 'grid'}"/>`,
      `  <text x="${left - 8}" y="${(Number(y(ms)) + 4).toFixed(1)}" class="tick end">${ms}</text>`,
    );
  }
  for (const { n, label } of ticks) {
    parts.push(
      `  <line x1="${x(n)}" y1="${bottom}" x2="${x(n)}" y2="${bottom + 5}" class="axis"/>`,
      `  <text x="${x(n)}" y="${bottom + 19}" class="tick middle">${label}</text>`,
    );
  }
  parts.push(`  <text x="${left + PANEL / 2}" y="${bottom + 42}" class="middle">${axis}</text>`);
  all.forEach(({ points, line }, i) => {
    const last = points.at(-1).n;
    parts.push(
      `  <line x1="${x(0)}" y1="${y(Math.max(0, line.intercept))}" x2="${x(last)}" y2="${y(line.intercept + line.slope * last)}" stroke="${COLOURS[i]}" stroke-width="1.5" opacity="0.65"/>`,
      ...points.map(({ n, ms }) => `  <circle cx="${x(n)}" cy="${y(ms)}" r="4" fill="${COLOURS[i]}"/>`),
    );
  });
  // What has the steepest line is named first, as its line lies above the others. A halo keeps it apart from the grid.
  const order = all.map((_, i) => i).sort((a, b) => all[b].line.slope - all[a].line.slope);
  order.forEach((i, row) => {
    const { line } = all[i];
    const top = TOP + 14 + row * 36;
    parts.push(
      `  <circle cx="${left + 14}" cy="${top - 4}" r="4" fill="${COLOURS[i]}"/>`,
      `  <text x="${left + 24}" y="${top}" class="halo name">${escapeXml(names[i])}</text>`,
      `  <text x="${left + 24}" y="${top + 16}" class="halo small">${slopeText(line)}, R² ${rounded(line.r2)}</text>`,
    );
  });
  return parts.join('\n');
}

/** Never rounded up to 1. */
const rounded = (r2) => (Math.floor(r2 * 1e4) / 1e4).toFixed(4);

const { backend, batch, size } = results[0];
const longest = results.map(({ batches }) => batches.points).sort((a, b) => b.length - a.length)[0];
// Batches come in powers of two.
const apart = 2 ** Math.ceil(Math.log2(longest.at(-1).n / 5));
const ticks = Array.from({ length: Math.floor(longest.at(-1).n / apart) + 1 }, (_, i) => i * apart);
const signed = (ms) => `${ms < 0 ? '−' : '+'} ${short(Math.abs(ms))} ms`;

process.stdout.write(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Time of a training step in Tune mode against batch size and picture size: both are straight lines">
  <style>
    rect.back { fill: #ffffff } text { font: 14px system-ui, sans-serif; fill: #333333 } .title { font-size: 16px; font-weight: 600 }
    .caption, .name { font-weight: 600 } .name { font-size: 13px } .tick { font-size: 12px; fill: #555555 } .small { font-size: 12px; fill: #555555 }
    .end { text-anchor: end } .middle { text-anchor: middle } .grid { stroke: #e6e8ec } .axis { stroke: #8a919c }
    .halo { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
  </style>
  <rect class="back" width="100%" height="100%" rx="8"/>
  <text x="16" y="30" class="title">One training step in Tune mode, ms, ${backend}${backend === 'wasm' ? ' on one core' : ''}</text>
${panel(
  LEFT,
  'Against the batch size',
  `pictures of ${size} × ${size} in a batch`,
  results.map(({ batches }) => batches),
  ticks.map((n) => ({ n, label: n })),
  ({ slope, intercept }) => `${short(slope)} ms a picture ${signed(intercept)}`,
)}
${panel(
  LEFT + PANEL + GAP,
  'Against the picture’s pixels',
  `pixels of a picture, batch ${batch}`,
  results.map(({ pixels }) => pixels),
  results[0].pixels.points.map(({ n, size: side }) => ({ n, label: `${side}²` })),
  ({ slope, intercept }) => `${(1e4 * slope).toFixed(1)} ms for each 100² ${signed(intercept)}`,
)}
</svg>
`);
