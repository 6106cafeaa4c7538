/**
 * The wasm backend's convolution kernels at MobileNet v1 0.25's shapes (batch 8, 224 × 224) and two of a ResNet's:
 * milliseconds, GFLOP/s (two per multiply-add) and peak bytes beyond inputs and output, beside the rate of matMul.
 *
 *   npx tsx bench/wasm-kernels.ts [repetitions] [only kernels that contain this text]
 */
import {
  engine,
  matMul,
  memory,
  type NamedAttrMap,
  profile,
  randomNormal,
  setBackend,
  type Tensor,
  type Tensor2D,
  tidy,
  util,
} from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { registerWasmTrainingKernels } from '../adapters/wasm/register';

interface Shape {
  size: number;
  channels: number;
  /** Output channels; 0 for a depthwise convolution. */
  out: number;
  taps: number;
  stride: number;
}

const SHAPES: Shape[] = [
  { size: 224, channels: 3, out: 8, taps: 3, stride: 2 },
  ...[
    [112, 8, 1],
    [112, 16, 2],
    [56, 32, 1],
    [56, 32, 2],
    [28, 64, 1],
    [28, 64, 2],
    [14, 128, 1],
    [14, 128, 2],
    [7, 256, 1],
  ].map(([size, channels, stride]) => ({ size, channels, out: 0, taps: 3, stride })),
  ...[
    [112, 8, 16],
    [56, 16, 32],
    [56, 32, 32],
    [28, 32, 64],
    [28, 64, 64],
    [14, 64, 128],
    [14, 128, 128],
    [7, 128, 256],
    [7, 256, 256],
  ].map(([size, channels, out]) => ({ size, channels, out, taps: 1, stride: 1 })),
  { size: 28, channels: 128, out: 128, taps: 3, stride: 1 },
  { size: 28, channels: 128, out: 128, taps: 3, stride: 2 },
  { size: 7, channels: 256, out: 256, taps: 3, stride: 1 },
];

const BATCH = 8;
const repetitions = Number(process.argv[2] ?? 7);
const only = process.argv[3] ?? '';

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

/** Fresh inputs for every run: XNNPACK keeps what it packed for as long as a tensor lives. */
function time(inputs: () => Record<string, Tensor>, run: (inputs: Record<string, Tensor>) => Tensor): number {
  const times: number[] = [];
  for (let i = 0; i < repetitions + 2; i++) {
    tidy(() => {
      const given = inputs();
      const start = performance.now();
      run(given);
      if (i >= 2) times.push(performance.now() - start);
    });
  }
  return median(times);
}

async function extraBytes(
  inputs: () => Record<string, Tensor>,
  run: (inputs: Record<string, Tensor>) => Tensor,
): Promise<number> {
  const given = inputs();
  const before = memory().numBytes;
  const { peakBytes } = await profile(() => run(given));
  const output = memory().numBytes - before;
  for (const tensor of Object.values(given)) tensor.dispose();
  return peakBytes - before - output;
}

async function main(): Promise<void> {
  registerWasmTrainingKernels();
  await setBackend('wasm');
  const square = () => ({ a: randomNormal([1024, 1024]), b: randomNormal([1024, 1024]) });
  const matMulMs = time(square, ({ a, b }) => matMul(a as Tensor2D, b as Tensor2D));
  console.log(`matMul 1024³: ${((2 * 1024 ** 3) / matMulMs / 1e6).toFixed(1)} GFLOP/s\n`);
  const totals = new Map<string, number>();
  for (const { size, channels, out, taps, stride } of SHAPES) {
    const depthwise = out === 0;
    const x = [BATCH, size, size, channels];
    const filterShape = depthwise ? [taps, taps, channels, 1] : [taps, taps, channels, out];
    const side = Math.ceil(size / stride);
    const dy = [BATCH, side, side, depthwise ? channels : out];
    const attrs = { strides: [stride, stride], pad: 'same', dataFormat: 'NHWC', dilations: [1, 1] };
    const flops = 2 * util.sizeFromShape(dy) * taps * taps * (depthwise ? 1 : channels);
    const kernel = depthwise ? 'DepthwiseConv2dNative' : 'Conv2D';
    const runs: [string, Record<string, number[]>, object][] = [
      [kernel, { x, filter: filterShape }, attrs],
      [`${kernel}BackpropInput`, { dy, filter: filterShape }, { ...attrs, inputShape: x }],
      [`${kernel}BackpropFilter`, { x, dy }, { ...attrs, filterShape }],
    ];
    for (const [name, shapes, attributes] of runs.filter(([name]) => name.includes(only))) {
      const inputs = () => Object.fromEntries(Object.entries(shapes).map(([k, shape]) => [k, randomNormal(shape)]));
      const run = (given: Record<string, Tensor>) =>
        engine().runKernel(name, given, attributes as NamedAttrMap) as Tensor;
      const ms = time(inputs, run);
      const kib = (await extraBytes(inputs, run)) / 1024;
      totals.set(name, (totals.get(name) ?? 0) + ms);
      const shape = `${size}²×${channels}${depthwise ? '' : `→${out}`} ${taps}×${taps}/${stride}`;
      console.log(
        `${name.padEnd(36)} ${shape.padEnd(22)} ${ms.toFixed(2).padStart(8)} ms ` +
          `${(flops / ms / 1e6).toFixed(1).padStart(6)} GFLOP/s ${kib.toFixed(0).padStart(7)} KiB extra`,
      );
    }
  }
  console.log();
  for (const [name, ms] of totals) console.log(`${name.padEnd(36)} ${ms.toFixed(1)} ms in all`);
}

main();
