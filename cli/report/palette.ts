/** The colours of the report, and how its charts use them. Text on `paper` and `panel` has a contrast of at least 4.5. */

export interface Palette {
  paper: string;
  panel: string;
  ink: string;
  muted: string;
  rule: string;
  grid: string;
  /** Training; mistakes. */
  train: string;
  /** Validation; what was right. */
  val: string;
  /** Behind a notice. */
  warning: string;
}

export const LIGHT: Palette = {
  paper: '#fdfcf9',
  panel: '#f5f3ed',
  ink: '#1d2126',
  muted: '#5a616b',
  rule: '#d9d5cb',
  grid: '#e8e4db',
  train: '#a84a12',
  val: '#1d5c9e',
  warning: '#fbecd2',
};

export const DARK: Palette = {
  paper: '#15181c',
  panel: '#1e2227',
  ink: '#e9e7e2',
  muted: '#a5abb4',
  rule: '#3a4048',
  grid: '#2a2f36',
  train: '#f0a36b',
  val: '#82b9f2',
  warning: '#3b2c16',
};

/** The most of a colour that is mixed into a matrix cell, so that the ink on it keeps its contrast. */
export const CELL_STRENGTH = { light: 0.6, dark: 0.42 };

export const SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif";
export const SERIF = "'Iowan Old Style', 'Palatino Linotype', Palatino, 'URW Palladio L', P052, Georgia, serif";
export const MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

/** Rules for what line-chart.ts draws. @param color colours, or references to them. */
export function chartStyle(color: Palette): string {
  return `
.chart text { font: 12px ${SANS}; fill: ${color.muted}; font-variant-numeric: tabular-nums; }
.chart .chart-title { font-weight: 600; font-size: 14px; fill: ${color.ink}; }
.chart .grid { stroke: ${color.grid}; stroke-width: 1; }
.chart .axis { stroke: ${color.muted}; stroke-width: 1; }
.chart .mark { stroke: ${color.ink}; stroke-width: 1; stroke-dasharray: 2 3; }
.chart .mark-label { fill: ${color.ink}; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.chart .line.train, .chart .key.train { stroke: ${color.train}; stroke-dasharray: 5 3.5; }
.chart .line.val, .chart .key.val { stroke: ${color.val}; }
.chart .key { stroke-width: 2; }
.chart .dot.train { fill: ${color.train}; }
.chart .dot.val { fill: ${color.val}; }
.chart .dot.best { stroke: ${color.ink}; stroke-width: 1.5; }
.chart .label-train { fill: ${color.train}; }
.chart .label-val { fill: ${color.val}; }
.chart .hit { fill: transparent; }
`;
}
