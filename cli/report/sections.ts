/** The sections of the page, each from the report alone. Markup without text where there is nothing to say. */
import { isPerfect } from './confusion';
import { accuracyCurves, gaps, lossCurves, rateCurve } from './curves';
import { bytes, count, dateTime, duration, milliseconds, NONE, percent, precise, rate, whole } from './format';
import { chartPicture } from './line-chart';
import { breakable, type Markup, markup, type Part } from './markup';
import { classTable, confusionList, matrixTable } from './matrix-table';
import type { RunReport } from './run-report';
import { bestRecord, endingName, fileName, headline, lastPart, notice, story, total } from './summary';
import { shorten } from './text';

const CHART = { width: 420, height: 270 };

const section = (title: string, ...content: Part[]): Markup =>
  markup`<section><h2>${title}</h2>\n${content}</section>\n`;

const facts = (kind: string, entries: readonly (readonly [name: string, value: string, remark?: string])[]): Markup =>
  markup`<dl class="${kind}">${entries.map(
    ([name, value, remark]) =>
      markup`<div><dt>${name}</dt><dd><span class="name">${breakable(value)}</span>${remark !== undefined && markup`<small>${remark}</small>`}</dd></div>\n`,
  )}</dl>`;

export function pageHeader(report: RunReport): Markup {
  const { value, text } = headline(report);
  const said = notice(report);
  return markup`<header><p class="eyebrow">Fine-tuning report · ${dateTime(report.date)}</p>
<h1>${value !== '' && markup`<span class="figure">${value}</span> `}<span class="figure-text">${text}</span></h1>
<p class="story">${story(report)}</p>
${said && markup`<div class="notice${said.isProblem ? ' problem' : ''}" role="note"><b>${said.title}</b> ${said.text}</div>`}
${facts('facts', [
  ['Model', report.model],
  [
    'Pictures',
    report.data,
    `${whole(total(report.counts.train))} for training, ${whole(total(report.counts.val))} for validation`,
  ],
  ['Classes', whole(report.labels.length)],
  ['Mode', report.mode],
  ['Run', endingName(report)],
])}</header>
`;
}

export function learningSection(report: RunReport): Markup {
  if (report.history.length === 0) return markup``;
  const broken = gaps(report);
  return section(
    'How it learned',
    markup`<div class="charts">${chartPicture(lossCurves(report), CHART)}${chartPicture(accuracyCurves(report), CHART)}</div>
${report.history.length > 1 && markup`<p class="remark">Training values are means over an epoch, with augmentation and label smoothing. Validation values are taken after it, on pictures as they are, so they can be the better ones.</p>`}
${broken.length > 0 && markup`<p class="remark">Not a finite number, and therefore not drawn: ${broken.join('; ')}.</p>`}
${epochTable(report)}`,
  );
}

function epochTable(report: RunReport): Markup {
  const best = bestRecord(report);
  const columns = [
    'epoch',
    'training loss',
    'validation loss',
    'training accuracy',
    'validation accuracy',
    'learning rate',
    'seconds',
    'pictures/s',
  ];
  const rows = report.history.map(
    (record) =>
      markup`<tr${record === best && markup` class="best"`}><th scope="row">${record.epoch}${record.epoch === 0 && ' (head)'}${record === best && ' best'}</th>${[
        precise(record.loss),
        precise(record.valLoss),
        percent(record.accuracy),
        percent(record.valAccuracy),
        rate(record.learningRate),
        Number.isFinite(record.seconds) ? record.seconds.toFixed(1) : NONE,
        whole(record.picturesPerSecond),
      ].map((cell) => markup`<td>${cell}</td>`)}</tr>\n`,
  );
  return markup`<details><summary>All epochs as a table</summary><div class="scroll"><table class="data numbers"><thead><tr>${columns.map(
    (column) => markup`<th scope="col">${column}</th>`,
  )}</tr></thead><tbody>${rows}</tbody></table></div></details>`;
}

export function rateSection(report: RunReport): Markup {
  const curve = rateCurve(report);
  if (curve === null) return markup``;
  return section(
    'How the learning rate was found',
    markup`<div class="beside">${chartPicture(curve, CHART)}<p>Before the first epoch, ${count(report.rateTest?.length ?? 0, 'step')} were taken with a rate that grew from step to step, until the loss rose sharply or the largest rate was reached. A rate well below the last one was chosen: <b>${rate(report.learningRate)}</b>. The weights were then put back.</p></div>`,
  );
}

export function confusionSection(report: RunReport): Markup {
  const content =
    report.confusion.length === 0
      ? markup`<p>There is no confusion matrix, because the run ended before the best epoch was looked at again.</p>`
      : markup`${matrixTable(report)}${confusionList(report)}`;
  return section(
    'Which classes it confuses',
    markup`<div class="${report.confusion.length <= 4 ? 'beside' : ''}"><div>${content}</div><div><h3>Pictures per class</h3>${classTable(report)}</div></div>`,
  );
}

