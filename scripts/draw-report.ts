/**
 * Draws a run as one picture, for the README:
 *
 *   npx tsx scripts/draw-report.ts <out folder of finetune> > docs/report.svg
 *
 * Without the worst pictures: they are not ours to publish, and history.json does not have them.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { RunReport } from '../cli/report/run-report';
import { reportSvg } from '../cli/report/svg';

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: npx tsx scripts/draw-report.ts <out folder of finetune> > docs/report.svg');
  process.exit(2);
}
const report = JSON.parse(fs.readFileSync(path.join(folder, 'history.json'), 'utf8')) as RunReport;
process.stdout.write(reportSvg({ ...report, worst: [] }));
