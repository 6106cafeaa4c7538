/**
 * A lifted model written back into its graph: what the graph gives then is what the model gives.
 *
 * Where weights come back as they were, they are compared bit by bit. Where both sides compute, they differ by the order of
 * float32 sums: some tens of products of numbers around 1, so 2⁻²⁴ · √terms of the largest output, below 1e-5 of it.
 */

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { liftGraphModel } from '../../../adapters/graph-model';
import type { LiftedModel } from '../../../adapters/graph-model/lifted';
import { restoreBatchNorm } from '../../../adapters/graph-model/restore';
import { saveGraphModel, toGraphModel } from '../../../adapters/graph-model/write-back';
import { fileIO } from '../../../adapters/node';
import { setMode } from '../../../src';
import { useBackend } from '../../helpers/backends';
import { type Random, random } from '../../helpers/random';
import { GraphBuilder, handlerOf } from './graphs';
import { TABLE } from './table-graphs';

beforeAll(() => useBackend('cpu'));

const ROUNDING = 1e-5;

/** Every weight another value; those of BNs such as training and data would give them, far from their defaults. */
function shake({ model }: LiftedModel, numbers: Random): void {
  for (const layer of model.layers) {
    for (const weight of layer.weights) {
      const isVariance = weight.originalName.endsWith('moving_variance');
      const isConstant = weight.originalName.endsWith('/constant');
      if (isConstant) continue;
      const value = isVariance
        ? numbers.array(weight.shape.reduce((a, b) => (a as number) * (b as number), 1) as number, () =>
            numbers.uniform(0.3, 3),
          )
        : numbers.array(weight.shape.reduce((a, b) => (a as number) * (b as number), 1) as number);
      tf.tidy(() => void weight.write(tf.tensor(value, weight.shape as number[])));
    }
  }
}

async function outputsOf(artifacts: tf.io.ModelArtifacts, x: tf.Tensor, names: string[]): Promise<Float32Array[]> {
  const graph = (await loadGraphModel(tf.io.fromMemory(artifacts))) as GraphModel;
  const results = graph.execute(x, names) as tf.Tensor | tf.Tensor[];
  const list = Array.isArray(results) ? results : [results];
  const data = list.map((each) => each.dataSync().slice() as Float32Array);
  tf.dispose(list);
  graph.dispose();
  return data;
}

function expectClose(found: Float32Array, expected: Float32Array): void {
  expect(found.length).toBe(expected.length);
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-3);
  const difference = found.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i])), 0);
  expect(difference / largest).toBeLessThan(ROUNDING);
}

const inputOf = (seed: number) => tf.tensor(random(seed).array(2 * 6 * 5 * 3), [2, 6, 5, 3]);

