/** What a review of the conversion found: each was wrong once. */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { convert, verifyModels } from 'tfjs-tune-mode/convert';
import { fileIO } from 'tfjs-tune-mode/node';
import { kerasLayersOf, writeKerasH5 } from '../../../adapters/keras/files';
import { toKerasConfig } from '../../../adapters/keras/topology';
import { useBackend } from '../../helpers/backends';
import { randomise } from '../../helpers/models';
import { GraphBuilder } from '../graph-model/graphs';
import { temporaryFolder } from '../node/temporary-folder';
import { type Json, writeGraph, writeLayers } from './small-files';

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));

const jsonOf = (folder: string): Json => JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));

test('a model saved with its optimizer is read without it, and stays compiled', async () => {
  const model = tfl.sequential({ layers: [tfl.layers.dense({ units: 2, inputShape: [3], name: 'dense' })] });
  model.compile({ optimizer: tf.train.adam(), loss: 'meanSquaredError' });
  await model.fit(tf.ones([4, 3]), tf.ones([4, 2]), { epochs: 1, verbose: 0 });
  await model.save(fileIO(at('in')), { includeOptimizer: true });
  expect(JSON.stringify(jsonOf(at('in')).weightsManifest)).toContain('"optimizer"');
  const { notes } = await convert(at('in'), at('out'));
  expect(notes).toEqual([expect.stringMatching(/optimizer is left out/)]);
  const names = jsonOf(at('out')).weightsManifest[0].weights.map(({ name }: Json) => name);
  expect(names).toEqual(['dense/kernel', 'dense/bias']);
  const loaded = await tfl.loadLayersModel(fileIO(at('out')));
  expect((loaded as unknown as { loss: string }).loss).toBe('meanSquaredError');
  await convert(at('in'), at('deployed'), { mode: 'deploy' });
  expect(jsonOf(at('deployed')).trainingConfig).toBeUndefined();
});

describe('float16 refuses what it does not reach', () => {
  test.each([true, false])('in layers, verify: %s', async (verify) => {
    writeLayers(at('in'));
    const model = await tfl.loadLayersModel(fileIO(at('in')));
    const conv = model.getLayer('conv');
    conv.setWeights([tf.mul(conv.getWeights()[0], 1e6)]);
    await model.save(fileIO(at('large')));
    const failing = convert(at('large'), at('out'), { quantize: 'float16', verify });
    await expect(failing).rejects.toMatchObject({ code: 'invalid-option', message: /'conv\/kernel'.*float16 ends at/ });
    expect(fs.existsSync(at('out'))).toBe(false);
  });

  test('in a graph', async () => {
    const g = new GraphBuilder(7);
    const x = g.placeholder('input', [1, 4]);
    const kernel = g.constant('matrix', [4, 2], [1, 2, 3, 4, 5, 6, 7, -65520]);
    writeGraph(at('in'), g.artifacts({ outputs: [g.node('MatMul', 'logits', [x, kernel])] }));
    const failing = convert(at('in'), at('out'), { to: 'graph', quantize: 'float16', verify: false });
    await expect(failing).rejects.toMatchObject({ code: 'invalid-option', message: /'matrix'.*-65520 at position 7/ });
    await convert(at('in'), at('out'), { to: 'graph', quantize: 'uint16' });
  });
});

/** conv · s + b, ReLU. */
function blockIn(g: GraphBuilder): string {
  let x = g.conv('conv', g.placeholder('input', [1, 6, 6, 3]), [3, 3, 3, 4]);
  x = g.node('Mul', 'scaled', [x, g.scales('scale', 4)]);
  x = g.node('AddV2', 'shifted', [x, g.constant('shift', [4])]);
  return g.node('Relu', 'relu', [x]);
}

