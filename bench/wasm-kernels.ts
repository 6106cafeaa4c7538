/**
 * `npm run bench:kernels`: the wasm backend's kernels one by one, against what the machine can do.
 *
 * - convolutions at MobileNet v1 0.25's shapes (batch 8, 224 × 224) and three of a ResNet's: milliseconds, GFLOP/s (two per
 *   multiply-add) beside the rate of matMul, and peak bytes beyond inputs and output;
 * - what moves memory and computes little (pooling, its gradients, this package's fused kernels): GB/s of the bytes that
 *   must be read and written once, beside the rate of copying on the same heap;
 * - an optimizer's update of all of MobileNet's variables.
 */
import os from 'node:os';
import {
  backend,
  dispose,
  enableProdMode,
  engine,
  getKernel,
  matMul,
  memory,
  type NamedAttrMap,
  profile,
  randomNormal,
  setBackend,
  square,
  type Tensor,
  type Tensor2D,
  tensor,
  tidy,
  util,
  variable,
} from '@tensorflow/tfjs-core';
import { useBestBackend } from '../adapters/node';
import type { WasmBackend } from '../adapters/wasm/heap';
import { table } from '../src/report';
import { readOptions, runBench, wholeNumber } from './command-line';
import { kernelTable, timeKernels, watchKernels } from './kernel-times';
import { median, warmUp } from './measure';
import { makeOptimizer, OPTIMIZERS } from './subjects';

const USAGE = `npm run bench:kernels -- [--only Pool] [--rounds 7] [--stock]
  --only     only kernels, or optimizers, whose name contains this text
  --rounds   medians over so many runs, after two that are not counted
  --stock    tfjs's own kernels, without this package's`;

const BATCH = 8;
/** Slower than copying by more than this is marked. */
const SLOW = 5;
/** Below this it is the call that takes the time. */
const CALL_MS = 0.05;

type Inputs = Record<string, Tensor>;

interface Case {
  name: string;
  /** What is shown beside the name. */
  shape: string;
  inputs: () => Inputs;
  attrs?: object;
}

interface Convolution extends Case {
  flop: number;
}

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '7' },
    stock: { type: 'boolean', default: false },
  });
  const rounds = wholeNumber('rounds', options.rounds);
  const wanted = ({ name }: { name: string }) => name.toLowerCase().includes(options.only.toLowerCase());
  enableProdMode();
  if (options.stock) {
    await import('@tensorflow/tfjs-backend-wasm');
    await setBackend('wasm');
  } else await useBestBackend({ backend: 'wasm' });
  const squares = () => ({ a: randomNormal([1024, 1024]), b: randomNormal([1024, 1024]) });
  const matMulMs = time(squares, ({ a, b }) => matMul(a as Tensor2D, b as Tensor2D), rounds);
  const bandwidth = copyRate(64e6, rounds);
  console.log(`${os.cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}`);
  console.log(`matMul 1024³: ${((2 * 1024 ** 3) / matMulMs / 1e6).toFixed(1)} GFLOP/s`);
  console.log(
    `copying on the heap, read and written: ${gbs(bandwidth)} GB/s with 64 MB, ${gbs(copyRate(8e6, rounds))} with 8 MB, ` +
      `${gbs(copyRate(0.25e6, rounds))} with 0.25 MB\n`,
  );
  await convolutions(CONVOLUTIONS.filter(wanted), rounds);
  movers(MOVERS.filter(wanted), bandwidth, rounds);
  for (const name of OPTIMIZERS.filter((name) => wanted({ name }))) await update(name, bandwidth, rounds);
}

const gbs = (bytesPerSecond: number) => (bytesPerSecond / 1e9).toFixed(1);
const run = ({ name, attrs }: Case, given: Inputs) =>
  engine().runKernel(name, given, (attrs ?? {}) as NamedAttrMap) as Tensor | Tensor[];