describe.each(TABLE.map((row) => [row.name, row] as const))('%s', (_, row) => {
  test('comes back bit by bit, with every node and name, where nothing was trained', async () => {
    const before = tf.memory().numTensors;
    const lifted = await liftGraphModel(handlerOf(row.artifacts));
    const written = await toGraphModel(lifted);
    expect(written.modelTopology).toEqual(row.artifacts.modelTopology);
    expect(written.weightSpecs).toEqual(row.artifacts.weightSpecs);
    expect(
      Buffer.from(written.weightData as ArrayBuffer).equals(Buffer.from(row.artifacts.weightData as ArrayBuffer)),
    ).toBe(true);
    lifted.model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each(['as lifted', 'restored'])('gives what the model gives once it is trained, %s', async (which) => {
    const bare = await liftGraphModel(handlerOf(row.artifacts), { outputs: row.outputs });
    const x = inputOf(7);
    const lifted = which === 'restored' ? await restoreBatchNorm(bare, x) : bare;
    shake(lifted, random(11));
    const expected = [lifted.model.predict(x)].flat() as tf.Tensor[];
    const found = await outputsOf(await toGraphModel(lifted), x, lifted.outputs);
    const old = await outputsOf(row.artifacts, x, lifted.outputs);
    // Something was trained.
    expect(found.some((each, i) => each.some((value, at) => value !== old[i][at]))).toBe(true);
    found.forEach((each, i) => {
      expectClose(each, expected[i].dataSync() as Float32Array);
    });
  });
});

/** conv (bias, relu6) → depthwise affine → global mean → MatMul head. */
function classifier(seed: number, classes = 5): GraphBuilder {
  const g = new GraphBuilder(seed);
  const x = g.placeholder('images', [null, 6, 5, 3]);
  const fused = { op: '_FusedConv2D', fused_ops: ['BiasAdd', 'Relu6'], num_args: 1 };
  const first = g.conv('conv1', x, [3, 3, 3, 6], fused, [g.constant('conv1/bias', [6])]);
  const depthwise = g.conv('conv2', first, [3, 3, 6, 1], { op: 'DepthwiseConv2dNative' });
  g.node('Mul', 'mul', [depthwise, g.scales('scale', 6)]);
  g.node('Add', 'add', ['mul', g.constant('offset', [6])]);
  g.node('Relu', 'relu', ['add']);
  g.node('Mean', 'pool', ['relu', g.ints('axes', [1, 2])], { keep_dims: false });
  g.node('MatMul', 'logits', ['pool', g.kernel('head', [6, classes])]);
  g.node('BiasAdd', 'biased', ['logits', g.constant('head/bias', [classes])]);
  g.node('Reshape', 'result', ['biased', g.ints('result/shape', [-1, classes])]);
  return g;
}

function withHead({ model }: LiftedModel, units: number, at = 'pool'): tfl.LayersModel {
  const features = model.getLayer(at).output as tfl.SymbolicTensor;
  const dense = tfl.layers.dense({ units, activation: 'softmax', name: 'new_head', kernelInitializer: 'glorotNormal' });
  return tfl.model({ inputs: model.inputs, outputs: dense.apply(features) as tfl.SymbolicTensor });
}

describe('a new head', () => {
  test('takes the place of the last MatMul, with another number of classes, and gives logits', async () => {
    const lifted = await liftGraphModel(handlerOf(classifier(3).artifacts({ outputs: ['result'] })));
    shake(lifted, random(5));
    const tuned = withHead(lifted, 3);
    const x = inputOf(9);
    const artifacts = await toGraphModel(lifted, { model: tuned });
    const [logits] = await outputsOf(artifacts, x, ['result']);
    const softmax = tf.softmax(tf.tensor(logits, [2, 3])).dataSync() as Float32Array;
    expectClose(softmax, (tuned.predict(x) as tf.Tensor).dataSync() as Float32Array);
  });

  test('is refused where it takes other features than the old one, and nothing is leaked', async () => {
    const lifted = await liftGraphModel(handlerOf(classifier(3).artifacts({ outputs: ['result'] })));
    const flat = tfl.layers.flatten({}).apply(lifted.model.inputs[0]) as tfl.SymbolicTensor;
    const wrong = tfl.layers
      .concatenate({})
      .apply([lifted.model.getLayer('pool').output as tfl.SymbolicTensor, flat]) as tfl.SymbolicTensor;
    const tuned = tfl.model({
      inputs: lifted.model.inputs,
      outputs: tfl.layers.dense({ units: 2, name: 'wide' }).apply(wrong) as tfl.SymbolicTensor,
    });
    const before = tf.memory().numTensors;
    await expect(toGraphModel(lifted, { model: tuned })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/'wide' takes 96 features.*'logits' \(MatMul\)/),
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('is refused where the graph ends in two products', async () => {
    const g = new GraphBuilder(4);
    const x = g.placeholder('images', [null, 6, 5, 3]);
    const trunk = g.node('Relu', 'relu', [g.conv('trunk', x, [1, 1, 3, 4])]);
    g.node('Mean', 'pool', [trunk, g.ints('axes', [1, 2])], { keep_dims: false });
    for (const name of ['a', 'b']) g.node('MatMul', name, ['pool', g.kernel(`${name}/kernel`, [4, 2])]);
    const lifted = await liftGraphModel(handlerOf(g.artifacts({ outputs: ['a', 'b'] })));
    await expect(toGraphModel(lifted, { model: withHead(lifted, 3) })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining("2 convolutions or MatMuls ('a', 'b')"),
    });
  });
});

/** A net that pools a convolution with relu. What stands behind `pool` is given. */
function pooledNet(seed: number): GraphBuilder {
  const g = new GraphBuilder(seed);
  const x = g.placeholder('images', [null, 6, 5, 3]);
  const fused = { op: '_FusedConv2D', fused_ops: ['BiasAdd', 'Relu'], num_args: 1 };
  const stem = g.conv('stem', x, [3, 3, 3, 4], fused, [g.constant('stem/bias', [4])]);
  // Its kernel would fit a head on the pooled features.
  const conv = g.conv('conv', stem, [1, 1, 4, 4], fused, [g.constant('conv/bias', [4])]);
  g.node('Mean', 'pool', [conv, g.ints('axes', [1, 2])], { keep_dims: false });
  return g;
}

function dense(g: GraphBuilder, name: string, x: string, inputs: number, units: number): string {
  g.node('MatMul', name, [x, g.kernel(`${name}/kernel`, [inputs, units])]);
  return g.node('BiasAdd', `${name}/biased`, [name, g.constant(`${name}/bias`, [units])]);
}

describe('a new head is refused where the graph would give something else than the model', () => {
  const refusals: [string, (g: GraphBuilder) => string, RegExp][] = [
    ['behind a last convolution that is still there', () => 'pool', /stands behind the graph's last layer 'conv'/],
    [
      'in the place of two layers, of which the first would stay',
      (g) => dense(g, 'b', g.node('Relu', 'between', [dense(g, 'a', 'pool', 4, 4)]), 4, 4),
      /more than the graph's last layer: 'a', node 'a' \(MatMul\)/,
    ],
    [
      'of a softmax, before a sigmoid',
      (g) => g.node('Sigmoid', 'result', [dense(g, 'a', 'pool', 4, 1)]),
      /activation Sigmoid \(node 'result'\).*trained with 'softmax'/,
    ],
    [
      'of a softmax, in a fused node with a relu',
      (g) => {
        const fused = { fused_ops: ['BiasAdd', 'Relu'], num_args: 1 };
        return g.node('_FusedMatMul', 'a', ['pool', g.kernel('a/kernel', [4, 2]), g.constant('a/bias', [2])], fused);
      },
      /activation Relu \(node 'a'\)/,
    ],
  ];
  test.each(refusals)('%s', async (_, end, message) => {
    const g = pooledNet(8);
    const lifted = await liftGraphModel(handlerOf(g.artifacts({ outputs: [end(g)] })));
    const tuned = withHead(lifted, 4);
    const before = tf.memory().numTensors;
    await expect(toGraphModel(lifted, { model: tuned })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(message),
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('the number of classes in the shape of a Reshape behind the head', () => {
  const forms: [string, (g: GraphBuilder, logits: string) => string][] = [
    ['a constant', (g) => g.ints('sizes', [-1, 5])],
    ['a constant behind an Identity', (g) => g.node('Identity', 'sizes/read', [g.ints('sizes', [-1, 5])])],
    [
      'Pack of the batch and a constant, as Keras has it',
      (g, logits) => {
        g.node('Shape', 'shape', [logits], { out_type: { type: 'int32' } });
        const bounds = [g.ints('from', [0]), g.ints('to', [1]), g.ints('step', [1])];
        const masks = { begin_mask: 0, end_mask: 0, ellipsis_mask: 0, new_axis_mask: 0, shrink_axis_mask: 1 };
        g.node('StridedSlice', 'batch', ['shape', ...bounds], masks);
        return g.node('Pack', 'sizes', ['batch', g.ints('classes', 5)], { N: 2, axis: 0 });
      },
    ],
  ];
  test.each(forms)('%s', async (_, sizes) => {
    const g = pooledNet(9);
    const logits = dense(g, 'a', 'pool', 4, 5);
    g.node('Reshape', 'reshaped', [logits, sizes(g, logits)]);
    g.node('Softmax', 'result', ['reshaped']);
    const lifted = await liftGraphModel(handlerOf(g.artifacts({ outputs: ['result'] })));
    const tuned = withHead(lifted, 3);
    const x = inputOf(9);
    const [found] = await outputsOf(await toGraphModel(lifted, { model: tuned }), x, ['result']);
    expectClose(found, (tuned.predict(x) as tf.Tensor).dataSync() as Float32Array);
  });
});

describe('constants that several nodes read', () => {
  /** Two convolutions of one kernel with a bias each; `other` reads the kernel too, and is no part of the model. */
  function shared(withStranger: boolean): GraphBuilder {
    const g = new GraphBuilder(6);
    const x = g.placeholder('images', [null, 6, 5, 3]);
    const kernel = g.kernel('kernel', [1, 1, 3, 3]);
    const window = { strides: [1, 1, 1, 1], padding: 'SAME', data_format: 'NHWC', dilations: [1, 1, 1, 1] };
    g.node('Conv2D', 'first', [x, kernel], window);
    g.node('BiasAdd', 'first/bias_add', ['first', g.constant('first/bias', [3])]);
    g.node('Identity', 'kernel/read', [kernel]);
    g.node('Conv2D', 'second', ['first/bias_add', 'kernel/read'], window);
    g.node('BiasAdd', 'second/bias_add', ['second', g.constant('second/bias', [3])]);
    if (withStranger) g.node('Sum', 'stranger', [kernel, g.ints('axes', [0, 1, 2])], { keep_dims: false });
    return g;
  }

  test('get a second one where two layers have trained to different values, and the graph gives what the model gives', async () => {
    const lifted = await liftGraphModel(handlerOf(shared(false).artifacts({ outputs: ['second/bias_add'] })));
    expect(lifted.products.map(({ constants }) => constants.kernel)).toEqual(['kernel', 'kernel']);
    shake(lifted, random(21));
    const x = inputOf(2);
    const artifacts = await toGraphModel(lifted);
    const [found] = await outputsOf(artifacts, x, ['second/bias_add']);
    expectClose(found, (lifted.model.predict(x) as tf.Tensor).dataSync() as Float32Array);
    const names = (artifacts.modelTopology as { node: { name: string }[] }).node.map(({ name }) => name);
    for (const { name } of shared(false).nodes) expect(names).toContain(name);
  });

  test('keep their value for a node that is no part of the model', async () => {
    const before = shared(true).artifacts({ outputs: ['second/bias_add', 'stranger'] });
    const lifted = await liftGraphModel(handlerOf(before), { outputs: ['second/bias_add'] });
    shake(lifted, random(22));
    const x = inputOf(3);
    const after = await toGraphModel(lifted);
    const [[second, stranger], [, untouched]] = await Promise.all(
      [after, before].map((artifacts) => outputsOf(artifacts, x, ['second/bias_add', 'stranger'])),
    );
    expect(stranger).toEqual(untouched);
    expectClose(second, (lifted.model.predict(x) as tf.Tensor).dataSync() as Float32Array);
  });
});

describe('quantised weights', () => {
  test.each(['uint8', 'uint16', 'float16'] as const)(
    '%s come back bit by bit where nothing was trained',
    async (quantisation) => {
      const before = classifier(8).artifacts({ outputs: ['result'], quantisation });
      const lifted = await liftGraphModel(handlerOf(before));
      const after = await toGraphModel(lifted, { weights: 'original' });
      expect(after.weightSpecs).toEqual(before.weightSpecs);
      expect(Buffer.from(after.weightData as ArrayBuffer).equals(Buffer.from(before.weightData as ArrayBuffer))).toBe(
        true,
      );
    },
  );

  test.each(['uint8', 'uint16', 'float16'] as const)(
    '%s are quantised again, to half a level of what was trained',
    async (quantisation) => {
      const lifted = await liftGraphModel(handlerOf(classifier(8).artifacts({ outputs: ['result'], quantisation })));
      shake(lifted, random(31));
      const decoded = async (weights: 'float32' | 'original') => {
        const { weightData, weightSpecs } = await toGraphModel(lifted, { weights });
        const tensors = tf.io.decodeWeights(weightData as ArrayBuffer, weightSpecs as tf.io.WeightsManifestEntry[]);
        return { tensors, weightSpecs: weightSpecs as tf.io.WeightsManifestEntry[] };
      };
      const [exact, coarse] = [await decoded('float32'), await decoded('original')];
      expect(exact.weightSpecs.every(({ quantization }) => quantization === undefined)).toBe(true);
      for (const { name, quantization } of coarse.weightSpecs) {
        if (quantization === undefined) continue;
        const values = exact.tensors[name].dataSync();
        const step = quantization.dtype === 'float16' ? undefined : (quantization.scale as number);
        coarse.tensors[name].dataSync().forEach((value, i) => {
          // A half has 11 bits; below 2⁻¹⁴ its steps are 2⁻²⁴.
          const allowed = step === undefined ? Math.max(Math.abs(values[i]) * 2 ** -11, 2 ** -25) : step * 0.5001;
          expect(Math.abs(value - values[i])).toBeLessThanOrEqual(allowed);
        });
      }
    },
  );
});

describe('what is refused', () => {
  const lifts = () => liftGraphModel(handlerOf(classifier(12).artifacts({ outputs: ['result'] })));

  test('weights that are no numbers: naming the layer, and without leaving tensors', async () => {
    const lifted = await lifts();
    const conv = lifted.model.getLayer('conv1');
    tf.tidy(() => void conv.weights[0].write(tf.fill(conv.weights[0].shape as number[], Number.NaN)));
    const before = tf.memory().numTensors;
    await expect(toGraphModel(lifted)).rejects.toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining("'conv1'"),
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a model that has none of the layers', async () => {
    const lifted = await lifts();
    const stranger = tfl.sequential({ layers: [tfl.layers.dense({ units: 2, inputShape: [3] })] });
    await expect(toGraphModel(lifted, { model: stranger })).rejects.toMatchObject({ code: 'unsupported' });
  });

  test('unknown options and values', async () => {
    const lifted = await lifts();
    await expect(toGraphModel(lifted, { weight: 'float32' } as never)).rejects.toMatchObject({
      code: 'invalid-option',
    });
    await expect(toGraphModel(lifted, { weights: 'int4' as never })).rejects.toMatchObject({ code: 'invalid-option' });
    await expect(saveGraphModel(lifted, 'nowhere://x')).rejects.toMatchObject({ code: 'invalid-option' });
  });
});

test('is saved through an IOHandler, and loads again from its files', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'write-back-'));
  const lifted = await liftGraphModel(handlerOf(classifier(14).artifacts({ outputs: ['result'] })));
  setMode(lifted.model, 'train');
  shake(lifted, random(41));
  await saveGraphModel(lifted, fileIO(folder));
  const graph = await loadGraphModel(fileIO(folder));
  const x = inputOf(4);
  expectClose(
    (graph.predict(x) as tf.Tensor).dataSync() as Float32Array,
    (lifted.model.predict(x) as tf.Tensor).dataSync() as Float32Array,
  );
  // Only read: it is in the mode in which it was.
  expect(lifted.model.layers.length).toBeGreaterThan(0);
  fs.rmSync(folder, { recursive: true });
});
