/** The report of a run as a page. */
import { Markup, markup } from './markup';
import { PAGE_STYLE } from './page-style';
import type { RunReport } from './run-report';
import {
  blocksSection,
  confusionSection,
  costSection,
  learningSection,
  pageHeader,
  rateSection,
  settingsSection,
  worstSection,
} from './sections';
import { headline } from './summary';

/** Nothing may be fetched, and no script may run, whatever a name in the report contains. */
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** One html file that needs nothing besides itself: no network, no script, no font. */
export function reportHtml(report: RunReport): string {
  const { value, text } = headline(report);
  const sections = [
    pageHeader,
    learningSection,
    rateSection,
    confusionSection,
    worstSection,
    costSection,
    blocksSection,
    settingsSection,
  ];
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${`${value} ${text}`.trim()} – fine-tuning of ${report.model}</title>
<link rel="icon" href="data:,">
<style>${new Markup(PAGE_STYLE)}</style>
</head>
<body>
<main>
${sections.map((section) => section(report))}
</main>
</body>
</html>
`.text;
}
