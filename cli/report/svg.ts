/** The report of a run as one picture, for a README. */
import { accuracyCurves, lossCurves } from './curves';
import { bytes, count, dateTime, duration, milliseconds, NONE, percent } from './format';
import { drawChart } from './line-chart';
import { Markup, markup } from './markup';
import type { Drawing } from './matrix-picture';
import { chartStyle, LIGHT, MONO, SANS, SERIF } from './palette';
import { drawResults } from './results-picture';
import type { RunReport } from './run-report';
import { endingName, headline, notice, total } from './summary';
import { MONOSPACE, shorten, textWidth, wrap } from './text';

const WIDTH = 860;
const MARGIN = 32;
const INNER = WIDTH - 2 * MARGIN;
const GUTTER = 40;
const HALF = (INNER - GUTTER) / 2;
const CHART = { width: HALF, height: 250 };

const STYLE = `
text { font: 13px ${SANS}; fill: ${LIGHT.ink}; }
.figure { font-family: ${SERIF}; font-size: 68px; font-weight: 600; letter-spacing: -1px; }
.lead { font-family: ${SERIF}; font-size: 22px; }
.muted { fill: ${LIGHT.muted}; }
.title { font-size: 14px; font-weight: 600; }
.bold { font-weight: 600; }
.mistaken { fill: ${LIGHT.train}; font-weight: 600; }
.small { font-size: 12px; }
.value { font-family: ${SERIF}; font-size: 22px; }
.command { font-family: ${MONO}; font-size: 12px; }
.rule { stroke: ${LIGHT.rule}; }
.panel { fill: ${LIGHT.panel}; stroke: ${LIGHT.rule}; }
.warning { fill: ${LIGHT.warning}; }
.info { fill: ${LIGHT.panel}; }
.matrix text { font-size: inherit; }
.matrix .zero { fill: ${LIGHT.muted}; }
.matrix .count { font-weight: 600; }
.cell { fill: ${LIGHT.panel}; }
.right { fill: ${LIGHT.val}; }
.wrong { fill: ${LIGHT.train}; }
${chartStyle(LIGHT)}`;

/** One standalone picture with a ground of its own, for light and dark pages alike. */
export function reportSvg(report: RunReport): string {
  const { value, text } = headline(report);
  const results = (run: RunReport) => drawResults(run, INNER, GUTTER);
  const parts = [drawHeadline, drawNotice, drawCurves, results, drawCosts, drawCommand];
  let y = MARGIN;
  const drawn = parts.map((part) => {
    const { markup: content, height } = part(report);
    const placed = markup`<g transform="translate(${MARGIN} ${y})">${content}</g>\n`;
    y += height;
    return placed;
  });
  const title = `Fine-tuning of ${report.model}: ${`${value} ${text}`.trim()}`;
  const height = Math.ceil(y + MARGIN - 8);
  return markup`<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">
<title>${title}</title>
<style>${new Markup(STYLE)}</style>
<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="10" fill="${LIGHT.paper}" stroke="${LIGHT.rule}"/>
${drawn}</svg>
`.text;
}

function drawHeadline(report: RunReport): Drawing {
  const { value, text } = headline(report);
  const { labels, counts, mode, model } = report;
  const facts = ` · ${mode} mode · ${count(labels.length, 'class')} · ${count(total(counts.train), 'training picture')} · ${endingName(report)}`;
  return {
    markup: markup`<text x="-3" y="50"><tspan class="figure">${value}</tspan><tspan class="lead" dx="${value === '' ? 3 : 16}">${text}</tspan></text>
<text class="muted" y="84">${shorten(model, INNER / 13 - textWidth(facts))}${facts}</text>`,
    height: 118,
  };
}

/** Only where something has to be said of the run's end. */
function drawNotice(report: RunReport): Drawing {
  const said = notice(report);
  if (said === null) return { markup: markup``, height: 0 };
  const lines = wrap(`${said.title} ${said.text}`, 118, 4);
  const height = 20 * lines.length + 18;
  return {
    markup: markup`<rect class="${said.isProblem ? 'warning' : 'info'}" width="${INNER}" height="${height}" rx="4"/>
${lines.map((line, index) => markup`<text x="14" y="${24 + 20 * index}">${line}</text>\n`)}`,
    height: height + 26,
  };
}

function drawCurves(report: RunReport): Drawing {
  if (report.history.length === 0) return { markup: markup``, height: 0 };
  return {
    markup: markup`<g class="chart">${drawChart(lossCurves(report), CHART, false)}</g>
<g class="chart" transform="translate(${HALF + GUTTER} 0)">${drawChart(accuracyCurves(report), CHART, false)}</g>`,
    height: CHART.height + 26,
  };
}

function drawCosts({ time, memory }: RunReport): Drawing {
  const entries = [
    ['time per step', milliseconds(time.msPerStep)],
    ['waiting for pictures', percent(time.waiting)],
    ['whole run', duration(time.totalSeconds)],
    ['peak memory of a step', bytes(memory.peakBytes)],
    ['process memory', bytes(memory.rssBytes)],
  ].filter(([, value]) => value !== NONE);
  const step = INNER / Math.max(entries.length, 4);
  return {
    markup: markup`<line class="rule" x2="${INNER}"/>${entries.map(
      ([name, value], index) =>
        markup`<text class="muted small" x="${index * step}" y="28">${name}</text><text class="value" x="${index * step}" y="54">${value}</text>\n`,
    )}`,
    height: 76,
  };
}

function drawCommand({ command, version, date, backend }: RunReport): Drawing {
  const lines = wrap(command, Math.floor((INNER - 28) / (12 * MONOSPACE)), 4);
  const height = 18 * lines.length + 18;
  return {
    markup: markup`<rect class="panel" width="${INNER}" height="${height}" rx="4"/>
${lines.map((line, index) => markup`<text class="command" x="14" y="${23 + 18 * index}">${line}</text>\n`)}
<text class="muted small" y="${height + 24}">${shorten(`tfjs-tune-mode ${version} · ${backend} · ${dateTime(date)}`, INNER / 12)}</text>`,
    height: height + 30,
  };
}
