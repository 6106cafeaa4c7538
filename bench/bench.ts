/**
 * `npm run bench -- --model <dir> --batch 8`: one training step in train, eval, tune and deploy, side by side in one
 * process, interleaved, as medians; beside them the floors.
 *
 * `deploy` is the folded model trained by stock tfjs; it shows what folding alone gives.
 */
import { parseArgs } from 'node:util';
import { enableProdMode, memory, randomNormal, randomUniform, type Tensor, train } from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { fileIO, useBestBackend } from '../adapters/node';
import { type Mode, setMode, toDeploy } from '../src';
import { table } from '../src/report';
import { floorOf, matMulRate } from './floor';
import { median, peakBytes, timePredict, timeStep } from './measure';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    batch: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '7' },
    backend: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
if (values.model === undefined) {
  console.error(
    'usage: npm run bench -- --model <folder of model.json> [--batch 8] [--rounds 7] [--backend wasm] [--json]',
  );
  process.exit(2);
}

const MODES = ['train', 'eval', 'tune', 'deploy'] as const;
type Column = (typeof MODES)[number];

async function main(path: string, batch: number, rounds: number): Promise<void> {
  enableProdMode();
  const { backend, why } = await useBestBackend(values.backend === undefined ? {} : { backend: values.backend });
  console.error(`backend ${backend}: ${why}`);

  const model = await loadLayersModel(fileIO(path));
  const deployed = toDeploy(model);
  const [x, y] = [randomInput(model, batch), randomOutput(model, batch)];
  // So small a rate that no mode drifts away from the others while it is measured.
  for (const each of [model, deployed]) each.compile({ optimizer: train.sgd(1e-9), loss: 'meanSquaredError' });

  const subject = (column: Column): LayersModel => {
    if (column === 'deploy') return deployed;
    setMode(model, column as Mode);
    return model;
  };
  const failed = new Map<Column, string>();
  const times: Record<Column, number[]> = { train: [], eval: [], tune: [], deploy: [] };
  const peaks = {} as Record<Column, number>;
  const tensors = memory().numTensors;
  for (let round = -1; round < rounds; round++) {
    for (const column of MODES) {
      if (failed.has(column)) continue;
      process.stderr.write(
        `\r${round < 0 ? 'warm-up and memory' : `round ${round + 1} of ${rounds}`}: ${column}        `,
      );
      try {
        const model = subject(column);
        if (round < 0) peaks[column] = await peakBytes(model, x, y);
        else times[column].push(await timeStep(model, x, y));
      } catch (error) {
        failed.set(column, (error as Error).message);
      }
    }
  }
  process.stderr.write('\r\x1b[K');

  const floor = floorOf(model, batch);
  const rate = await matMulRate();
  const floorMs = (floor.flop / rate) * 1000;
  const ms = Object.fromEntries(MODES.map((column) => [column, median(times[column])])) as Record<Column, number>;
  if (values.json) {
    console.log(
      JSON.stringify({ model: path, batch, backend, ms, peaks, floor: { ms: floorMs, bytes: floor.bytes }, rate }),
    );
    return;
  }
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  const rows = MODES.map((column) => {
    const why = failed.get(column);
    if (why !== undefined) return [column, 'fails', why.slice(0, 40), '', ''];
    const relative = (a: Record<Column, number>) => (failed.has('eval') ? '-' : (a[column] / a.eval).toFixed(2));
    return [column, ms[column].toFixed(0), relative(ms), mb(peaks[column]), relative(peaks)];
  });
  rows.push([
    'floor',
    floorMs.toFixed(0),
    (floorMs / ms.eval).toFixed(2),
    mb(floor.bytes),
    (floor.bytes / peaks.eval).toFixed(2),
  ]);
  console.log(`${path}, batch ${batch}, backend ${backend}, median of ${rounds} interleaved rounds`);
  console.log(
    `a step is ${(floor.flop / 1e9).toFixed(2)} GFLOP; matMul runs at ${(rate / 1e9).toFixed(1)} GFLOP/s here\n`,
  );
  console.log(table(['mode', 'ms per step', '/ eval', 'peak MB', '/ eval'], rows));
  if (!failed.has('tune') && !failed.has('deploy')) {
    console.log(`\ntune / deploy time: ${(ms.tune / ms.deploy).toFixed(2)}`);
  }
  setMode(model, 'train');
  const predict: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    for (const [i, each] of [model, deployed].entries()) {
      const time = await timePredict(each, x);
      if (round >= 0) predict[i].push(time);
    }
  }
  const [plain, folded] = predict.map(median);
  console.log(
    `predict: deployed ${folded.toFixed(0)} ms, source ${plain.toFixed(0)} ms (${(folded / plain).toFixed(2)}); ` +
      `parameters ${deployed.countParams()} of ${model.countParams()}`,
  );
  if (memory().numTensors !== tensors) console.error(`leak: ${memory().numTensors - tensors} tensors`);
}

const shapeFor = (shape: (number | null)[], batch: number) => [batch, ...shape.slice(1).map((n) => n ?? 64)];
const randomInput = (model: LayersModel, batch: number): Tensor =>
  randomUniform(shapeFor(model.inputs[0].shape, batch), -1, 1);
const randomOutput = (model: LayersModel, batch: number): Tensor =>
  randomNormal(shapeFor(model.outputs[0].shape, batch));

await main(values.model, Number(values.batch), Number(values.rounds));
