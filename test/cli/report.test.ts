/** The report of a run, as a page and as a picture: what must be in it, and what must not. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import jpeg from 'jpeg-js';
import { type Browser, chromium, type Page } from 'playwright-core';
import { epochAxis, lossAxis, position, rateAxis, shareAxis } from '../../cli/report/axis';
import { topConfusions } from '../../cli/report/confusion';
import { bytes, dateTime, duration, milliseconds, NONE, percent, precise, rate } from '../../cli/report/format';
import { reportHtml } from '../../cli/report/html';
import { markup } from '../../cli/report/markup';
import { CELL_STRENGTH, DARK, LIGHT } from '../../cli/report/palette';
import type { RunReport } from '../../cli/report/run-report';
import { reportSvg } from '../../cli/report/svg';
import { shorten, textWidth, wrap } from '../../cli/report/text';
import { worstPictures } from '../../cli/report/thumbnails';
import type { Mistake } from '../../src/fine-tune/evaluate';
import { breeds, makeRun } from './report-runs';

const HOSTILE = `</text></svg><script>alert("&'")</script><img src=http://x onerror=alert(1)> 🦁\u0000\u202e\ud800`;
const NAN = Number.NaN;
const sound = makeRun();

/** Runs of every kind; none may break the page or the picture. */
const RUNS: Record<string, RunReport> = {
  'two classes, ten epochs': sound,
  '36 classes, 100 epochs, early stop': makeRun(
    { labels: breeds, epochs: 100, mistakes: 12 },
    { ending: 'early-stop' },
  ),
  'diverged, only epoch 0': makeRun(
    { epochs: 0 },
    {
      ending: 'diverged',
      rateTest: null,
      memory: { peakBytes: null, rssBytes: null },
      time: { totalSeconds: 33, headSeconds: 30, msPerStep: null, waiting: null },
    },
  ),
  'one epoch, interrupted, not evaluated': makeRun(
    { epochs: 1, mistakes: 0 },
    { ending: 'interrupted', confusion: [] },
  ),
  'nothing at all': makeRun(
    { epochs: 0, mistakes: 0 },
    {
      ...{ ending: 'interrupted', history: [], confusion: [], rateTest: [], skippedPictures: [], learningRate: 0 },
      blocks: { pairs: [], skipped: [] },
      counts: { train: [], val: [] },
    },
  ),
  'mistakes without pictures': makeRun({ mistakes: 0 }),
  'no mistakes': makeRun(
    { mistakes: 0 },
    {
      confusion: [
        [50, 0],
        [0, 0],
      ],
    },
  ),
  'losses that are no numbers': makeRun(
    {},
    {
      history: sound.history.map((record) =>
        record.epoch % 3 === 1
          ? { ...record, loss: NAN, valLoss: Number.POSITIVE_INFINITY, accuracy: NAN, valAccuracy: NAN }
          : record,
      ),
      rateTest: [
        { learningRate: 1e-5, loss: NAN },
        { learningRate: 1e-4, loss: 1e30 },
      ],
      learningRate: NAN,
      bestEpoch: 1,
      time: { totalSeconds: NAN, headSeconds: Number.POSITIVE_INFINITY, msPerStep: NAN, waiting: NAN },
    },
  ),
  'hostile and long names': makeRun(
    { labels: [HOSTILE, 'x'.repeat(300), '日本語のクラス名', `${'long '.repeat(40)}`, '', 'dog', 'cat'] },
    {
      command: `npx tfjs-tune-mode finetune ${HOSTILE} ${'/a/long/path'.repeat(100)}`,
      ...{ model: HOSTILE + 'm'.repeat(200), data: HOSTILE, head: HOSTILE, backend: HOSTILE, version: HOSTILE },
      ...{ optimizer: HOSTILE, date: HOSTILE, skippedPictures: [{ file: HOSTILE.repeat(5), reason: HOSTILE }] },
      worst: [{ ...sound.worst[0], file: HOSTILE, label: HOSTILE, predicted: 'x'.repeat(300), src: HOSTILE }],
      blocks: {
        pairs: [{ conv: HOSTILE, bn: 'b'.repeat(300), activation: HOSTILE, kind: HOSTILE }],
        skipped: [{ bn: HOSTILE, code: 'excluded', reason: HOSTILE }],
      },
    },
  ),
};
const runs = Object.entries(RUNS);