/** Fresh inputs for every run: XNNPACK keeps what it packed for as long as a tensor lives. */
function time(inputs: () => Inputs, compute: (inputs: Inputs) => Tensor | Tensor[], rounds: number): number {
  const times: number[] = [];
  for (let i = 0; i < rounds + 2; i++) {
    tidy(() => {
      const given = inputs();
      const start = performance.now();
      compute(given);
      if (i >= 2) times.push(performance.now() - start);
    });
  }
  return median(times);
}

/** Bytes per second, read and written together, of copying within the wasm heap. */
function copyRate(bytes: number, rounds: number): number {
  const { wasm } = backend() as unknown as WasmBackend;
  const [from, to] = [wasm._malloc(bytes) >>> 0, wasm._malloc(bytes) >>> 0];
  wasm.HEAPU8.fill(1, from, from + bytes);
  const times: number[] = [];
  const repeats = Math.max(1, Math.round(16e6 / bytes));
  for (let i = 0; i < rounds + 2; i++) {
    const start = performance.now();
    for (let k = 0; k < repeats; k++) wasm.HEAPU8.copyWithin(to, from, from + bytes);
    if (i >= 2) times.push((performance.now() - start) / repeats);
  }
  wasm._free(from);
  wasm._free(to);
  return (2 * bytes) / (median(times) / 1000);
}

async function convolutions(cases: Convolution[], rounds: number): Promise<void> {
  if (cases.length === 0) return;
  const totals = new Map<string, number>();
  const rows: string[][] = [];
  for (const each of cases) {
    if (getKernel(each.name, 'wasm') == null) {
      rows.push([each.name, each.shape, 'not registered', '', '']);
      continue;
    }
    const ms = time(each.inputs, (given) => run(each, given), rounds);
    const kib = (await extraBytes(each)) / 1024;
    totals.set(each.name, (totals.get(each.name) ?? 0) + ms);
    rows.push([each.name, each.shape, ms.toFixed(2), (each.flop / ms / 1e6).toFixed(1), kib.toFixed(0)]);
  }
  console.log(table(['convolutions', 'shape', 'ms', 'GFLOP/s', 'KiB extra'], rows));
  console.log();
  for (const [name, ms] of totals) console.log(`${name.padEnd(36)} ${ms.toFixed(1)} ms in all`);
  console.log();
}

async function extraBytes(each: Case): Promise<number> {
  const given = each.inputs();
  const before = memory().numBytes;
  const { peakBytes } = await profile(() => run(each, given) as Tensor);
  const output = memory().numBytes - before;
  dispose(given);
  return peakBytes - before - output;
}

/** Against the time that the bytes of all inputs and outputs would take to be copied. */
function movers(cases: Case[], bandwidth: number, rounds: number): void {
  if (cases.length === 0) return;
  const rows = cases.map((each): string[] => {
    if (getKernel(each.name, 'wasm') == null) return [each.name, each.shape, 'not registered', '', '', ''];
    const bytes = tidy(() => {
      const given = each.inputs();
      const inputs = Object.values(given).reduce((sum, input) => sum + input.size * 4, 0);
      return [run(each, given)].flat().reduce((sum, output) => sum + output.size * 4, inputs);
    });
    const ms = time(each.inputs, (given) => run(each, given), rounds);
    const times = (ms / 1000) * (bandwidth / bytes);
    return [
      each.name,
      each.shape,
      ms.toFixed(2),
      (bytes / ms / 1e6).toFixed(2),
      times.toFixed(1),
      times > SLOW && ms > CALL_MS ? 'slow' : '',
    ];
  });
  console.log(table(['what moves memory', 'shape', 'ms', 'GB/s', '× copying', ''], rows));
  console.log();
}

