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
    // The kernels here are square in their channels, so that a scale along the inputs runs.
    const turned = core.transpose(kernel, [0, 1, 3, 2]);
    return { ...folded, kernel: core.transpose(actual.fold(turned, bias, bn, scaleShape).kernel, [0, 1, 3, 2]) };
  };
  return { ...actual, fold: faulty };
});

const FAULTS = ['noEpsilon', 'wrongAxis', 'noMean', 'noBeta', 'notFolded'] as const;
/** What is off by less than the comparison's 1e-3 is for the tests to find, not for it. */
const COARSE = FAULTS.filter((fault) => fault !== 'noEpsilon');
const SIZE = 4;
const EPSILON = 1e-3;

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));
afterEach(() => {
  mockFault = null;
});

async function writeSource(): Promise<tfl.LayersModel> {
  const conv = (name: string) =>
    tfl.layers.conv2d({ name, filters: SIZE, kernelSize: 3, inputShape: [6, 6, SIZE], padding: 'same' });
  const bn = (name: string) => tfl.layers.batchNormalization({ name, epsilon: EPSILON });
  const model = tfl.sequential({ layers: [conv('a'), bn('bn_a'), tfl.layers.reLU({}), conv('b'), bn('bn_b')] });
  randomise(model, 5);
  await model.save(fileIO(at('layers')));
  return model;
}

describe.each([
  ['layers', 'out'],
  ['h5', 'out.h5'],
])('layers → %s', (_name, out) => {
  async function difference(): Promise<{ found: number; allowed: number }> {
    const source = await writeSource();
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

  test.each(FAULTS)('%s shows', async (fault) => {
    mockFault = fault;
    const { found, allowed } = await difference();
    expect(found).toBeGreaterThan(10 * allowed);
  });

  test.each(COARSE)('%s is refused, and nothing is written', async (fault) => {
    await writeSource();
    mockFault = fault;
    await expect(convert(at('layers'), at(out), { mode: 'deploy' })).rejects.toMatchObject({
      code: 'broken-invariant',
      message: expect.stringMatching(/computes something else/),
    });
    expect(fs.readdirSync(at())).toEqual(['layers']);
  });
});

/** Two convolutions, each with a BN in one of the forms in which graphs have it; one with a bias before it. */
function writeSourceGraph(form: 'FusedBatchNorm' | 'Mul and Add'): void {
  const g = new GraphBuilder(11);
  const positive = () => g.random.array(SIZE, () => g.random.uniform(0.05, 4));
  let x = g.placeholder('input', [1, 6, 6, SIZE]);
  for (const name of ['a', 'b']) {
    x = g.conv(`${name}/conv`, x, [3, 3, SIZE, SIZE]);
    if (name === 'b') x = g.node('BiasAdd', `${name}/biased`, [x, g.constant(`${name}/bias`, [SIZE])]);
    if (form === 'FusedBatchNorm') {
      const variance = g.constant(`${name}/variance`, [SIZE], positive());
      const [gamma, beta, mean] = ['gamma', 'beta', 'mean'].map((each) => g.constant(`${name}/${each}`, [SIZE]));
      const settings = { epsilon: { float: EPSILON }, is_training: false };
      x = g.node('FusedBatchNormV3', `${name}/bn`, [x, gamma, beta, mean, variance], settings);
    } else {
      x = g.node('Mul', `${name}/scaled`, [x, g.constant(`${name}/scale`, [SIZE])]);
      x = g.node('AddV2', `${name}/shifted`, [x, g.constant(`${name}/offset`, [SIZE])]);
    }
    x = g.node('Relu', `${name}/relu`, [x]);
  }
  writeGraph(at('graph'), g.artifacts({ outputs: [x] }));
}

describe.each(['FusedBatchNorm', 'Mul and Add'] as const)('graph → graph, %s', (form) => {
  // s, and so ε and β, are numbers in the graph already.
  const shown = FAULTS.filter((fault) => form === 'FusedBatchNorm' || /wrongAxis|notFolded/.test(fault));
  /** Two sums of 36 terms, 8 roundings each. */
  const allowed = 2 * (9 * SIZE + 8) * 2 ** -24;

  async function difference(): Promise<number> {
    writeSourceGraph(form);
    await convert(at('graph'), at('out'), { to: 'graph', verify: false });
    expect(fs.readFileSync(at('out/model.json'), 'utf8')).not.toMatch(/FusedBatchNorm|"Mul/);
    const x = tf.randomUniform([1, 6, 6, SIZE], -1, 1, 'float32', 3);
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
