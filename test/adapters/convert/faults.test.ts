/**
 * A test of the tests: faults are seeded into the fold, and the result is compared with its source by tfjs's own loaders
 * alone, without `convert`'s comparison. Tolerance: `rounding` of the source, which a right fold keeps and each fault
 * exceeds tenfold at least. The coarse faults are also what that comparison must refuse.
 */
import fs from 'node:fs';
import { loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { convert } from 'tfjs-tune-mode/convert';
import { fileIO } from 'tfjs-tune-mode/node';
import { useBackend } from '../../helpers/backends';
import { inputsFor, largestDifference, predictions, randomise, rounding, toList } from '../../helpers/models';
import { random } from '../../helpers/random';
import { GraphBuilder } from '../graph-model/graphs';
import { temporaryFolder } from '../node/temporary-folder';
import { writeGraph } from './small-files';

type Fault = 'noEpsilon' | 'wrongAxis' | 'noMean' | 'noBeta' | 'notFolded' | null;
let mockFault: Fault = null;

jest.mock('../../../src/fold', () => {
  const core = jest.requireActual('@tensorflow/tfjs-core');
  const actual = jest.requireActual('../../../src/fold');
  const faulty: typeof actual.fold = (kernel: tf.Tensor, bias: tf.Tensor | null, bn: never, scaleShape: number[]) => {
    const given = bn as { mean: tf.Tensor; beta: tf.Tensor | null; epsilon: number };
    if (mockFault === 'noEpsilon') return actual.fold(kernel, bias, { ...given, epsilon: 0 }, scaleShape);
    if (mockFault === 'noMean') {
      return actual.fold(kernel, bias, { ...given, mean: core.zerosLike(given.mean) }, scaleShape);
    }
    if (mockFault === 'noBeta') return actual.fold(kernel, bias, { ...given, beta: null }, scaleShape);
    const folded = actual.fold(kernel, bias, bn, scaleShape);
    if (mockFault === 'notFolded') return { ...folded, kernel: core.clone(kernel) };
    if (mockFault !== 'wrongAxis') return folded;
    const turn = <T>(axes: T[]) => [...axes.slice(0, -2), axes[axes.length - 1], axes[axes.length - 2]];
    const turned = (t: tf.Tensor) => core.transpose(t, turn([...t.shape.keys()]));
    // Of a depthwise kernel s runs along both axes, and is laid out as [multiplier, in]. The other kernels here have as
    // many inputs as outputs: with other numbers a scale along the inputs does not run, and needs no test.
    const shape = scaleShape.filter((size) => size > 1).length > 1 ? turn(scaleShape) : scaleShape;
    return { ...folded, kernel: turned(actual.fold(turned(kernel), bias, bn, shape).kernel) };
  };
  return { ...actual, fold: faulty };
});

const FAULTS = ['noEpsilon', 'wrongAxis', 'noMean', 'noBeta', 'notFolded'] as const;
/** What is off by less than the comparison's 1e-3 is for the tests to find, not for it. */
const isCoarse = (fault: Fault) => fault !== 'noEpsilon';
const SIZE = 4;
const EPSILON = 1e-3;

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));
afterEach(() => {
  mockFault = null;
});

type BatchNormArgs = Parameters<typeof tfl.layers.batchNormalization>[0];

interface Source {
  name: string;
  /** Without the batch. */
  input: number[];
  product(name: string): tfl.layers.Layer;
  bn?: BatchNormArgs;
  faults?: readonly Exclude<Fault, null>[];
}

const IMAGE = [6, 6, SIZE];
const conv2d = (name: string) => tfl.layers.conv2d({ name, filters: SIZE, kernelSize: 3, padding: 'same' });

