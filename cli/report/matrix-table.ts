/** The confusion matrix and the classes as tables of the page. */
import { recall, rowShares, topConfusions } from './confusion';
import { count, percent, whole } from './format';
import { breakable, type Markup, markup } from './markup';
import type { RunReport } from './run-report';
import { className } from './summary';
import { shorten } from './text';

/** With more classes the columns' names stand upright, and zeros are left out. */
const FEW = 6;
/** With more classes the cells are as small as their numbers allow. */
const MANY = 16;
const NAME_WIDTH = 11;
const LIST_WIDTH = 22;

export function matrixTable({ confusion, labels }: RunReport): Markup {
  const isLarge = confusion.length > FEW;
  const names = confusion.map((_, index) => className(labels, index));
  const heads = names.map(
    (name) => markup`<th scope="col" title="${name}"><span class="name">${shorten(name, NAME_WIDTH)}</span></th>`,
  );
  const rows = confusion.map((row, label) => {
    const shares = rowShares(row);
    const cells = row.map((value, predicted) => {
      if (value === 0) return markup`<td class="zero">${isLarge ? '' : '0'}</td>`;
      const share = shares?.[predicted] ?? 0;
      const kind = label === predicted ? 'right' : 'wrong';
      const hint = `${names[label]} taken for ${className(labels, predicted)}: ${whole(value)} (${percent(share)})`;
      return markup`<td class="${kind}" style="--share:${share}" title="${hint}">${whole(value)}</td>`;
    });
    return markup`<tr><th scope="row" title="${names[label]}"><span class="name">${shorten(names[label], NAME_WIDTH)}</span></th>${cells}</tr>\n`;
  });
  return markup`<p class="remark">Rows are true classes, columns what the model said. The stronger a cell's colour, the larger its share of the row.</p>
<div class="scroll" role="region" aria-label="Confusion matrix" tabindex="0"><table class="matrix${isLarge ? ' large' : ''}${confusion.length > MANY ? ' huge' : ''}" aria-label="Confusion matrix">
<thead><tr><td><span class="corner">true ↓ said →</span></td>${heads}</tr></thead>
<tbody>${rows}</tbody></table></div>`;
}

/** The most frequent confusions as a list; nothing for two classes, where the matrix says it all. */
export function confusionList({ confusion, labels }: RunReport): Markup {
  const top = confusion.length > 2 ? topConfusions(confusion, labels, 8) : [];
  if (top.length === 0) return markup``;
  const entries = top.map(
    ({ label, predicted, count: times, share }) =>
      markup`<li><span><b class="name" title="${label}">${shorten(label, LIST_WIDTH)}</b> taken for <b class="name" title="${predicted}">${shorten(predicted, LIST_WIDTH)}</b></span> <span class="number">${whole(times)}× <small>${percent(share, 0)} of its pictures</small></span></li>\n`,
  );
  return markup`<h3>Most frequent confusions</h3><ol class="confusions">${entries}</ol>`;
}

/** Pictures per class, and how many of them were right. */
export function classTable({ labels, counts, confusion }: RunReport): Markup {
  const rows = labels.map((label, index) => {
    const share = recall(confusion, index);
    const bar = share !== null && markup`<span class="bar" style="--share:${share}"></span>`;
    return markup`<tr><th scope="row" class="name" title="${label}">${breakable(shorten(label, 40))}</th><td>${whole(counts.train[index])}</td><td>${whole(counts.val[index])}</td><td class="share">${percent(share)}${bar}</td></tr>\n`;
  });
  const table = markup`<table class="data numbers"><thead><tr><th scope="col">class</th><th scope="col">training</th><th scope="col">validation</th><th scope="col">of these right</th></tr></thead><tbody>${rows}</tbody></table>`;
  const isLong = labels.length > 12;
  return isLong
    ? markup`<details><summary>All ${count(labels.length, 'class')}</summary><div class="scroll">${table}</div></details>`
    : markup`<div class="scroll">${table}</div>`;
}