/** Every address in the text: of a picture, a link, a style or an import. */
function addresses(text: string): string[] {
  // Text has no bare quotes or angle brackets, so that a match is an attribute's or the style's.
  const tags = text.match(/<[^>]*>/g) ?? [];
  const attributes = tags.flatMap((tag) =>
    [...tag.matchAll(/\b(?:src|href|srcset|action|data)="([^"]*)"/g)].map(([, at]) => at),
  );
  const style = text.match(/<style>[\s\S]*?<\/style>/)?.[0] ?? '';
  return [...attributes, ...[...style.matchAll(/url\(|@import/g)].map(([found]) => found)];
}

describe.each(runs)('%s', (_, run) => {
  test.each([
    ['page', reportHtml],
    ['picture', reportSvg],
  ])('the %s has nothing that must not be in it', (_, make) => {
    const before = JSON.stringify(run);
    const text = make(run);
    const shown = text.replace(/data:[^"]*/g, '');
    expect(shown).not.toMatch(/NaN|undefined|Infinity|\[object|null(?!-)/);
    expect(shown).not.toMatch(/<script|<foreignObject|onerror=alert\(1\)>|<img src=http/);
    expect(shown).not.toMatch(/[\0\u202e]|\p{Cs}/u);
    for (const address of addresses(text)) expect(address).toMatch(/^(data:(image\/|,)|#)/);
    expect(JSON.stringify(run)).toBe(before);
    expect(make(run)).toBe(text);
  });
});

test.each([
  ['the best accuracy', percent(sound.history[sound.bestEpoch].valAccuracy)],
  ['the command', sound.command],
  ['the model', sound.model],
  ['the time per step', '612 ms'],
  ['the memory of a step', '412 MB'],
  ['the memory of the process', '1.2 GB'],
  ['the number of classes', '2 classes'],
])('page and picture show %s', (_, text) => {
  // Without places where a name may be broken.
  expect(reportHtml(sound).replace(/<wbr>/g, '')).toContain(text);
  expect(reportSvg(sound)).toContain(text);
});

test.each([
  ['finished', null],
  ['early-stop', 'Stopped early.'],
  ['interrupted', 'The run was interrupted.'],
  ['diverged', 'The training diverged.'],
] as const)('a run that was %s says %s', (ending, title) => {
  const run = { ...sound, ending };
  for (const text of [reportHtml(run), reportSvg(run)]) {
    for (const other of ['Stopped early.', 'The run was interrupted.', 'The training diverged.']) {
      expect(text.includes(other)).toBe(other === title);
    }
  }
});

test('a rate that was given has no curve, and what was not measured is not shown', () => {
  const page = reportHtml(RUNS['diverged, only epoch 0']);
  expect(page).not.toContain('How the learning rate was found');
  expect(page).not.toContain('Memory of');
  expect(reportHtml(sound)).toContain('How the learning rate was found');
});

test('only a run without mistakes says so', () => {
  for (const make of [reportHtml, reportSvg]) {
    const said = runs.filter(([, run]) => make(run).includes('every validation picture was recognised'));
    expect(said.map(([name]) => name)).toEqual(['no mistakes']);
  }
});

test('where no epoch came to its end there are no empty charts', () => {
  const page = reportHtml(RUNS['nothing at all']);
  expect(page).toContain('No accuracy was measured');
  expect(page).not.toContain('<svg');
  expect(reportSvg(RUNS['nothing at all'])).not.toContain('class="grid"');
});

test('a picture that is no data: URI is not shown, but its name is', () => {
  const run = { ...sound, worst: [{ ...sound.worst[0], src: '' }] };
  expect(reportHtml(run)).toContain('The picture could not be read.');
  expect(reportHtml(run)).not.toContain('<img');
  expect(reportHtml(run)).toContain(path.basename(run.worst[0].file));
});

test('a machine without memory of the data set: files are named from its folder on', () => {
  const run = makeRun(
    {},
    { data: '/home/me/insects/', skippedPictures: [{ file: '/home/me/insects/a.jpg', reason: 'r' }] },
  );
  expect(reportHtml(run)).toContain('<td>a.jpg</td>');
  // A folder whose name only begins alike is another one.
  const other = makeRun(
    {},
    { data: '/home/me/in', skippedPictures: [{ file: '/home/me/insects/a.jpg', reason: 'r' }] },
  );
  expect(reportHtml(other)).toContain('<td>/home/me/insects/a.jpg</td>');
});

test.each([
  [percent(0.947), '94.7%'],
  [percent(1), '100%'],
  [percent(0.99999), '99.9%'],
  [percent(0.00001), '<0.1%'],
  [percent(0.9999, 0), '99%'],
  [percent(0), '0%'],
  [percent(NAN), NONE],
  [percent(null), NONE],
  [precise(0.12345), '0.123'],
  [precise(1234567), '1.23e6'],
  [precise(0.00001), '1e-5'],
  [precise(1e10), '1e10'],
  [rate(3.9e-4), '3.9e-4'],
  [rate(1e-3), '1e-3'],
  [rate(0.05), '0.05'],
  [rate(1e-10), '1e-10'],
  [duration(59.97), '1 min 0 s'],
  [duration(8.25), '8.3 s'],
  [duration(3599.9), '1 h 0 min'],
  [duration(5400), '1 h 30 min'],
  [duration(Number.POSITIVE_INFINITY), NONE],
  [milliseconds(9.87), '9.9 ms'],
  [milliseconds(12000), '12.0 s'],
  [bytes(999.9e6), '1.0 GB'],
  [bytes(412e6), '412 MB'],
  [bytes(0), '0 kB'],
  [dateTime('2026-03-14T09:26:53.589Z'), '2026-03-14 09:26 UTC'],
  [dateTime('yesterday'), 'yesterday'],
])('a number is written as %s', (written, expected) => {
  expect(written).toBe(expected);
});

test.each([
  ['losses', lossAxis([0.12, 0.37]), ['0', '0.1', '0.2', '0.3', '0.4'], [0.12, 0.37]],
  ['no loss', lossAxis([]), ['0', '0.25', '0.5', '0.75', '1'], []],
  ['a huge loss', lossAxis([1e30]), null, [1e30]],
  ['shares', shareAxis([0.72, 0.955]), ['70%', '80%', '90%', '100%'], [0.72, 0.955]],
  ['all right', shareAxis([1, 1]), null, [1]],
  ['all wrong', shareAxis([0]), null, [0]],
  ['epoch 0', epochAxis(0), ['0'], [0]],
  ['one epoch', epochAxis(1), ['0', '1'], [0, 1]],
  ['100 epochs', epochAxis(100), ['0', '20', '40', '60', '80', '100'], [0, 100]],
  ['rates', rateAxis([3e-6, 1e-2]), ['1e-5', '1e-4', '1e-3', '0.01'], [3e-6, 1e-2]],
  ['one rate', rateAxis([1e-3]), ['1e-4', '1e-3', '0.01'], [1e-3]],
])('the axis of %s has round ticks and holds its values', (_, axis, labels, values) => {
  const shown = axis.ticks.map(({ label }) => label);
  if (labels !== null) expect(shown).toEqual(labels);
  expect(new Set(shown).size).toBe(shown.length);
  expect(shown.length).toBeLessThanOrEqual(11);
  for (const value of values) {
    expect(position(axis, value)).toBeGreaterThanOrEqual(0);
    expect(position(axis, value)).toBeLessThanOrEqual(1);
  }
});

test('confusions: the most frequent first, never a class taken for itself, never none', () => {
  const matrix = [
    [9, 1, 0],
    [3, 5, 1],
    [0, 0, 0],
  ];
  const found = topConfusions(matrix, ['a', 'b', 'c'], 2);
  expect(found.map(({ label, predicted, count }) => `${label}${predicted}${count}`)).toEqual(['ba3', 'bc1']);
  expect(found[0].share).toBeCloseTo(3 / 9);
});

test.each([
  ['short', 'short', 20],
  ['long', 'x'.repeat(50), 10],
  ['very long', 'ab'.repeat(100000), 10],
  ['emoji', '👩‍👩‍👧‍👦'.repeat(20), 8],
])('a %s name is cut to its room, and no character of it in two', (_, name, room) => {
  const short = shorten(name, room);
  expect(textWidth(short)).toBeLessThanOrEqual(room);
  expect(short).not.toMatch(/\p{Cs}/u);
  const [head, tail = ''] = short.split('…');
  expect(name.startsWith(head) && name.endsWith(tail)).toBe(true);
});

test.each([
  ['a b c', 10, 2, ['a b c']],
  ['aaaa bbbb cccc', 9, 3, ['aaaa bbbb', 'cccc']],
  ['a'.repeat(25), 10, 2, ['aaaaaaaaaa', 'aaaaaaaaa…']],
])('%s is wrapped', (text, columns, lines, expected) => {
  expect(wrap(text, columns, lines)).toEqual(expected);
});

test('markup: strings are escaped, markup is not, and what is not there leaves no trace', () => {
  const inner = markup`<b>${'<&>"\''}</b>`;
  expect(markup`${inner}${[1.23456, null, false, 'a']}`.text).toBe('<b>&lt;&amp;&gt;&quot;&#39;</b>1.23a');
});

/** WCAG 2: contrast of two colours #rrggbb. */
function contrast(a: readonly number[], b: readonly number[]): number {
  const luminance = (rgb: readonly number[]) => {
    const [red, green, blue] = rgb.map((c) =>
      c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}
const rgb = (color: string) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));

test.each([
  ['light', LIGHT, CELL_STRENGTH.light],
  ['dark', DARK, CELL_STRENGTH.dark],
] as const)('every text of the %s theme has a contrast of at least 4.5', (_, palette, strength) => {
  for (const text of ['ink', 'muted', 'train', 'val'] as const) {
    for (const ground of ['paper', 'panel'] as const) {
      expect(contrast(rgb(palette[text]), rgb(palette[ground]))).toBeGreaterThanOrEqual(4.5);
    }
  }
  expect(contrast(rgb(palette.ink), rgb(palette.warning))).toBeGreaterThanOrEqual(4.5);
  const panel = rgb(palette.panel);
  for (const color of ['train', 'val'] as const) {
    const cell = rgb(palette[color]).map((value, c) => strength * value + (1 - strength) * panel[c]);
    expect(contrast(rgb(palette.ink), cell)).toBeGreaterThanOrEqual(4.5);
  }
});

describe('thumbnails', () => {
  let folder: string;
  beforeAll(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'report-'));
    // Wide, with a red left half.
    const [width, height] = [640, 320];
    const data = Buffer.alloc(width * height * 4, 255);
    for (let i = 0; i < width * height; i++) data.set(i % width < width / 2 ? [220, 20, 20] : [20, 20, 220], 4 * i);
    fs.writeFileSync(path.join(folder, 'wide.jpg'), jpeg.encode({ width, height, data }, 90).data);
    fs.writeFileSync(path.join(folder, 'broken.jpg'), 'not a picture');
  });
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  const mistake = (file?: string, changes: Partial<Mistake> = {}): Mistake => ({
    ...{ index: 4, label: 0, predicted: 1, probability: 0.9, probabilityOfLabel: 0.1 },
    ...(file === undefined ? {} : { file: path.join(folder, file) }),
    ...changes,
  });
  const labels = ['red', 'blue'];

  test('a picture becomes a small square JPEG', async () => {
    const [picture] = await worstPictures([mistake('wide.jpg')], labels);
    expect(picture).toMatchObject({ label: 'red', predicted: 'blue', probability: 0.9, probabilityOfLabel: 0.1 });
    expect(picture.src).toMatch(/^data:image\/jpeg;base64,[A-Za-z0-9+/]+=*$/);
    const { width, height, data } = jpeg.decode(Buffer.from(picture.src.split(',')[1], 'base64'));
    expect([width, height]).toEqual([160, 160]);
    const at = (x: number) => [...data.subarray(4 * (80 * 160 + x), 4 * (80 * 160 + x) + 3)];
    expect(at(20)[0]).toBeGreaterThan(180);
    expect(at(140)[2]).toBeGreaterThan(180);
  });

  test.each([
    ['gone', 'gone.jpg'],
    ['broken', 'broken.jpg'],
    ['a folder', '.'],
    ['without a name', undefined],
  ])('a picture that is %s has an entry without a picture', async (_, file) => {
    const pictures = await worstPictures([mistake(file), mistake('wide.jpg')], labels);
    expect(pictures.map(({ src }) => src !== '')).toEqual([false, true]);
    expect(pictures[0].file).not.toBe('');
  });

  test('at most twelve, and an unknown class is no undefined', async () => {
    const many = Array.from({ length: 30 }, () => mistake('gone.jpg', { predicted: 7 }));
    const pictures = await worstPictures(many, labels);
    expect(pictures).toHaveLength(12);
    expect(pictures[0].predicted).toBe('class 7');
    expect(await worstPictures([], labels)).toEqual([]);
  });
});

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) =>
  fs.existsSync(file),
);
if (CHROMIUM === undefined) console.warn('skipped: no Chromium found; the report is not opened in a browser');
const describeBrowser = CHROMIUM === undefined ? describe.skip : describe;

describeBrowser('in Chromium', () => {
  let browser: Browser;
  let page: Page;
  let folder: string;
  let problems: string[];

  beforeAll(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'report-'));
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
    });
    page = await browser.newPage();
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => problems.push(message.text()));
    page.on('request', (request) => {
      if (!request.isNavigationRequest() && !request.url().startsWith('data:')) problems.push(request.url());
    });
  });
  beforeEach(() => {
    problems = [];
  });
  afterAll(async () => {
    await browser?.close();
    fs.rmSync(folder, { recursive: true });
  });

  async function open(name: string, text: string) {
    const file = path.join(folder, name);
    fs.writeFileSync(file, text);
    await page.goto(pathToFileURL(file).href);
  }

  test.each(runs)('%s: the page fits every screen and asks for nothing', async (_, run) => {
    await open('report.html', reportHtml(run));
    // With everything unfolded.
    await page.evaluate(() => {
      for (const details of document.querySelectorAll('details')) details.open = true;
    });
    for (const width of [360, 768, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
    const found = await page.evaluate(() => ({
      scripts: document.scripts.length,
      images: Array.from(document.images, ({ alt, naturalWidth }) => alt !== '' && naturalWidth > 0),
      unnamed: document.querySelectorAll('svg:not([role=img][aria-label])').length,
      headings: document.querySelectorAll('h1').length,
      command: document.querySelector('pre')?.textContent,
    }));
    expect(found).toMatchObject({ scripts: 0, unnamed: 0, headings: 1 });
    expect(found.images).toEqual(run.worst.filter(({ src }) => src.startsWith('data:image/')).map(() => true));
    expect(found.command).toBe(run.command.replace(/[\0\u202e\ud800]/g, '\ufffd'));
    expect(problems).toEqual([]);
  });

  test.each(runs)('%s: the curves have a point for each finite value', async (_, run) => {
    await open('report.html', reportHtml(run));
    const counts = await page.evaluate(() =>
      Array.from(document.querySelectorAll('svg.chart'), (chart) =>
        ['train', 'val'].map((kind) => chart.querySelectorAll(`.dot.${kind}`).length),
      ),
    );
    const finite = (values: (number | null)[]) =>
      values.filter((value) => value !== null && Number.isFinite(value)).length;
    const { history, rateTest } = run;
    if (history.length === 0) return expect(counts).toEqual([]);
    expect(counts).toEqual([
      [finite(history.map(({ loss }) => loss)), finite(history.map(({ valLoss }) => valLoss))],
      [finite(history.map(({ accuracy }) => accuracy)), finite(history.map(({ valAccuracy }) => valAccuracy))],
      ...(rateTest === null ? [] : [[0, finite(rateTest.map(({ loss }) => loss))]]),
    ]);
  });

  test('the matrix has every count, and the best epoch is marked once in each chart', async () => {
    const run = RUNS['36 classes, 100 epochs, early stop'];
    await open('report.html', reportHtml(run));
    const cells = await page.evaluate(() =>
      Array.from(document.querySelectorAll('.matrix tbody tr'), (row) =>
        Array.from(row.querySelectorAll('td'), (cell) => Number(cell.textContent)),
      ),
    );
    expect(cells).toEqual(run.confusion);
    expect(await page.locator('.dot.best').count()).toBe(2);
  });

  test.each(runs)('%s: the picture is sound XML, is 860 wide, and nothing sticks out', async (_, run) => {
    await open('report.svg', reportSvg(run));
    const found = await page.evaluate(() => {
      const texts = Array.from(document.querySelectorAll('text'), (text) => ({
        text: text.textContent,
        ...(text.getBoundingClientRect().toJSON() as DOMRect),
      }));
      const { width, height } = document.documentElement.getBoundingClientRect();
      return {
        ...{ root: document.documentElement.localName, width },
        errors: document.getElementsByTagName('parsererror').length,
        outside: texts.filter(({ left, right, top, bottom }) => left < 20 || right > 845 || top < 0 || bottom > height),
      };
    });
    expect(found).toEqual({ root: 'svg', width: 860, errors: 0, outside: [] });
    expect(problems).toEqual([]);
  });

  test('the picture shows within <img>', async () => {
    const source = `data:image/svg+xml;base64,${Buffer.from(reportSvg(sound)).toString('base64')}`;
    await open('readme.html', `<!doctype html><img src="${source}" alt="report">`);
    expect(await page.evaluate(() => document.images[0].decode().then(() => document.images[0].naturalWidth))).toBe(
      860,
    );
    expect(problems).toEqual([]);
  });
});