/** Every layout of a kernel, and every weight that may be absent. */
const SOURCES: Source[] = [
  { name: 'Conv2D', input: IMAGE, product: conv2d },
  {
    name: 'Conv2D, useBias: false',
    input: IMAGE,
    product: (name) => tfl.layers.conv2d({ name, filters: SIZE, kernelSize: [3, 2], padding: 'same', useBias: false }),
  },
  { name: 'Conv2D, BN with scale: false', input: IMAGE, product: conv2d, bn: { scale: false } },
  {
    name: 'Conv2D, BN with center: false',
    input: IMAGE,
    product: conv2d,
    bn: { center: false },
    // There is no β to leave out.
    faults: FAULTS.filter((fault) => fault !== 'noBeta'),
  },
  {
    name: 'DepthwiseConv2D',
    input: IMAGE,
    // With a multiplier of 1, s has one axis only, and none beside it to be mistaken for.
    product: (name) => tfl.layers.depthwiseConv2d({ name, kernelSize: [3, 2], depthMultiplier: 2, padding: 'same' }),
  },
  { name: 'Dense', input: [SIZE], product: (name) => tfl.layers.dense({ name, units: SIZE }) },
  {
    name: 'Conv2DTranspose',
    input: IMAGE,
    product: (name) => tfl.layers.conv2dTranspose({ name, filters: SIZE, kernelSize: [3, 2], padding: 'same' }),
  },
];

/** What the weights of a BN are drawn from: beside a variance near 0 the lack of ε would be too easy to see. */
const STATISTICS: [RegExp, number, number][] = [
  [/gamma$/, 0.5, 1.5],
  [/beta$|moving_mean$/, -0.3, 0.3],
  [/moving_variance$/, 0.5, 2],
];

async function writeSource({ input, product, bn }: Source): Promise<tfl.LayersModel> {
  const norms = ['bn_a', 'bn_b'].map((name) => tfl.layers.batchNormalization({ name, epsilon: EPSILON, ...bn }));
  const first = tfl.layers.inputLayer({ inputShape: input });
  const model = tfl.sequential({
    layers: [first, product('a'), norms[0], tfl.layers.reLU({}), product('b'), norms[1]],
  });
  randomise(model, 5);
  const { array, uniform } = random(6);
  for (const norm of norms) {
    const values = norm.weights.map(({ originalName, shape }) => {
      const [, low, high] = STATISTICS.find(([weight]) => weight.test(originalName)) as (typeof STATISTICS)[number];
      return tf.tensor1d(array(shape[0] as number, () => uniform(low, high)));
    });
    norm.setWeights(values);
  }
  await model.save(fileIO(at('layers')));
  return model;
}

// What is folded does not depend on the format, and an .h5 takes its time: one source is enough for it.
describe.each([
  ...SOURCES.map((source) => ({ ...source, source, to: 'layers', out: 'out' })),
  { ...SOURCES[0], source: SOURCES[0], to: 'h5', out: 'out.h5' },
])('layers → $to, $name', ({ source: row, out, faults = FAULTS }) => {
  async function difference(): Promise<{ found: number; allowed: number }> {
    const source = await writeSource(row);
    await convert(at('layers'), at(out), { mode: 'deploy', verify: false });
    // Of an .h5 the way back folds nothing any more.
    if (out.endsWith('.h5')) await convert(at(out), at('back'), { verify: false });
    const result = await tfl.loadLayersModel(fileIO(at(out.endsWith('.h5') ? 'back' : out)));
    const x = inputsFor(source, 3);
    return {
      found: largestDifference(predictions(result, x), predictions(source, x)),
      allowed: rounding(source),
    };
  }

  test('a right fold is right', async () => {
    const { found, allowed } = await difference();
    expect(found).toBeLessThan(allowed);
  });

  test.each(faults)('%s shows', async (fault) => {
    mockFault = fault;
    const { found, allowed } = await difference();
    expect(found).toBeGreaterThan(10 * allowed);
  });

  test.each(faults.filter(isCoarse))('%s is refused, and nothing is written', async (fault) => {
    await writeSource(row);
    mockFault = fault;
    await expect(convert(at('layers'), at(out), { mode: 'deploy' })).rejects.toMatchObject({
      code: 'broken-invariant',
      message: expect.stringMatching(/computes something else/),
    });
    expect(fs.readdirSync(at())).toEqual(['layers']);
  });
});

interface Product {
  op: string;
  input: number[];
  kernel(channels: number): number[];
  /** As many as the inputs, times this. */
  multiplier: number;
  attributes?: Record<string, boolean>;
}