test("a folded graph keeps its initializer's constants, and its functions'", async () => {
  const g = new GraphBuilder(7);
  const outputs = [blockIn(g)];
  const others = ['of the initializer', 'of a function'].map((name) => g.constant(name, [4]));
  const artifacts = g.artifacts({ outputs });
  const topology = artifacts.modelTopology as Json;
  const [inInitializer, inFunction] = others.map((name) => topology.node.find((node: Json) => node.name === name));
  topology.node = topology.node.filter((node: Json) => node !== inInitializer && node !== inFunction);
  topology.library = { function: [{ signature: { name: 'f', inputArg: [], outputArg: [] }, nodeDef: [inFunction] }] };
  const identity = { name: 'started', op: 'Identity', input: [inInitializer.name], attr: {} };
  const modelInitializer = { node: [inInitializer, identity], versions: {} };
  writeGraph(at('in'), { ...artifacts, modelInitializer });
  expect((await convert(at('in'), at('out'), { to: 'graph' })).folded).toBe(1);
  const [{ weights }] = jsonOf(at('out')).weightsManifest;
  const names = weights.map(({ name }: Json) => name);
  expect(names.sort()).toEqual(['conv/weights', 'of a function', 'of the initializer', 'shift']);
});

// Optimisers make one constant of all that are equal.
describe('one constant that is a bias and an offset is folded for each', () => {
  const values = [0.3, 0.7, -1, 2];

  test('FusedBatchNorm', async () => {
    const g = new GraphBuilder(7);
    const both = g.constant('both', [4], values);
    let x = g.conv('conv', g.placeholder('input', [1, 6, 6, 3]), [3, 3, 3, 4]);
    x = g.node('BiasAdd', 'biased', [x, both]);
    const variance = g.constant('variance', [4], [0.5, 1, 2, 3]);
    const inputs = [x, g.scales('gamma', 4), both, g.constant('mean', [4]), variance];
    x = g.node('FusedBatchNormV3', 'bn', inputs, { epsilon: { float: 0.001 }, is_training: false });
    writeGraph(at('in'), g.artifacts({ outputs: [g.node('Relu', 'relu', [x])] }));
    await convert(at('in'), at('out'), { to: 'graph', verify: false });
    expect(await verifyModels(at('in'), at('out'))).toMatchObject({ passed: true });
  });

  test('Mul and Add', async () => {
    const g = new GraphBuilder(7);
    const both = g.constant('both', [4], values);
    let x = g.conv('conv', g.placeholder('input', [1, 6, 6, 3]), [3, 3, 3, 4]);
    x = g.node('BiasAdd', 'biased', [x, both]);
    x = g.node('Mul', 'scaled', [x, g.scales('scale', 4)]);
    x = g.node('AddV2', 'shifted', [x, both]);
    writeGraph(at('in'), g.artifacts({ outputs: [g.node('Relu', 'relu', [x])] }));
    await convert(at('in'), at('out'), { to: 'graph', verify: false });
    expect(await verifyModels(at('in'), at('out'))).toMatchObject({ passed: true });
  });
});