/** Gradients and variables of MobileNet v1 0.25, 83 of each. */
async function update(name: (typeof OPTIMIZERS)[number], bandwidth: number, rounds: number): Promise<void> {
  const variables = MOBILENET_VARIABLES.map((shape) => variable(randomNormal(shape)));
  const gradients = variables.map(({ name, shape }) => ({ name, tensor: randomNormal(shape) }));
  const optimizer = makeOptimizer(name);
  const step = async () => optimizer.applyGradients(gradients);
  await warmUp(step);
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    await step();
    times.push(performance.now() - start);
  }
  let calls = 0;
  await watchKernels(step, { onCall: () => calls++ });
  const size = variables.reduce((sum, each) => sum + each.size, 0);
  // Gradient and weight read, weight written; each moment read and written.
  const moments = { sgd: 0, momentum: 1, adam: 2 }[name];
  const least = ((4 * size * (3 + 2 * moments)) / bandwidth) * 1000;
  console.log(
    `${name}: ${median(times).toFixed(2)} ms for an update of ${variables.length} variables (${size} numbers), ` +
      `${calls} kernel calls; their memory alone would take ${least.toFixed(2)} ms\n`,
  );
  console.log(`${kernelTable(await timeKernels(step, rounds), `${name}: kernel`)}\n`);
  dispose([...variables, ...gradients.map(({ tensor }) => tensor)]);
  optimizer.dispose();
}

const noise = (shapes: Record<string, number[]>) => () =>
  Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, randomNormal(shape)]));

const DEPTHWISE: [size: number, channels: number, stride: number][] = [
  [112, 8, 1],
  [112, 16, 2],
  [56, 32, 1],
  [56, 32, 2],
  [28, 64, 1],
  [28, 64, 2],
  [14, 128, 1],
  [14, 128, 2],
  [7, 256, 1],
];

const POINTWISE: [size: number, channels: number, out: number][] = [
  [112, 8, 16],
  [56, 16, 32],
  [56, 32, 32],
  [28, 32, 64],
  [28, 64, 64],
  [14, 64, 128],
  [14, 128, 128],
  [7, 128, 256],
  [7, 256, 256],
];

const CONVOLUTIONS: Convolution[] = [
  { size: 224, channels: 3, out: 8, taps: 3, stride: 2 },
  ...DEPTHWISE.map(([size, channels, stride]) => ({ size, channels, out: 0, taps: 3, stride })),
  ...POINTWISE.map(([size, channels, out]) => ({ size, channels, out, taps: 1, stride: 1 })),
  { size: 28, channels: 128, out: 128, taps: 3, stride: 1 },
  { size: 28, channels: 128, out: 128, taps: 3, stride: 2 },
  { size: 7, channels: 256, out: 256, taps: 3, stride: 1 },
].flatMap(({ size, channels, out, taps, stride }) => {
  // Without output channels of its own a convolution is depthwise.
  const depthwise = out === 0;
  const x = [BATCH, size, size, channels];
  const filter = depthwise ? [taps, taps, channels, 1] : [taps, taps, channels, out];
  const side = Math.ceil(size / stride);
  const dy = [BATCH, side, side, depthwise ? channels : out];
  const attrs = { strides: [stride, stride], pad: 'same', dataFormat: 'NHWC', dilations: [1, 1] };
  const flop = 2 * util.sizeFromShape(dy) * taps * taps * (depthwise ? 1 : channels);
  const name = depthwise ? 'DepthwiseConv2dNative' : 'Conv2D';
  const shape = `${size}²×${channels}${depthwise ? '' : `→${out}`} ${taps}×${taps}/${stride}`;
  return [
    { name, shape, flop, inputs: noise({ x, filter }), attrs },
    { name: `${name}BackpropInput`, shape, flop, inputs: noise({ dy, filter }), attrs: { ...attrs, inputShape: x } },
    { name: `${name}BackpropFilter`, shape, flop, inputs: noise({ x, dy }), attrs: { ...attrs, filterShape: filter } },
  ];
});

/** The number of windows of `same` padding, whatever the filter. */
const pooled = (sizes: number[], stride: number) => sizes.map((size) => Math.ceil(size / stride));

