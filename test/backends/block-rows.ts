/**
 * Single blocks on a backend: Tune there, and the deployed block there, against Eval on the cpu backend.
 *
 * The rows are taken from the table of `test/blocks`: for every kind of conv as few as hold every setting once. Data and
 * tolerance are that table's too. Each side may be off by n · 2⁻²⁴ of a number's magnitude (`../helpers/reference.ts`), so
 * two sides by twice that; the elementary functions of a GPU are off by a few roundings more than the correct rounding
 * that is reckoned with, which n leaves room for (the worst row on SwiftShader needs 0.06 of one side's tolerance).
 */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { setMode, toDeploy } from 'tfjs-tune-mode';
import { DIMENSIONS, KINDS, rowsOf } from '../helpers/block-table';
import { type BlockCase, buildModel, type Numbers, quantityOf, sample } from '../helpers/blocks';
import { type BlockReference, type KindName, relativeError, xShape, yShape } from '../helpers/reference';
import { batchNormsRunBy, gradients, outputs, read, switchTo } from './numbers';

export interface BlockRow {
  name: string;
  block: BlockCase;
  check(backend: string): Promise<void>;
}

export const BLOCK_ROWS: BlockRow[] = KINDS.flatMap((kind) =>
  everySettingOnce(kind).map(({ name, block }, index) => ({
    name: `${kind} ${name}`,
    block,
    check: (backend) => checkBlock(block, 1 + index, backend),
  })),
);

function everySettingOnce(kind: KindName) {
  const seen = new Set<string>();
  return rowsOf(kind).filter(({ block }) => {
    const settings: Record<string, unknown> = { ...block.spec, ...block };
    const fresh = Object.keys(DIMENSIONS[kind])
      .map((name) => `${name} ${JSON.stringify(settings[name])}`)
      .filter((setting) => !seen.has(setting));
    for (const setting of fresh) seen.add(setting);
    return fresh.length > 0;
  });
}

async function checkBlock(block: BlockCase, seed: number, backend: string): Promise<void> {
  const { data, expected } = sample(block, seed);
  const x = () => tf.tensor(data.x, xShape(block.spec));
  const r = () => tf.tensor(data.r, yShape(block.spec));

  await switchTo('cpu');
  const stock = buildModel(block, data);
  setMode(stock, 'eval');
  let y: Numbers = new Map();
  const ofEval = await batchNormsRunBy(async () => {
    y = await outputs(stock, x);
  });
  if (ofEval === 0) throw new Error('Eval runs no BatchNorm: that Tune runs none would say nothing');
  const slopes = tfjsHasGradients(block) ? await gradients(stock, x, r, nameOf) : ofFormula(stock, expected);
  stock.dispose();

  await switchTo(backend);
  const before = tf.memory().numTensors;
  const model = buildModel(block, data);
  const report = setMode(model, 'tune', { fuseActivation: block.fuse });
  if (report.pairs.length !== 1 || report.skipped.length > 0) throw new Error(`not one pair:\n${report}`);
  const ofTune = await batchNormsRunBy(async () => {
    expectNear('Tune', await outputs(model, x), y, expected);
    expectNear('Tune', await gradients(model, x, r, nameOf), slopes, expected);
  });
  if (ofTune !== 0) throw new Error('Tune runs a BatchNorm: it has fallen back to Eval');
  const deployed = toDeploy(model);
  expectNear('Deploy', await read(() => ({ 'y of predict': deployed.predict(x()) as tf.Tensor })), y, expected);
  deployed.dispose();
  model.dispose();
  const left = tf.memory().numTensors - before;
  if (left !== 0) throw new Error(`${left} tensors are left`);
}

const nameOf = ({ originalName }: tfl.LayerVariable) => originalName.split('/').pop() as string;

/** Where tfjs 4.22.0 has no gradient at all, Eval cannot be compared with, and the formula takes its place. */
function tfjsHasGradients({ spec }: BlockCase): boolean {
  return spec.kind !== 'Conv3DTranspose' && spec.dilations.every((rate) => rate === 1);
}

function ofFormula(model: tfl.LayersModel, expected: BlockReference): Numbers {
  const names = ['x', ...model.trainableWeights.map(nameOf)];
  return new Map(names.map((name) => [name, Float32Array.from(quantityOf(name, expected).value)]));
}

function expectNear(mode: string, found: Numbers, reference: Numbers, expected: BlockReference): void {
  for (const [name, values] of found) {
    const value = Float64Array.from(reference.get(name) as Float32Array);
    const error = relativeError(values, { value, magnitude: quantityOf(name, expected).magnitude });
    if (error <= 2 * expected.tolerance) continue;
    throw new Error(`${mode}: ${name} is off by ${error / expected.tolerance} tolerances`);
  }
}
