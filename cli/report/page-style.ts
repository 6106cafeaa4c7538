/** The style sheet of the page. */
import { CELL_STRENGTH, chartStyle, DARK, LIGHT, MONO, type Palette, SANS, SERIF } from './palette';

const NAMES = Object.keys(LIGHT) as (keyof Palette)[];

const variables = (palette: Palette, strength: number): string =>
  `${NAMES.map((name) => `--${name}: ${palette[name]};`).join(' ')} --strength: ${100 * strength}%;`;

const references = Object.fromEntries(NAMES.map((name) => [name, `var(--${name})`])) as unknown as Palette;

export const PAGE_STYLE = `
:root { color-scheme: light dark; ${variables(LIGHT, CELL_STRENGTH.light)} }
@media (prefers-color-scheme: dark) { :root { ${variables(DARK, CELL_STRENGTH.dark)} } }
@media print { :root { color-scheme: light; ${variables({ ...LIGHT, paper: '#ffffff' }, CELL_STRENGTH.light)} } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 ${SANS}; overflow-wrap: anywhere; }
main { max-width: 1000px; margin: 0 auto; padding: 40px 20px 64px; }
h1, h2 { font-family: ${SERIF}; font-weight: 600; text-wrap: balance; }
h1 { margin: 0; line-height: 1.1; display: flex; flex-wrap: wrap; align-items: baseline; column-gap: 16px; row-gap: 4px; }
.figure { font-size: clamp(64px, 14vw, 112px); letter-spacing: -0.02em; font-variant-numeric: lining-nums; line-height: 1; overflow-wrap: normal; }
.figure-text { font-size: clamp(20px, 3.4vw, 28px); font-weight: 400; }
h2 { font-size: 26px; line-height: 1.25; margin: 0 0 16px; }
h3 { font-size: 16px; margin: 32px 0 10px; }
section { border-top: 1px solid var(--rule); margin-top: 44px; padding-top: 28px; }
p { max-width: 68ch; margin: 0 0 14px; }
small { font-size: 13px; }
.eyebrow { color: var(--muted); margin: 0 0 14px; font-size: 14px; }
.story { font-size: 18px; margin: 18px 0 0; }
.remark { color: var(--muted); font-size: 14px; }
.name { unicode-bidi: isolate; }
.number { font-variant-numeric: tabular-nums; }
.notice { margin: 22px 0 0; padding: 14px 18px; max-width: 76ch; background: var(--panel); border-left: 4px solid var(--val); }
.notice.problem { background: var(--warning); border-left-color: var(--train); }

dl { margin: 0; }
dt { color: var(--muted); font-size: 13px; }
dd { margin: 0; }
dd small { display: block; color: var(--muted); line-height: 1.4; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 18px 24px; margin-top: 28px; }
.facts dd { font-weight: 600; line-height: 1.4; }
.facts dd small { font-weight: 400; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(140px, 26%), 1fr)); gap: 24px 24px; }
.tiles dd > span { font-family: ${SERIF}; font-size: 30px; line-height: 1.25; font-variant-numeric: lining-nums tabular-nums; }
.settings { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(140px, 20%), 1fr)); gap: 14px 24px; margin-top: 22px; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 28px 40px; margin-bottom: 18px; }
.chart { width: 100%; max-width: 560px; height: auto; display: block; overflow: visible; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 20px 40px; }
.beside > p { align-self: center; }
.beside > div > h3:first-child { margin-top: 0; }
${chartStyle(references)}
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible, pre:focus-visible, summary:focus-visible { outline: 2px solid var(--val); outline-offset: 2px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
.data { min-width: min(100%, 420px); }
.data th, .data td { text-align: left; vertical-align: top; padding: 7px 22px 7px 0; border-bottom: 1px solid var(--grid); font-weight: 400; overflow-wrap: break-word; }
.data th.name { max-width: min(320px, 36vw); overflow-wrap: anywhere; }
.data td { max-width: 460px; }
.data thead th { color: var(--muted); font-size: 13px; border-bottom-color: var(--rule); vertical-align: bottom; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; }
.numbers tbody th { white-space: nowrap; }
.numbers tbody th.name { white-space: normal; min-width: 90px; }
.numbers tr.best > * { font-weight: 600; }
.share { white-space: nowrap; }
.bar { display: inline-block; width: 90px; height: 9px; margin-left: 12px; background: linear-gradient(var(--val) 0 0) 0 / calc(var(--share) * 100%) 100% no-repeat var(--grid); }

.matrix { border-collapse: separate; border-spacing: 2px; }
.matrix th { font-weight: 400; text-align: right; padding: 0 8px; white-space: nowrap; }
.matrix th[scope=row], .matrix thead td { position: sticky; left: 0; background: var(--paper); z-index: 1; }
.matrix thead th { text-align: center; vertical-align: bottom; padding: 4px 8px; }
.matrix .corner { color: var(--muted); font-size: 12px; padding-right: 8px; white-space: nowrap; }
.matrix tbody td { text-align: center; min-width: 84px; height: 60px; padding: 0 4px; font-size: 17px; background: var(--panel); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media (max-width: 600px) { .matrix:not(.large):not(.huge) { width: 100%; } .matrix:not(.large):not(.huge) tbody td { min-width: 0; } .matrix:not(.large):not(.huge) th { white-space: normal; overflow-wrap: anywhere; padding: 0 3px; font-size: 12px; } }
.matrix td.right { background: color-mix(in srgb, var(--val) calc((0.25 + 0.75 * var(--share)) * var(--strength)), var(--panel)); font-weight: 600; }
.matrix td.wrong { background: color-mix(in srgb, var(--train) calc((0.25 + 0.75 * var(--share)) * var(--strength)), var(--panel)); }
.matrix td.zero { color: var(--muted); }
.matrix.large { border-spacing: 2px; font-size: 13px; }
.matrix.huge { border-spacing: 1px; font-size: 11px; }
.matrix.large thead th { padding: 2px 0 6px; }
.matrix.large thead span.name { writing-mode: vertical-rl; text-orientation: sideways; transform: rotate(180deg); }
.matrix.large th[scope=row] { padding: 0 6px 0 0; line-height: 1.1; }
.matrix.large thead td { vertical-align: bottom; padding-bottom: 6px; }
.matrix.large tbody td { min-width: 34px; width: 34px; height: 34px; padding: 0 1px; font-size: 13px; }
.matrix.huge tbody td { min-width: 21px; width: 21px; height: 21px; font-size: 11px; }

.confusions { list-style: none; padding: 0; margin: 0; max-width: 640px; font-size: 15px; }
.confusions li { display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 20px; padding: 6px 0; border-bottom: 1px solid var(--grid); }
.confusions small { color: var(--muted); }
.pictures { list-style: none; padding: 0; margin: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 24px 20px; }
figure { margin: 0; }
figure img, .missing { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: cover; background: var(--panel); }
.missing { display: grid; place-items: center; text-align: center; padding: 12px; color: var(--muted); font-size: 13px; border: 1px dashed var(--rule); }
figcaption { font-size: 14px; line-height: 1.35; padding-top: 8px; }
.file { display: block; color: var(--muted); font-size: 12px; margin-bottom: 4px; }
.said { display: block; overflow-wrap: break-word; }
.said .number { white-space: nowrap; }
.said .wrong { color: var(--train); }

details { margin-top: 12px; }
summary { cursor: pointer; padding: 6px 0; }
details[open] > summary { margin-bottom: 6px; }
pre { margin: 0; padding: 16px 18px; background: var(--panel); border: 1px solid var(--rule); white-space: pre-wrap; font: 14px/1.5 ${MONO}; user-select: all; -webkit-user-select: all; }
code { font: inherit; }

@media (min-width: 760px) { .facts { display: flex; flex-wrap: wrap; column-gap: 44px; } .facts > div { max-width: 300px; } }
@media (max-width: 520px) { .data th, .data td { padding-right: 12px; } .bar { width: 36px; margin-left: 8px; } }
@media print {
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 24pt; padding-top: 14pt; }
  h2, h3 { break-after: avoid; }
  figure, .chart, .tiles > div, tr, li { break-inside: avoid; }
  .charts { grid-template-columns: 1fr 1fr; gap: 20px; }
  .scroll { overflow: visible; }
  .matrix.huge { font-size: 7px; }
  .matrix.huge tbody td { min-width: 14px; width: 14px; height: 14px; font-size: 7px; padding: 0; }
  .bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
`;
