/**
 * `npm run bench:scaling -- --model <dir>`: the time of a step in Tune mode against the batch size and against the
 * picture's size. Every combination is measured once in each round, so that a slow second of the machine falls on all.
 *
 * The line is t = a + b·n with the least relative deviations, Σ ((t − a − b·n) / t)²: by absolute ones the largest batch
 * alone would settle it. R² is the usual one of that line.
 */
import { dispose, enableProdMode, getBackend, type Optimizer } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { useBestBackend } from '../adapters/node';
import { loadModel } from '../adapters/node/load-model';
import { withInputShape } from '../src/fine-tune/input-size';
import { table } from '../src/report';
import { modelPaths, nameOf, progress, readOptions, runBench, wholeNumber, wholeNumbers } from './command-line';
import { heapPeakOf, median, timeStep, warmUp } from './measure';
import { compileFor, inMode, noiseFor } from './subjects';

const USAGE = `npm run bench:scaling -- --model <folder or model.json> [--model …]
  --batches 1,2,4,8,16,32        batch sizes, at the model's own picture size
  --sizes 96,128,160,192,224     picture sizes, in batches of --batch
  --batch 8
  --rounds 7
  --backend                      wasm, cpu, tfjs-node or tfjs-node-gpu; default the fastest that works
  --json                         one line of JSON for each model; the chart is drawn from it:
npm run bench:scaling --silent -- --model a --model b --json | node scripts/draw-scaling.mjs "MobileNet v1 0.25" "MobileNetV2 0.35" > docs/step-time.svg`;

export interface Line {
  /** t = intercept + slope · n, in milliseconds. */
  intercept: number;
  slope: number;
  r2: number;
  /** The largest |t − line| / t. */
  worst: number;
}

export interface Point {
  /** What varies: pictures in a batch, or pixels of a picture. */
  n: number;
  batch: number;
  size: number;
  ms: number;
  times: number[];
  peakBytes: number | null;
}

interface Series {
  points: Point[];
  line: Line;
}

interface Net {
  size: number;
  model: LayersModel;
  optimizer: Optimizer;
}

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    model: { type: 'string', multiple: true },
    batches: { type: 'string', default: '1,2,4,8,16,32' },
    sizes: { type: 'string', default: '96,128,160,192,224' },
    batch: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '7' },
    backend: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  const paths = modelPaths(options.model);
  const batches = wholeNumbers('batches', options.batches);
  const sizes = wholeNumbers('sizes', options.sizes, 32);
  const batch = wholeNumber('batch', options.batch);
  const rounds = wholeNumber('rounds', options.rounds);
  enableProdMode();
  const { why } = await useBestBackend(options.backend === undefined ? {} : { backend: options.backend });
  console.error(why);
  for (const path of paths) {
    const { model: source } = await loadModel(path);
    const [, own, , channels] = source.inputs[0].shape as number[];
    const nets = new Map<number, Net>();
    for (const size of new Set([own, ...sizes])) {
      const model = inMode(await withInputShape(source, [size, size, channels]), 'tune');
      nets.set(size, { size, model, optimizer: compileFor(model) });
    }
    const byBatch = batches.map((each) => ({ batch: each, size: own }));
    const bySize = sizes.map((size) => ({ batch, size }));
    const points = await measure(path, nets, [...byBatch, ...bySize], rounds);
    const series = (from: number, to: number, n: (point: Point) => number): Series => {
      const part = points.slice(from, to).map((point) => ({ ...point, n: n(point) }));
      return { points: part, line: lineThrough(part) };
    };
    const result = {
      model: path,
      backend: getBackend(),
      rounds,
      batch,
      size: own,
      batches: series(0, byBatch.length, (point) => point.batch),
      pixels: series(byBatch.length, points.length, (point) => point.size ** 2),
    };
    if (options.json) console.log(JSON.stringify(result));
    else {
      console.log(`${nameOf(path)}, Tune, backend ${result.backend}, median of ${rounds} interleaved rounds\n`);
      console.log(`${render('batch', result.batches, `${own} × ${own}`, (point) => String(point.batch))}\n`);
      console.log(`${render('picture', result.pixels, `batch ${batch}`, ({ size }) => `${size} × ${size}`)}\n`);
    }
    for (const { model, optimizer } of nets.values()) {
      optimizer.dispose();
      model.dispose();
    }
  }
}

/** The first round warms up and weighs. */
async function measure(
  path: string,
  nets: Map<number, Net>,
  combinations: { batch: number; size: number }[],
  rounds: number,
): Promise<Point[]> {
  const points: Point[] = combinations.map((each) => ({ ...each, n: 0, ms: 0, times: [], peakBytes: null }));
  for (let round = -1; round < rounds; round++) {
    for (const point of points) {
      const of = round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`;
      progress(`${path}: ${of}, batch ${point.batch} of ${point.size} × ${point.size}`);
      const { model } = nets.get(point.size) as Net;
      const { x, y } = noiseFor(model, point.batch);
      if (round >= 0) point.times.push(await timeStep(model, x, y));
      else {
        if (point === points[0]) await warmUp(() => timeStep(model, x, y));
        point.peakBytes = (await heapPeakOf(() => model.trainOnBatch(x, y)))?.bytes ?? null;
      }
      dispose([x, y]);
    }
  }
  progress('');
  return points.map((point) => ({ ...point, ms: median(point.times) }));
}

function lineThrough(points: Point[]): Line {
  // Weighted least squares, weights 1 / t².
  let [w, wn, wt, wnn, wnt] = [0, 0, 0, 0, 0];
  for (const { n, ms } of points) {
    const weight = 1 / ms ** 2;
    w += weight;
    wn += weight * n;
    wt += weight * ms;
    wnn += weight * n * n;
    wnt += weight * n * ms;
  }
  const slope = (w * wnt - wn * wt) / (w * wnn - wn ** 2);
  const intercept = (wt - slope * wn) / w;
  const mean = points.reduce((sum, { ms }) => sum + ms, 0) / points.length;
  const off = points.map(({ n, ms }) => ms - intercept - slope * n);
  const squares = (values: number[]) => values.reduce((sum, value) => sum + value ** 2, 0);
  return {
    intercept,
    slope,
    r2: 1 - squares(off) / squares(points.map(({ ms }) => ms - mean)),
    worst: Math.max(...off.map((each, i) => Math.abs(each) / points[i].ms)),
  };
}

function render(what: string, { points, line }: Series, at: string, label: (point: Point) => string): string {
  const rows = points.map((point) => {
    const expected = line.intercept + line.slope * point.n;
    return [
      label(point),
      point.ms.toFixed(1),
      expected.toFixed(1),
      `${((100 * (point.ms - expected)) / point.ms).toFixed(1)} %`,
      point.peakBytes === null ? '–' : (point.peakBytes / 1e6).toFixed(1),
    ];
  });
  const slope =
    what === 'batch' ? `${line.slope.toFixed(2)} ms a picture` : `${(1000 * line.slope).toFixed(3)} ms per 1000 pixels`;
  return (
    `${table([`${what}, at ${at}`, 'ms per step', 'line', 'off', 'peak MB'], rows)}\n` +
    `line: ${line.intercept.toFixed(1)} ms + ${slope}; R² ${line.r2.toFixed(4)}, worst deviation ${(100 * line.worst).toFixed(1)} %`
  );
}

await runBench(USAGE, main);
