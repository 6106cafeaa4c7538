/** The report of a run as a page. */
import { markup } from './markup';
import { page } from './page';
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
  const title = `${`${value} ${text}`.trim()} – fine-tuning of ${report.model}`;
  return page(title, markup`${sections.map((section) => section(report))}\n`);
}
