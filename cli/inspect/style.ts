/** What the page adds to the style sheet of the reports. Every state differs in more than its colour. */
import { SANS } from '../report/palette';

const LIGHT = '--bare: #6a4a97; --restorable: #23703f; --affine: #0d6c78;';
const DARK = '--bare: #bda4ec; --restorable: #82d0a0; --affine: #6fcad6;';

export const INSPECT_STYLE = `
:root { ${LIGHT} }
@media (prefers-color-scheme: dark) { :root { ${DARK} } }
@media print { :root { ${LIGHT} } }
.wide { width: calc(100vw - 56px); margin-left: calc(50% - 50vw + 28px); overflow-x: auto; text-align: center; }
.graph { display: inline-block; max-width: none; text-align: left; }
.graph text { font: 12px ${SANS}; fill: var(--ink); }
.graph text.label { font-weight: 600; }
.graph text.small { font-size: 11px; fill: color-mix(in srgb, var(--ink) 82%, var(--paper)); font-variant-numeric: tabular-nums; }
.graph .edges path { fill: none; stroke: var(--muted); stroke-width: 1.2; marker-end: url(#arrow); }
.graph .edges .onward { stroke-dasharray: 2 3; stroke-width: 1.5; }
.graph .head { fill: var(--muted); }
.graph .frame { fill: color-mix(in srgb, var(--panel) 60%, transparent); stroke: var(--muted); stroke-dasharray: 1 3; stroke-linecap: round; }
.graph text.frame-title { font-size: 11px; font-weight: 600; fill: var(--muted); paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.graph .port rect { fill: var(--paper); stroke: var(--muted); stroke-dasharray: 2 3; }
.box rect { fill: var(--panel); stroke: var(--rule); }
.box .stripe { stroke: none; }
.box.block rect { fill: color-mix(in srgb, var(--val) 15%, var(--paper)); stroke: var(--val); }
.box.block .stripe { fill: var(--val); }
.box.alone rect { fill: var(--warning); stroke: var(--train); stroke-width: 1.6; stroke-dasharray: 5 3; }
.box.bare rect { fill: color-mix(in srgb, var(--bare) 12%, var(--paper)); stroke: var(--bare); }
.box.restorable rect { fill: color-mix(in srgb, var(--restorable) 15%, var(--paper)); stroke: var(--restorable); }
.box.restorable .stripe { fill: var(--restorable); }
.box.affine rect { fill: color-mix(in srgb, var(--affine) 13%, var(--paper)); stroke: var(--affine); stroke-dasharray: 1 2; }
.box.affine .stripe { fill: var(--affine); }
.graph .box.input > rect:first-of-type, .graph .box.output > rect:first-of-type { stroke-width: 2.5; stroke: var(--ink); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 0 0 20px; padding: 0; font-size: 14px; }
.legend svg { vertical-align: -3px; margin-right: 8px; }
.legend small { color: var(--muted); }
.numbers .name { text-align: left; }
@media print { .wide { width: 100%; margin-left: 0; overflow: visible; } .graph { max-width: 100%; height: auto; } }
`;
