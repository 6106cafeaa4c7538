/**
 * Draws the picture of restored BatchNormalizations from the bench's own figures: accuracy against learning rate, a row
 * of panels for each model, a panel for each optimizer.
 *
 *   npm run bench:restore -- --model <a> --data <folder> --out a.json
 *   node scripts/draw-restore.mjs a.json b.json "A" "B" > docs/restore.svg
 */
import fs from 'node:fs';

const files = process.argv.slice(2).filter((each) => each.endsWith('.json'));
const titles = process.argv.slice(2).filter((each) => !each.endsWith('.json'));
const results = files.flatMap((file) => JSON.parse(fs.readFileSync(file, 'utf8')));
const names = results.map(({ model }, i) => titles[i] ?? model);
const OPTIMIZERS = { sgd: 'SGD with momentum 0.9', adam: 'Adam' };
const COLOURS = ['#3f6fb5', '#e8710a', '#4b8a4f', '#8a5a9e'];
const FOLDED = '#7a828e';
const label = (arm) =>
  arm === 'true'
    ? 'its true BatchNorms (Tune)'
    : arm === 'folded'
      ? 'folded (Deploy)'
      : arms.length > 3
        ? `restored, rule ${arm} (Tune)`
        : 'restored (Tune)';
const arms = [...new Set(results[0].points.map(({ arm }) => arm))];
const colourOf = (arm) => (arm === 'folded' ? FOLDED : COLOURS[arms.filter((each) => each !== 'folded').indexOf(arm)]);
const optimizers = Object.keys(OPTIMIZERS).filter((name) =>
  results[0].points.some((point) => point.optimizer === name),
);

const [WIDTH, LEFT, GAP, RIGHT, TOP, PANEL_HEIGHT, ROW_GAP] = [760, 56, 52, 20, 92, 190, 96];
const PANEL = (WIDTH - LEFT - RIGHT - GAP * (optimizers.length - 1)) / optimizers.length;
const HEIGHT = TOP + results.length * (PANEL_HEIGHT + ROW_GAP) - 22;
const escapeXml = (text) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
/** A run whose loss became NaN is at chance. */
const valuesOf = (point, chance) => point.accuracies.map((value) => value ?? 1 - chance);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function panel(result, optimizer, left, top, name) {
  const points = result.points.filter((point) => point.optimizer === optimizer);
  const rates = [...new Set(points.map(({ rate }) => rate))].sort((a, b) => a - b);
  const every = result.points.flatMap((point) => valuesOf(point, result.chance));
  const low = Math.floor(10 * Math.min(...every)) / 10;
  const high = Math.ceil(10 * Math.max(...every)) / 10;
  const bottom = top + PANEL_HEIGHT;
  const [first, last] = [Math.log(rates[0]), Math.log(rates.at(-1))];
  const x = (rate, shift = 0) =>
    (left + 14 + ((PANEL - 28) * (Math.log(rate) - first)) / (last - first) + shift).toFixed(1);
  const y = (value) => (bottom - (PANEL_HEIGHT * (value - low)) / (high - low)).toFixed(1);
  const parts = [
    `  <text x="${left}" y="${top - 14}" class="caption">${escapeXml(name)}, ${result.epochs} epochs</text>`,
  ];
  for (let tick = Math.round(10 * low); tick <= Math.round(10 * high); tick++) {
    parts.push(
      `  <line x1="${left}" y1="${y(tick / 10)}" x2="${left + PANEL}" y2="${y(tick / 10)}" class="${tick === Math.round(10 * low) ? 'axis' : 'grid'}"/>`,
      `  <text x="${left - 8}" y="${(Number(y(tick / 10)) + 4).toFixed(1)}" class="tick end">${10 * tick}</text>`,
    );
  }
  for (const [value, text, at, end] of [
    [result.chance, 'chance', left + 4, ''],
    [result.head, 'the head alone', left + PANEL - 4, ' end'],
  ]) {
    parts.push(
      `  <line x1="${left}" y1="${y(value)}" x2="${left + PANEL}" y2="${y(value)}" class="reference"/>`,
      `  <text x="${at}" y="${(Number(y(value)) - 5).toFixed(1)}" class="halo small${end}">${text}</text>`,
    );
  }
  for (const rate of rates) {
    parts.push(
      `  <line x1="${x(rate)}" y1="${bottom}" x2="${x(rate)}" y2="${bottom + 5}" class="axis"/>`,
      `  <text x="${x(rate)}" y="${bottom + 19}" class="tick middle">${rate < 1e-3 ? rate.toExponential().replace('-', '−') : rate}</text>`,
    );
  }
  parts.push(
    `  <text x="${left + PANEL / 2}" y="${bottom + 40}" class="middle">learning rate of ${OPTIMIZERS[optimizer]}</text>`,
  );
  arms.forEach((arm, i) => {
    const of = points.filter((point) => point.arm === arm).sort((a, b) => a.rate - b.rate);
    // Beside each other, so that the bars of one arm do not hide those of another.
    const shift = 4 * (i - (arms.length - 1) / 2);
    const colour = colourOf(arm);
    const line = of.map((point) => `${x(point.rate, shift)},${y(mean(valuesOf(point, result.chance)))}`).join(' ');
    parts.push(
      `  <polyline points="${line}" fill="none" stroke="${colour}" stroke-width="2"${arm === 'folded' ? ' stroke-dasharray="6 4"' : ''}/>`,
    );
    for (const point of of) {
      const values = valuesOf(point, result.chance);
      const at = x(point.rate, shift);
      parts.push(
        `  <line x1="${at}" y1="${y(Math.min(...values))}" x2="${at}" y2="${y(Math.max(...values))}" stroke="${colour}" stroke-width="1.5" opacity="0.55"/>`,
        `  <circle cx="${at}" cy="${y(mean(values))}" r="3.5" fill="${colour}"/>`,
      );
    }
  });
  return parts.join('\n');
}

const legend = arms.map((arm, i) => {
  const left = 16 + (i * (WIDTH - 32)) / Math.max(3, arms.length);
  return `  <line x1="${left}" y1="50" x2="${left + 22}" y2="50" stroke="${colourOf(arm)}" stroke-width="3"${arm === 'folded' ? ' stroke-dasharray="6 4"' : ''}/>
  <text x="${left + 30}" y="55">${label(arm)}</text>`;
});
const { seeds } = results[0];
process.stdout.write(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Validation accuracy against learning rate with true, restored and folded BatchNorms">
  <style>
    rect.back { fill: #ffffff } text { font: 14px system-ui, sans-serif; fill: #333333 } .title { font-size: 16px; font-weight: 600 }
    .caption { font-weight: 600 } .tick { font-size: 12px; fill: #555555 } .small { font-size: 12px; fill: #555555 }
    .end { text-anchor: end } .middle { text-anchor: middle } .grid { stroke: #e6e8ec } .axis { stroke: #8a919c }
    .reference { stroke: #8a919c; stroke-dasharray: 2 4 }
    .halo { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
  </style>
  <rect class="back" width="100%" height="100%" rx="8"/>
  <text x="16" y="30" class="title">Validation accuracy in %, mean and range of ${seeds.length} seeds</text>
${legend.join('\n')}
${results
  .flatMap((result, row) =>
    optimizers.map((optimizer, column) =>
      panel(result, optimizer, LEFT + column * (PANEL + GAP), TOP + row * (PANEL_HEIGHT + ROW_GAP), names[row]),
    ),
  )
  .join('\n')}
</svg>
`);
