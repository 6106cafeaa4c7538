/** Where a graph comes from, and how its weights are stored: the same model each time, and the source stays as it is. */
import fs from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import { fileIO } from 'tfjs-tune-mode/node';
import { type GraphSource, liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { largestDifference, rounding, weightValues } from '../../helpers/models';
import { both, disposing, graphOutputs, inputsOf, liftedOutputs, numbersOf } from './compare-graphs';
import { GraphBuilder, handlerOf, type Style } from './graphs';

beforeAll(() => useBackend('cpu'));

/** A convolution, a depthwise one with a BN, another with a fused activation, and labels. */
function graph(style: Style = 'names'): GraphBuilder {
  const g = new GraphBuilder(31, style);
  g.placeholder('x', [null, 6, 5, 3]);
  g.conv('conv', 'x', [3, 3, 3, 4], { strides: [1, 2, 2, 1], padding: 'VALID' });
  g.node('BiasAdd', 'biased', ['conv', g.constant('bias', [4])]);
  g.conv('depthwise', 'biased', [3, 3, 4, 1], { op: 'DepthwiseConv2dNative' });
  g.strings('labels', ['ant', 'bee']);
  g.node('Mul', 'mul', ['depthwise', g.scales('scale', 4)]);
  g.node('Relu6', 'relu', [g.node('Add', 'add', ['mul', g.constant('offset', [4])])]);
  const fused = {
    op: '_FusedConv2D',
    fused_ops: ['BiasAdd', 'LeakyRelu'],
    num_args: 1,
    leakyrelu_alpha: { float: 0.1 },
  };
  g.conv('last', 'relu', [1, 1, 4, 2], fused, [g.constant('last/bias', [2])]);
  return g;
}

async function valuesFrom(source: GraphSource): Promise<Record<string, number[]>> {
  const before = tf.memory().numTensors;
  const { model } = await liftGraphModel(source);
  const values = weightValues(model);
  model.dispose();
  expect(tf.memory().numTensors).toBe(before);
  return values;
}

/** Writes a graph as the converter does: two groups of weights, of which the first is cut into two files. */
async function write(folder: string): Promise<void> {
  const { weightSpecs = [], weightData, ...rest } = graph().artifacts();
  const bytes = Buffer.from(weightData as ArrayBuffer);
  const first = weightSpecs.slice(0, 3);
  const size = first.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
  const weightsManifest = [
    { paths: ['group1-shard1of2.bin', 'group1-shard2of2.bin'], weights: first },
    { paths: ['group2-shard1of1.bin'], weights: weightSpecs.slice(3) },
  ];
  await fs.writeFile(path.join(folder, 'model.json'), JSON.stringify({ ...rest, weightsManifest }));
  // Not at the border of a weight.
  await fs.writeFile(path.join(folder, 'group1-shard1of2.bin'), bytes.subarray(0, 50));
  await fs.writeFile(path.join(folder, 'group1-shard2of2.bin'), bytes.subarray(50, size));
  await fs.writeFile(path.join(folder, 'group2-shard1of1.bin'), bytes.subarray(size));
}

describe('the same weights', () => {
  let folder: string;
  let expected: Record<string, number[]>;
  beforeEach(async () => {
    folder = await fs.mkdtemp(path.join(os.tmpdir(), 'lift-'));
    await write(folder);
    expected = await valuesFrom(handlerOf(graph().artifacts()));
  });
  afterEach(() => fs.rm(folder, { recursive: true }));

  test('from an IOHandler: none of them is what a layer starts with', () => {
    expect(Object.keys(expected)).toHaveLength(9);
    for (const [name, values] of Object.entries(expected)) {
      if (!/moving/.test(name)) expect(new Set(values).size).toBe(values.length);
    }
  });

  test('from a GraphModel', async () => {
    const loaded = await loadGraphModel(handlerOf(graph().artifacts()));
    expect(await valuesFrom(loaded)).toEqual(expected);
    loaded.dispose();
  });

  test('from a folder with several groups and shards', async () => {
    expect(await valuesFrom(fileIO(folder))).toEqual(expected);
  });

  test('from a URL', async () => {
    const server = http.createServer(async (request, response) => {
      response.end(await fs.readFile(path.join(folder, path.basename(request.url as string))));
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    try {
      expect(await valuesFrom(`http://127.0.0.1:${port}/model.json`)).toEqual(expected);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    }
  });

  test('from a list of buffers', async () => {
    const artifacts = graph().artifacts();
    const bytes = artifacts.weightData as ArrayBuffer;
    const weightData = [bytes.slice(0, 33), bytes.slice(33, 333), bytes.slice(333)];
    expect(await valuesFrom(handlerOf({ ...artifacts, weightData }))).toEqual(expected);
  });

  test('from a graph in the converter’s older form', async () => {
    expect(await valuesFrom(handlerOf(graph('codes').artifacts()))).toEqual(expected);
  });

  test.each(['group1-shard2of2.bin', 'group2-shard1of1.bin'])('not without %s, nor with a part of it', async (file) => {
    const before = tf.memory().numTensors;
    const whole = await fs.readFile(path.join(folder, file));
    await fs.writeFile(path.join(folder, file), whole.subarray(0, -3));
    await expect(liftGraphModel(fileIO(folder))).rejects.toMatchObject({ code: 'invalid-model-file' });
    await fs.rm(path.join(folder, file));
    await expect(liftGraphModel(fileIO(folder))).rejects.toThrow(file);
    expect(tf.memory().numTensors).toBe(before);
  });
});

test.each(['uint8', 'uint16', 'float16'] as const)(
  '%s weights are those that the GraphModel has',
  async (quantisation) => {
    const exact = await valuesFrom(handlerOf(graph().artifacts()));
    await disposing(await both(graph().artifacts({ quantisation })), async (pair) => {
      const x = inputsOf(pair.lifted);
      const [found, expected] = [liftedOutputs, graphOutputs].map((run) => numbersOf(() => run(pair, x)));
      expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
      const values = weightValues(pair.lifted.model);
      // From the stored bytes the same; and quantised they are, by half a step of at most 4/255, or 2⁻¹¹ of a value.
      expect(await valuesFrom(handlerOf(graph().artifacts({ quantisation })))).toEqual(values);
      const change = largestDifference(Object.values(values), Object.values(exact));
      expect(change).toBeGreaterThan(1e-6);
      expect(change).toBeLessThan({ uint8: 2 / 255, uint16: 2 / 65535, float16: 2 ** -11 }[quantisation]);
      for (const { constants } of pair.lifted.products) {
        expect(pair.lifted.graph.constants.get(constants.kernel)?.quantization?.dtype).toBe(quantisation);
      }
      tf.dispose(x);
    });
  },
);

test('both forms of attributes give the same description', async () => {
  const [names, codes] = await Promise.all(
    (['names', 'codes'] as const).map((style) => liftGraphModel(handlerOf(graph(style).artifacts()))),
  );
  expect(codes.products).toEqual(names.products);
  expect(codes.report.nodes).toEqual(names.report.nodes);
  expect(codes.report.toString()).toBe(names.report.toString());
  for (const { model } of [names, codes]) model.dispose();
});

test.each(['cpu', 'wasm'] as const)(
  '%s: the GraphModel stays as it is, whatever becomes of the lifted one',
  async (backend) => {
    await useBackend(backend);
    const before = tf.memory().numTensors;
    const pair = await both(graph().artifacts());
    const x = inputsOf(pair.lifted);
    const expected = numbersOf(() => graphOutputs(pair, x));
    const found = numbersOf(() => liftedOutputs(pair, x));
    const optimizer = tf.train.sgd(0.1);
    const loss = () => tf.sum(tf.square(pair.lifted.model.apply(x[0], { training: true }) as tf.Tensor)) as tf.Scalar;
    optimizer.minimize(loss, false);
    expect(numbersOf(() => liftedOutputs(pair, x))).not.toEqual(found);
    expect(numbersOf(() => graphOutputs(pair, x))).toEqual(expected);
    // Nor does the lifted model need the graph any more.
    const trained = numbersOf(() => liftedOutputs(pair, x));
    pair.graph.dispose();
    expect(numbersOf(() => liftedOutputs(pair, x))).toEqual(trained);
    pair.lifted.model.dispose();
    optimizer.dispose();
    tf.dispose(x);
    expect(tf.memory().numTensors).toBe(before);
  },
);