function pooling(dimensions: 2 | 3, size: number, channels: number, filter: number, stride: number): Case[] {
  const x = [BATCH, ...Array<number>(dimensions).fill(size), channels];
  const y = [BATCH, ...pooled(x.slice(1, -1), stride), channels];
  const rank = dimensions === 2 ? '' : '3D';
  const shape = `${size}${dimensions === 2 ? '²' : '³'}×${channels} ${filter}${dimensions === 2 ? '²' : '³'}/${stride}`;
  const attrs = {
    filterSize: Array<number>(dimensions).fill(filter),
    strides: Array<number>(dimensions).fill(stride),
    pad: 'same',
    dataFormat: dimensions === 2 ? 'NHWC' : 'NDHWC',
  };
  const cases: Case[] = [];
  for (const kind of ['Max', 'Avg']) {
    cases.push({ name: `${kind}Pool${rank}`, shape, inputs: noise({ x }), attrs });
    // tfjs gives the output of a 2D max pooling to its gradient too.
    const given: Record<string, number[]> =
      kind === 'Max' && dimensions === 2 ? { dy: y, input: x, output: y } : { dy: y, input: x };
    cases.push({ name: `${kind}Pool${rank}Grad`, shape, inputs: noise(given), attrs });
  }
  return cases;
}

const byName = (a: Case, b: Case) => Number(a.name.includes('Grad')) - Number(b.name.includes('Grad'));

function fusedKernels(): Case[] {
  const cases: Case[] = [];
  for (const [size, channels] of [
    [112, 16],
    [28, 64],
    [7, 256],
  ]) {
    const map = [BATCH, size, size, channels];
    const shape = `${size}²×${channels}`;
    for (const reuse of [true, false]) {
      const how = reuse ? '' : ', dy kept';
      cases.push({
        name: 'TuneActivationGrad',
        shape: `${shape} relu6${how}`,
        inputs: noise({ dy: map, y: map }),
        attrs: { activation: 'relu6', reuse },
      });
    }
    cases.push({
      name: 'TuneFrozenBatchNormGrad',
      shape,
      inputs: noise({ dy: map, x: map, scale: [channels], mean: [channels] }),
      attrs: { reuse: true },
    });
  }
  for (const [kernel, scaleShape] of [
    [[1, 1, 256, 256], [256]],
    [
      [3, 3, 256, 1],
      [256, 1],
    ],
    [[3, 3, 512, 512], [512]],
  ]) {
    const channels = scaleShape[0];
    const of = [channels];
    const attrs = { epsilon: 1e-3, scaleShape };
    const shape = kernel.join('×');
    const variance = () => square(randomNormal(of));
    const folded = noise({ kernel, gamma: of, beta: of, mean: of });
    cases.push({ name: 'TuneFold', shape, inputs: () => ({ ...folded(), variance: variance() }), attrs });
    const gradient = noise({ dKernel: kernel, dBias: of, kernel, mean: of, scale: of });
    cases.push({ name: 'TuneFoldGrad', shape, inputs: () => ({ ...gradient(), variance: variance() }), attrs });
  }
  return cases;
}

function segmentSum(rows: number, width: number, segments: number): Case {
  const ids = Array.from({ length: rows }, (_, i) => (i * 7919) % segments);
  return {
    name: 'UnsortedSegmentSum',
    shape: `${rows}×${width} → ${segments}`,
    inputs: () => ({ x: randomNormal([rows, width]), segmentIds: tensor(ids, [rows], 'int32') }),
    attrs: { numSegments: segments },
  };
}

/** The first two are a ResNet's and a VGG's, then an Inception's, then a global one. */
const MOVERS: Case[] = [
  ...[
    ...pooling(2, 112, 64, 3, 2),
    ...pooling(2, 56, 64, 2, 2),
    ...pooling(2, 28, 192, 3, 1),
    ...pooling(2, 7, 256, 7, 7),
    ...pooling(3, 32, 16, 2, 2),
    ...pooling(3, 16, 32, 3, 1),
  ].sort(byName),
  segmentSum(4096, 64, 1000),
  ...fusedKernels(),
];

const MOBILENET_VARIABLES: number[][] = [
  [3, 3, 3, 8],
  [8],
  [8],
  ...[8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256].flatMap((channels, i, all) => {
    const out = all[i + 1] ?? 256;
    return [[3, 3, channels, 1], [channels], [channels], [1, 1, channels, out], [out], [out]];
  }),
  [1, 1, 256, 1000],
  [1000],
];

await runBench(USAGE, main);