export function worstSection({ worst, confusion, data }: RunReport): Markup {
  if (worst.length === 0) {
    return isPerfect(confusion)
      ? section('What it got most wrong', markup`<p>Nothing: every validation picture was recognised.</p>`)
      : markup``;
  }
  const figures = worst.map((picture) => {
    const { file, src, label, predicted, probability, probabilityOfLabel } = picture;
    const image = src.startsWith('data:image/')
      ? markup`<img src="${src}" alt="A picture of class ${label} that was taken for ${predicted}" width="160" height="160">`
      : markup`<div class="missing" role="img" aria-label="The picture could not be read">The picture could not be read.</div>`;
    return markup`<li><figure>${image}<figcaption><span class="file" title="${fileName(file, data)}">${shorten(lastPart(file), 26)}</span>
<span class="said"><b class="name wrong" title="${predicted}">${breakable(shorten(predicted, 20))}</b> <span class="number">${percent(probability)}</span></span>
<span class="said">not <b class="name" title="${label}">${breakable(shorten(label, 20))}</b> <span class="number">${percent(probabilityOfLabel)}</span></span></figcaption></figure></li>\n`;
  });
  return section(
    'What it got most wrong',
    markup`<p class="remark">Validation pictures with the least probability for their true class. First what the model said, then the true class, each with its probability.</p><ol class="pictures">${figures}</ol>`,
  );
}

/** Without what was not measured. */
const measured = (entries: readonly (readonly [string, string, string])[]) =>
  entries.filter(([, value]) => value !== NONE);

export function costSection({ time, memory }: RunReport): Markup {
  return section(
    'What it cost',
    facts(
      'tiles',
      measured([
        ['Time per step', milliseconds(time.msPerStep), 'one batch, forward and backward'],
        ['Waiting for pictures', percent(time.waiting), 'of the training time'],
        ['Whole run', duration(time.totalSeconds), 'with validation'],
        ['Head alone', duration(time.headSeconds), 'of the whole run'],
        ['Memory of a step', bytes(memory.peakBytes), 'at its peak, in tensors beyond those that stay'],
        ['Memory of the process', bytes(memory.rssBytes), 'resident, at its peak'],
      ]),
    ),
  );
}

export function blocksSection({ blocks, head, skippedPictures, data }: RunReport): Markup {
  const table = (columns: string[], rows: string[][]) =>
    markup`<div class="scroll"><table class="data"><thead><tr>${columns.map((column) => markup`<th scope="col">${column}</th>`)}</tr></thead><tbody>${rows.map(
      (row) => markup`<tr>${row.map((cell) => markup`<td>${cell}</td>`)}</tr>\n`,
    )}</tbody></table></div>`;
  const fold = (title: string, content: Markup) => markup`<details><summary>${title}</summary>${content}</details>\n`;
  const { pairs, skipped } = blocks;
  return section(
    'What was tuned',
    markup`<p>${head}</p>
${pairs.length === 0 && markup`<p>No BatchNormalization layer was paired with a conv.</p>`}
${
  pairs.length > 0 &&
  fold(
    `${count(pairs.length, 'block')} of conv and BatchNormalization`,
    table(
      ['conv', 'kind', 'BatchNormalization', 'activation'],
      pairs.map(({ conv, kind, bn, activation }) => [conv, kind, bn, activation ?? NONE]),
    ),
  )
}
${
  skipped.length > 0 &&
  fold(
    `${count(skipped.length, 'BatchNormalization layer')} not paired`,
    table(
      ['BatchNormalization', 'code', 'reason'],
      skipped.map(({ bn, code, reason }) => [bn, code, reason]),
    ),
  )
}
${
  skippedPictures.length > 0 &&
  fold(
    `${count(skippedPictures.length, 'picture')} left out, because ${skippedPictures.length === 1 ? 'it' : 'they'} could not be read`,
    table(
      ['file', 'reason'],
      skippedPictures.map(({ file, reason }) => [fileName(file, data), reason]),
    ),
  )
}`,
  );
}

export function settingsSection(report: RunReport): Markup {
  return section(
    'How to run it again',
    markup`<pre tabindex="0" aria-label="The command of this run"><code>${report.command}</code></pre>
${facts('settings', [
  ['Optimizer', report.optimizer],
  ['Learning rate', rate(report.learningRate)],
  ['Batch size', whole(report.batchSize)],
  ['Image size', `${whole(report.imageSize[1])} × ${whole(report.imageSize[0])}`],
  ['Seed', String(report.seed)],
  ['Backend', report.backend],
  ['Version', `tfjs-tune-mode ${report.version}`],
  ['Date', dateTime(report.date)],
])}`,
  );
}
