/**
 * Draws a net as `inspect --html` does, as one picture for the README:
 *
 *   npx tsx scripts/draw-inspect.ts <model> > docs/inspect.svg
 */
import '@tensorflow/tfjs-backend-cpu';
import { enableProdMode, setBackend } from '@tensorflow/tfjs-core';
import { openSource } from '../adapters/convert/open';
import type { LayersSource } from '../adapters/convert/source';
import { inspectData, inspectHtml } from '../cli/inspect';
import { INSPECT_STYLE } from '../cli/inspect/style';
import { PAGE_STYLE } from '../cli/report/page-style';

const [place] = process.argv.slice(2);
if (place === undefined) {
  console.error('usage: npx tsx scripts/draw-inspect.ts <model> > docs/inspect.svg');
  process.exit(2);
}
enableProdMode();
await setBackend('cpu');
const source = (await openSource(place, { withoutWeights: true })) as LayersSource;
const model = await source.build();
const { format, producer, bytes } = source;
const page = inspectHtml(inspectData(model, { format, producer, size: bytes }), model);
const [svg] = /<svg class="graph"[\s\S]*?<\/svg>/.exec(page) as RegExpExecArray;
// Only the rules that a picture needs: colours, and what is drawn.
const rules = `${PAGE_STYLE}${INSPECT_STYLE}`
  .split('\n')
  .filter((rule) => /^(:root|@media \(prefers-color-scheme: dark\) \{ :root|\.graph|\.box)/.test(rule));
const paper = '<rect width="100%" height="100%" style="fill: var(--paper)"/>';
process.stdout.write(`${svg.replace('>', `>\n<style>${rules.join('\n')}</style>\n${paper}`)}\n`);
