/**
 * `npm run bench -- --model <dir> --batch 8`: one training step in every mode, side by side in one process, interleaved,
 * as medians; beside them the floors, and the goals that follow from them.
 */
import { dispose, enableProdMode, getBackend, memory, type Optimizer, type Tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { useBestBackend } from '../adapters/node';
import { table } from '../src/report';
import { modelPaths, oneOf, progress, readOptions, runBench, wholeNumber } from './command-line';
import { cpuEvalStep } from './cpu-step';
import { type Floor, floorOf, matMulRate } from './floor';
import { type Figures, type Goal, goalsOf, goalTable } from './goals';
import { kernelTable, timeKernels } from './kernel-times';
import { heapPeakOf, median, peakBytes, timePredict, timeStep, warmUp } from './measure';
import { type ProcessMemory, weighInChild, weighProcess } from './process-memory';
import { type BenchMode, compileFor, loadInMode, MODES, noiseFor } from './subjects';

const USAGE = `npm run bench -- --model <folder or model.json> [--model …]
  --batch 8      pictures in a batch
  --rounds 7     each round has one step in every mode
  --backend      wasm, cpu, tfjs-node or tfjs-node-gpu; default the fastest that works
  --memory       also the wasm heap's growth and the process's, in a process of its own for each mode
  --cpu          also one Eval step on tfjs's cpu backend (a minute or more)
  --json         one line of JSON for each model, with all figures`;

/** Kernels shown where a goal for the time is missed. */
const TOP = 12;

interface Result extends Figures {
  model: string;
  batch: number;
  rounds: number;
  backend: string;
  times: Record<BenchMode, number[]>;
  /** tfjs's own count. */
  profilePeaks: Partial<Record<BenchMode, number>>;
  /** What `peaks` are: on wasm bytes on the heap, elsewhere tfjs's own count. */
  peaksAre: 'heap' | 'profile';
  failed: Partial<Record<BenchMode, string>>;
  /** `before`: bytes of the floor that are there before a step, and so are in no peak: the batch and the weights. */
  floor: Floor & { ms: number; before: number };
  rate: number;
  predict: { source: number; deployed: number };
  parameters: { source: number; deployed: number };
  memory: Partial<Record<BenchMode, ProcessMemory>> | null;
  goals: Goal[];
  leakedTensors: number;
}

async function main(): Promise<void> {
  const options = readOptions(USAGE, {
    model: { type: 'string', multiple: true },
    batch: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '7' },
    backend: { type: 'string' },
    memory: { type: 'boolean', default: false },
    cpu: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    child: { type: 'string' },
  });
  const paths = modelPaths(options.model);
  const batch = wholeNumber('batch', options.batch);
  const rounds = wholeNumber('rounds', options.rounds);
  enableProdMode();
  const { why } = await useBestBackend(options.backend === undefined ? {} : { backend: options.backend });
  if (options.child !== undefined) {
    console.log(JSON.stringify(await weighProcess(paths[0], oneOf('child', options.child, MODES), batch)));
    return;
  }
  console.error(why);
  for (const [i, path] of paths.entries()) {
    const { result, profile } = await measure(path, batch, rounds, options);
    if (options.json) console.log(JSON.stringify(result));
    else console.log(`${i === 0 ? '' : '\n\n'}${render(result)}${profile === null ? '' : `\n\n${profile}`}`);
  }
}

interface Subject {
  model: LayersModel;
  optimizer: Optimizer;
}

async function measure(path: string, batch: number, rounds: number, options: { memory: boolean; cpu: boolean }) {
  const backend = getBackend();
  const subjects = {} as Record<BenchMode, Subject>;
  for (const mode of MODES) {
    const model = await loadInMode(path, mode);
    subjects[mode] = { model, optimizer: compileFor(model) };
  }
  const source = subjects.train.model;
  const { x, y } = noiseFor(source, batch);
  const floor = floorOf(source, batch);
  const rates = [await matMulRate()];
  const tensors = memory().numTensors;

  const failed: Result['failed'] = {};
  const perMode = <T>(value: () => T) =>
    Object.fromEntries(MODES.map((mode) => [mode, value()])) as Record<BenchMode, T>;
  const times = perMode<number[]>(() => []);
  const heapPeaks: Figures['peaks'] = {};
  const profilePeaks: Figures['peaks'] = {};
  for (let round = -1; round < rounds; round++) {
    for (const mode of MODES) {
      if (failed[mode] !== undefined) continue;
      progress(`${path}: ${round < 0 ? 'warm-up and memory' : `round ${round + 1} of ${rounds}`}, ${mode}`);
      const { model } = subjects[mode];
      try {
        if (round >= 0) times[mode].push(await timeStep(model, x, y));
        else {
          const peak = await heapPeakOf(async () => {
            profilePeaks[mode] = await peakBytes(model, x, y);
          });
          if (peak !== null) heapPeaks[mode] = peak.bytes;
          await warmUp(() => timeStep(model, x, y));
        }
      } catch (error) {
        failed[mode] = (error as Error).message;
      }
    }
  }
  const predict = await timePredictions(source, subjects.deploy.model, x, rounds);
  rates.push(await matMulRate());
  progress('');

  const rate = Math.max(...rates);
  const measured = MODES.filter((mode) => failed[mode] === undefined);
  const only = (peaks: Figures['peaks']) => Object.fromEntries(measured.map((mode) => [mode, peaks[mode]]));
  const peaksAre = backend === 'wasm' ? 'heap' : 'profile';
  const figures = {
    ms: Object.fromEntries(measured.map((mode) => [mode, median(times[mode])])),
    peaks: only(peaksAre === 'heap' ? heapPeaks : profilePeaks),
    floor: { ...floor, ms: (floor.flop / rate) * 1000, before: 4 * (x.size + source.countParams()) },
    cpuEvalMs: null as number | null,
  };
  const parameters = { source: source.countParams(), deployed: subjects.deploy.model.countParams() };

  let profile: string | null = null;
  const missesTime = goalsOf(figures).some(({ figure, reached }) => figure.includes('time') && reached === false);
  if (missesTime && failed.tune === undefined) {
    const kernels = await timeKernels(() => subjects.tune.model.trainOnBatch(x, y), rounds);
    profile = `A goal for the time is missed; where Tune's goes:\n${kernelTable(kernels, 'kernel', TOP)}`;
  }
  const leakedTensors = memory().numTensors - tensors;
  dispose([x, y]);
  for (const { model, optimizer } of Object.values(subjects)) {
    optimizer.dispose();
    model.dispose();
  }
  if (options.cpu) figures.cpuEvalMs = await cpuEvalStep(path, batch, backend);
  let processes: Result['memory'] = null;
  if (options.memory) {
    processes = {};
    for (const mode of measured) {
      progress(`${path}: ${mode} in a process of its own`);
      processes[mode] = await weighInChild(path, mode, batch, backend);
    }
    progress('');
  }
  const result: Result = {
    model: path,
    batch,
    rounds,
    backend,
    ...figures,
    times,
    profilePeaks: only(profilePeaks),
    peaksAre,
    failed,
    rate,
    predict,
    parameters,
    memory: processes,
    goals: goalsOf(figures),
    leakedTensors,
  };
  return { result, profile };
}