test('a negative variance is refused as what it is', async () => {
  const g = new GraphBuilder(7);
  const x = g.conv('conv', g.placeholder('input', [1, 6, 6, 3]), [3, 3, 3, 4]);
  const variance = g.constant('variance', [4], [1, 1, -1, 1]);
  const inputs = [x, g.scales('gamma', 4), g.constant('beta', [4]), g.constant('mean', [4]), variance];
  const bn = g.node('FusedBatchNormV3', 'bn', inputs, { epsilon: { float: 0.001 }, is_training: false });
  writeGraph(at('in'), g.artifacts({ outputs: [g.node('Relu', 'relu', [bn])] }));
  const failing = convert(at('in'), at('out'), { to: 'graph' });
  await expect(failing).rejects.toMatchObject({ code: 'invalid-model-file', message: /in\/model.json'.*'conv' gives/ });
});

test('two layers of one name, which Keras can save in models in models, are refused for tfjs', async () => {
  const inner = (name: string, x: tfl.SymbolicTensor) => {
    const own = tfl.input({ shape: [3], name: `${name}_in` });
    const dense = tfl.layers.dense({ units: 3, name: 'dense' }).apply(own) as tfl.SymbolicTensor;
    return tfl.model({ inputs: own, outputs: dense, name }).apply(x) as tfl.SymbolicTensor;
  };
  const input = tfl.input({ shape: [3], name: 'in' });
  const model = tfl.model({ inputs: input, outputs: inner('b', inner('a', input)), name: 'twice' });
  randomise(model, 1);
  const config = toKerasConfig('in.h5', model.toJSON(undefined, false) as unknown as object);
  await writeKerasH5(at('in.h5'), { config, kerasVersion: '2.15.0', layers: kerasLayersOf(model) });
  const failing = convert(at('in.h5'), at('out'), { verify: false });
  await expect(failing).rejects.toMatchObject({ code: 'unsupported', message: /in.h5': two layers.*'dense\/kernel'/ });
});

test('the cells of a StackedRNNCells keep their initializers when deployed', async () => {
  const cell = (name: string, units: number) =>
    tfl.layers.simpleRNNCell({ units, name, recurrentInitializer: 'zeros', kernelInitializer: 'heNormal' });
  const cells = tfl.layers.stackedRNNCells({ cells: [cell('one', 3), cell('two', 2)] } as never);
  const model = tfl.sequential({ layers: [tfl.layers.rnn({ cell: cells as never, inputShape: [4, 2], name: 'rnn' })] });
  await model.save(fileIO(at('in')));
  await convert(at('in'), at('out'), { mode: 'deploy' });
  const { cell: stacked } = jsonOf(at('out')).modelTopology.config.layers[0].config;
  const starts = stacked.config.cells.map(({ config }: Json) => config.kernel_initializer.config.mode);
  expect(starts).toEqual(['fan_in', 'fan_in']);
});

test('verifyModels refuses options that are none', async () => {
  const failing = verifyModels(at(), at(), { tolerance: Number.NaN });
  await expect(failing).rejects.toMatchObject({ code: 'invalid-option', message: /verifyModels: 'tolerance'/ });
});

test('what a stateful RNN remembers is let go of', async () => {
  const [recurrentInitializer, batchInputShape] = ['zeros' as const, [2, 3, 2]];
  const gru = tfl.layers.simpleRNN({ units: 2, stateful: true, recurrentInitializer, batchInputShape, name: 'rnn' });
  const model = tfl.sequential({ layers: [gru] });
  await model.save(fileIO(at('in')));
  const before = tf.memory().numTensors;
  expect((await convert(at('in'), at('out'), { mode: 'deploy' })).verification?.passed).toBe(true);
  expect(tf.memory().numTensors).toBe(before);
});

class Times extends tfl.layers.Layer {
  static className = 'ReviewTimes';

  constructor(private readonly own: { name: string; tableInitializer: number[] }) {
    super({ name: own.name });
    if (own.tableInitializer === undefined) throw new Error('it has no table');
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.mul(Array.isArray(inputs) ? inputs[0] : inputs, this.own.tableInitializer[0]);
  }

  override getConfig() {
    return { ...super.getConfig(), tableInitializer: this.own.tableInitializer };
  }
}

test.each(['tune', 'deploy'] as const)('a registered layer keeps what it calls an initializer: %s', async (mode) => {
  tf.serialization.registerClass(Times as unknown as Parameters<typeof tf.serialization.registerClass>[0]);
  const input = tfl.input({ shape: [3], name: 'in' });
  const times = new Times({ name: 'times', tableInitializer: [2] });
  const model = tfl.model({ inputs: input, outputs: times.apply(input) as tfl.SymbolicTensor });
  await model.save(fileIO(at('in')));
  expect((await convert(at('in'), at('out'), { mode, allowCustom: true })).verification?.passed).toBe(true);
  const layers: Json[] = jsonOf(at('out')).modelTopology.config.layers;
  expect(layers[1].config).toMatchObject({ table_initializer: [2] });
});
