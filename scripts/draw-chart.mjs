/**
 * Draws the README's picture from the bench's own figures:
 *
 *   npm run bench --silent -- --model <dir> --batch 8 --json | node scripts/draw-chart.mjs "MobileNet v1 0.25" > docs/bench.svg
 */
import fs from 'node:fs';

const title = process.argv[2] ?? 'One training step';
const { ms, peaks, batch, backend } = JSON.parse(fs.readFileSync(0, 'utf8').trim().split('\n').at(-1));
const NAMES = {
  train: 'Train (plain tfjs)',
  eval: 'Eval',
  deploy: 'Deploy, trained',
  tune: 'Tune',
  'tune+recompute': 'Tune, recompute',
};
const MODES = Object.keys(NAMES).filter((mode) => ms[mode] !== undefined);
const [WIDTH, LABELS, ROW] = [720, 160, 30];
const PANEL = 55 + ROW * MODES.length;

const panel = (caption, values, unit, y) => {
  const largest = Math.max(...MODES.map((mode) => values[mode]));
  const scale = (WIDTH - LABELS - 172) / largest;
  const bars = MODES.map((mode, i) => {
    const top = y + 36 + i * ROW;
    const width = Math.max(2, values[mode] * scale);
    const ratio = mode === 'eval' ? '' : ` (${(values[mode] / values.eval).toFixed(2)} × Eval)`;
    return `  <text x="${LABELS - 10}" y="${top + 15}" class="name${mode.startsWith('tune') ? ' ours' : ''}">${NAMES[mode]}</text>
  <rect x="${LABELS}" y="${top}" width="${width.toFixed(1)}" height="20" rx="3" class="${mode.startsWith('tune') ? 'tune' : 'other'}"/>
  <text x="${(LABELS + width + 8).toFixed(1)}" y="${top + 15}" class="value">${Math.round(values[mode])} ${unit}${ratio}</text>`;
  });
  return `  <text x="${LABELS}" y="${y + 20}" class="caption">${caption}</text>\n${bars.join('\n')}`;
};

const megabytes = Object.fromEntries(MODES.map((mode) => [mode, peaks[mode] / 1e6]));
process.stdout.write(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${2 * PANEL + 36}" role="img" aria-label="${title}: time and peak memory of a training step in each mode">
  <style>
    rect.back { fill: #ffffff } text { font: 14px system-ui, sans-serif; fill: #333333 } .title { font-size: 16px; font-weight: 600 }
    .caption { font-weight: 600 } .name { text-anchor: end } .ours { font-weight: 600 } .value { fill: #555555 }
    .other { fill: #b8c0cc } .tune { fill: #e8710a }
  </style>
  <rect class="back" width="100%" height="100%" rx="8"/>
  <text x="16" y="28" class="title">${title}: one training step, batch ${batch}, ${backend}${backend === 'wasm' ? ' on one core' : ''}</text>
${panel('Peak memory', megabytes, 'MB', 40)}
${panel('Time', ms, 'ms', 40 + PANEL)}
</svg>
`);