async function timePredictions(source: LayersModel, deployed: LayersModel, x: Tensor, rounds: number) {
  const times: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    for (const [i, model] of [source, deployed].entries()) {
      const time = await timePredict(model, x);
      if (round >= 0) times[i].push(time);
    }
  }
  return { source: median(times[0]), deployed: median(times[1]) };
}

const mb = (bytes: number) => (bytes / 1e6).toFixed(1);

function render(result: Result): string {
  const { ms, peaks, profilePeaks, floor, rate, predict, parameters, failed } = result;
  const ratio = (a: number | undefined, b: number | undefined) => (a && b ? (a / b).toFixed(2) : '–');
  const rows = MODES.map((mode) => {
    const why = failed[mode];
    if (why !== undefined) return [mode, 'fails', why.slice(0, 60), '', '', '', ''];
    const [time, peak] = [ms[mode] as number, peaks[mode] as number];
    return [
      mode,
      time.toFixed(0),
      ratio(time, ms.eval),
      mb(peak),
      ratio(peak, peaks.eval),
      ratio(peak, floor.bytes),
      mb(profilePeaks[mode] as number),
    ];
  });
  rows.push([
    'floor',
    floor.ms.toFixed(0),
    ratio(floor.ms, ms.eval),
    mb(floor.bytes),
    ratio(floor.bytes, peaks.eval),
    '1.00',
    '',
  ]);
  const lines = [
    `${result.model}, batch ${result.batch}, backend ${result.backend}, median of ${result.rounds} interleaved rounds`,
    `a step is ${(floor.flop / 1e9).toFixed(2)} GFLOP; matMul runs at ${(rate / 1e9).toFixed(1)} GFLOP/s here`,
    '',
    table(['mode', 'ms per step', '/ eval', 'peak MB', '/ eval', '/ floor', "tfjs's MB"], rows),
    '',
    result.peaksAre === 'heap'
      ? 'peak MB: most bytes on the wasm heap during a step above those before it, every buffer once, scratch memory included.'
      : "peak MB: tfjs's own count, as in the last column.",
    `floor: every conv's input, the weights and their gradients; ${mb(floor.before)} MB of it, the batch and the weights, are there before a step and so in no peak.`,
    "tfjs's MB: tf.profile's count, which takes a buffer for as many as it has references (a clone shares its memory here).",
    "deploy: the folded model, trained by tfjs's own layers; on wasm with this package's kernels underneath, as all modes.",
  ];
  if (ms.tune !== undefined && ms['tune+recompute'] !== undefined) {
    const [time, peak] = [ms['tune+recompute'] / ms.tune, (peaks['tune+recompute'] ?? 0) / (peaks.tune ?? 1)];
    lines.push(`recompute: ${time.toFixed(2)} of Tune's time, ${peak.toFixed(2)} of its peak.`);
  }
  lines.push(
    `predict: deployed ${predict.deployed.toFixed(0)} ms, source ${predict.source.toFixed(0)} ms ` +
      `(${(predict.deployed / predict.source).toFixed(2)}); parameters ${parameters.deployed} of ${parameters.source}.`,
  );
  if (result.memory !== null) lines.push('', renderMemory(result.memory));
  if (result.cpuEvalMs !== null)
    lines.push('', `cpu backend, one Eval step: ${(result.cpuEvalMs / 1000).toFixed(1)} s`);
  lines.push('', goalTable(result.goals));
  if (result.leakedTensors !== 0) lines.push('', `LEAK: ${result.leakedTensors} tensors`);
  return lines.join('\n');
}

function renderMemory(processes: NonNullable<Result['memory']>): string {
  const rows = Object.entries(processes).map(([mode, { heap, rss }]) => [
    mode,
    ...(heap === null ? ['–', '–', '–'] : [mb(heap[1]), mb(heap[1] - heap[0]), mb(heap[2] - heap[1])]),
    mb(rss[1]),
    mb(rss[1] - rss[0]),
  ]);
  const head = ['mode', 'heap MB', 'grown by', 'by two more steps', 'peak RSS MB', 'above loaded'];
  return `A process for each mode; the heap grows in steps of a fifth of its size.\n${table(head, rows)}`;
}

await runBench(USAGE, main);