const CONV: Product = { op: 'Conv2D', input: [1, ...IMAGE], kernel: () => [3, 3, SIZE, SIZE], multiplier: 1 };
const DEPTHWISE: Product = {
  op: 'DepthwiseConv2dNative',
  input: [1, ...IMAGE],
  kernel: (channels) => [3, 2, channels, 2],
  multiplier: 2,
};
const matMul = (transposed: boolean): Product => ({
  op: 'MatMul',
  input: [3, SIZE],
  kernel: () => [SIZE, SIZE],
  multiplier: 1,
  attributes: { transpose_a: false, transpose_b: transposed },
});

/** Two products, each with a BN in one of the forms in which graphs have it; one with a bias before it. */
function writeSourceGraph({ op, input, kernel, multiplier, attributes }: Product, form: string): void {
  const g = new GraphBuilder(11);
  let channels = SIZE;
  let x = g.placeholder('input', input);
  for (const name of ['a', 'b']) {
    const shape = kernel(channels);
    channels *= multiplier;
    const vector = (each: string, values?: Float32Array) => g.constant(`${name}/${each}`, [channels], values);
    if (attributes === undefined) x = g.conv(`${name}/product`, x, shape, { op });
    else x = g.node(op, `${name}/product`, [x, g.kernel(`${name}/kernel`, shape)], attributes);
    if (name === 'b') x = g.node('BiasAdd', `${name}/biased`, [x, vector('bias')]);
    if (form === 'FusedBatchNorm') {
      const positive = g.random.array(channels, () => g.random.uniform(0.05, 4));
      const statistics = [...['gamma', 'beta', 'mean'].map((each) => vector(each)), vector('variance', positive)];
      const settings = { epsilon: { float: EPSILON }, is_training: false };
      x = g.node('FusedBatchNormV3', `${name}/bn`, [x, ...statistics], settings);
    } else {
      x = g.node('Mul', `${name}/scaled`, [x, vector('scale')]);
      x = g.node('AddV2', `${name}/shifted`, [x, vector('offset')]);
    }
    x = g.node('Relu', `${name}/relu`, [x]);
  }
  writeGraph(at('graph'), g.artifacts({ outputs: [x] }));
}

// TensorFlow's FusedBatchNorm takes pictures alone.
describe.each([
  { name: 'Conv2D, FusedBatchNorm', product: CONV, form: 'FusedBatchNorm' },
  { name: 'Conv2D, Mul and Add', product: CONV, form: 'Mul and Add' },
  { name: 'DepthwiseConv2dNative, FusedBatchNorm', product: DEPTHWISE, form: 'FusedBatchNorm' },
  { name: 'DepthwiseConv2dNative, Mul and Add', product: DEPTHWISE, form: 'Mul and Add' },
  { name: 'MatMul, Mul and Add', product: matMul(false), form: 'Mul and Add' },
  { name: 'MatMul with transpose_b, Mul and Add', product: matMul(true), form: 'Mul and Add' },
])('graph → graph, $name', ({ product, form }) => {
  // Mul and Add is lifted as a BN with a mean of 0. β shows where there is a bias; without one the Add stays as it is.
  const shown = FAULTS.filter((fault) => form === 'FusedBatchNorm' || fault !== 'noMean');
  /** Two sums, 8 roundings each. */
  const terms = { Conv2D: 9 * SIZE, DepthwiseConv2dNative: 6, MatMul: SIZE }[product.op] as number;
  const allowed = 2 * (terms + 8) * 2 ** -24;

  async function difference(): Promise<number> {
    writeSourceGraph(product, form);
    await convert(at('graph'), at('out'), { to: 'graph', verify: false });
    expect(fs.readFileSync(at('out/model.json'), 'utf8')).not.toMatch(/FusedBatchNorm|"Mul/);
    const x = tf.randomUniform(product.input, -1, 1, 'float32', 3);
    const [expected, found] = await Promise.all(
      ['graph', 'out'].map(async (name) => {
        const graph = await loadGraphModel(fileIO(at(name)));
        return toList(graph.predict(x) as tf.Tensor).map((each) => Array.from(each.dataSync()));
      }),
    );
    return largestDifference(found, expected);
  }

  test('a right fold is right', async () => {
    expect(await difference()).toBeLessThan(allowed);
  });

  test.each(shown)('%s shows', async (fault) => {
    mockFault = fault;
    expect(await difference()).toBeGreaterThan(10 * allowed);
  });
});
