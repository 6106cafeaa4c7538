/** How a product and what belongs to it are described, and graphs that are no rows of the table. */
import * as tf from '@tensorflow/tfjs-core';
import type { LiftedModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { largestDifference, rounding } from '../../helpers/models';
import { both, disposing, graphOutputs, inputsOf, liftedOutputs, numbersOf } from './compare-graphs';
import { type Given, GraphBuilder } from './graphs';
import { TABLE } from './table-graphs';

beforeAll(() => useBackend('cpu'));

const lifted = async (name: string, run: (lifted: LiftedModel) => void) => {
  const row = TABLE.find((each) => each.name === name);
  if (row === undefined) throw new Error(`no row '${name}'`);
  await disposing(await both(row.artifacts), (pair) => run(pair.lifted));
};

test.each([
  [
    'Conv2D, SAME',
    {
      node: 'conv',
      op: 'Conv2D',
      form: 'plain',
      layer: 'conv',
      batchNorm: null,
      constants: { kernel: 'conv/weights' },
    },
  ],
  [
    'Conv2D, AddV2 with a constant, Relu6',
    { node: 'conv', form: 'folded', batchNorm: null, constants: { kernel: 'conv/weights', bias: 'bias' } },
  ],
  [
    'Conv2D, BiasAdd, Mul, Sub',
    {
      form: 'affine',
      batchNorm: 'conv_bn',
      constants: { kernel: 'conv/weights', bias: 'bias', scale: 'scale', offset: 'offset', offsetNegated: true },
    },
  ],
  [
    'Conv2D, Mul, Add',
    {
      form: 'affine',
      constants: { kernel: 'conv/weights', scale: 'scale', offset: 'offset', offsetNegated: false },
    },
  ],
  [
    'Conv2D, FusedBatchNormV3',
    {
      form: 'batchNorm',
      batchNorm: 'conv_bn',
      constants: {
        kernel: 'conv/weights',
        gamma: 'norm/gamma',
        beta: 'norm/beta',
        mean: 'norm/mean',
        variance: 'norm/variance',
      },
    },
  ],
  [
    'MatMul, transpose_b true, then BiasAdd',
    { form: 'folded', layer: 'matmul', constants: { kernel: 'kernel', kernelTransposed: true, bias: 'bias' } },
  ],
  [
    'MatMul, transpose_b false, then BiasAdd',
    { form: 'folded', layer: 'matmul', constants: { kernel: 'kernel', bias: 'bias' } },
  ],
  // Through an Identity, the constant behind it.
  [
    'constants behind Identity nodes',
    { node: 'second', form: 'folded', constants: { kernel: 'kernel', bias: 'bias' } },
  ],
  [
    'Conv2D, AddN with another tensor, then Add with a constant',
    { node: 'conv', form: 'folded', constants: { kernel: 'conv/weights', bias: 'bias' } },
  ],
])('%s: form, layer and constants', (name, expected) =>
  lifted(name, ({ products }) => {
    const product = products.at(-1);
    expect(product).toMatchObject(expected);
    // Nothing beside them.
    expect(product?.constants).toEqual(expected.constants);
  }),
);

test.each([
  ['Prelu, a slope a channel', { kind: 'alpha', layer: 'activation_prelu', constants: { alpha: 'alpha' } }],
  [
    'Mul and Sub alone, behind an activation',
    { kind: 'affine', node: 'mul', constants: { scale: 'scale', offset: 'offset', offsetNegated: true } },
  ],
  [
    'FusedBatchNormV3 alone, before a Conv2D',
    {
      kind: 'batchNorm',
      node: 'norm',
      constants: { gamma: 'norm/gamma', beta: 'norm/beta', mean: 'norm/mean', variance: 'norm/variance' },
    },
  ],
])('%s: a weight that is no product’s', (name, expected) =>
  lifted(name, ({ parameters }) => expect(parameters).toEqual([expect.objectContaining(expected)])),
);

test('an affine BN has s and the offset as γ and β, to the bit', () =>
  lifted('Conv2D, Mul, Add', ({ model, graph }) => {
    const [gamma, beta, mean, variance] = model.getLayer('conv_bn').getWeights();
    expect(gamma.dataSync()).toEqual(graph.constants.get('scale')?.values);
    expect(beta.dataSync()).toEqual(graph.constants.get('offset')?.values);
    expect([...mean.dataSync()]).toEqual([0, 0, 0, 0]);
    const { epsilon } = model.getLayer('conv_bn').getConfig() as { epsilon: number };
    // In float32, where a sum of σ² and ε that is not quite 1 would scale every weight.
    expect([...variance.dataSync()].map((value) => Math.fround(value + Math.fround(epsilon)))).toEqual([1, 1, 1, 1]);
  }));

test('nodes that share a layer are one product, with the node that came first', () =>
  lifted('two Conv2D, Mul, Add with the same four constants, on maps of two sizes', ({ products, model }) => {
    expect(products.map(({ node }) => node)).toEqual(['conv0']);
    expect(model.getLayer(products[0].layer).inboundNodes).toHaveLength(2);
  }));

test('a fused depthwise LeakyRelu, for which tfjs itself gives NaN, is what its parts give', async () => {
  const build = (fused: boolean) => {
    const g = new GraphBuilder(5);
    g.placeholder('x', [null, 6, 5, 3]);
    const op = fused ? 'FusedDepthwiseConv2dNative' : 'DepthwiseConv2dNative';
    const attributes: Record<string, Given> = fused
      ? { fused_ops: ['BiasAdd', 'LeakyRelu'], num_args: 1, leakyrelu_alpha: { float: 0.3 } }
      : {};
    const bias = g.constant('bias', [3]);
    g.conv('conv', 'x', [3, 3, 3, 1], { op, ...attributes }, fused ? [bias] : []);
    if (!fused) {
      g.node('BiasAdd', 'biased', ['conv', bias]);
      g.node('LeakyRelu', 'leaky', ['biased'], { alpha: { float: 0.3 } });
    }
    return g.artifacts();
  };
  await disposing(await both(build(true)), async (pair) => {
    const x = inputsOf(pair.lifted);
    expect(numbersOf(() => graphOutputs(pair, x))[0].some(Number.isNaN)).toBe(true);
    await disposing(await both(build(false)), (parts) => {
      const expected = numbersOf(() => graphOutputs(parts, x));
      const found = numbersOf(() => liftedOutputs(pair, x));
      expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
    });
    tf.dispose(x);
  });
});

describe('a bias that stands behind a sum', () => {
  /** conv + other, then + bias, where `other` is made by some op. */
  const residual = (op: string, inputs: string[]) => {
    const g = new GraphBuilder(6);
    g.placeholder('x', [null, 6, 5, 3]);
    g.node(op, 'other', inputs);
    g.conv('conv', 'x', [3, 3, 3, 3]);
    g.node('AddN', 'sum', ['conv', 'other'], { N: 2 });
    g.node('Add', 'end', ['sum', g.constant('bias', [3])]);
    return g;
  };

  test('is not the convolution’s where the sum cannot be lifted: the model ends before both', async () => {
    // Sign has no layer, so neither has the sum.
    await disposing(await both(residual('Sign', ['x']).artifacts()), (pair) => {
      expect(pair.lifted.outputs).toEqual(['conv']);
      expect(pair.lifted.products).toMatchObject([{ form: 'plain', constants: { kernel: 'conv/weights' } }]);
      expect(pair.lifted.report.nodes).toContainEqual(expect.objectContaining({ node: 'end', state: 'left' }));
      const x = inputsOf(pair.lifted);
      const [found, expected] = [liftedOutputs, graphOutputs].map((run) => numbersOf(() => run(pair, x)));
      expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
      tf.dispose(x);
    });
  });

  test.each(['conv', 'sum'])('is not the convolution’s where ‘%s’ is asked for by name', async (output) => {
    const options = { outputs: [output, 'end'] };
    await disposing(await both(residual('Tanh', ['x']).artifacts(), options), (pair) => {
      expect(pair.lifted.products).toMatchObject([{ form: 'plain' }]);
      const x = inputsOf(pair.lifted);
      const [found, expected] = [liftedOutputs, graphOutputs].map((run) => numbersOf(() => run(pair, x)));
      expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
      tf.dispose(x);
    });
  });

  test('nor where the sum is given from outside', async () => {
    const options = { inputs: { x: [null, 6, 5, 3], sum: [null, 6, 5, 3] }, outputs: ['conv', 'end'] };
    await disposing(await both(residual('Tanh', ['x']).artifacts(), options), (pair) => {
      const x = inputsOf(pair.lifted);
      const [found, expected] = [liftedOutputs, graphOutputs].map((run) => numbersOf(() => run(pair, x)));
      expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
      tf.dispose(x);
    });
  });
});

describe('sizes that are only known when pictures come', () => {
  /** The batch, height and width of x as ints, and a Reshape to [batch, pixels, 4] by them. */
  const graph = (shape: (number | null)[] | null, dtype: 'float32' | 'int32' | 'uint8' = 'float32') => {
    const g = new GraphBuilder(7, 'codes');
    g.placeholder('x', shape, dtype);
    if (dtype !== 'float32') g.node('Cast', 'cast', ['x'], { SrcT: { type: dtype }, DstT: { type: 'float32' } });
    g.node('Mul', 'scaled', [dtype === 'float32' ? 'x' : 'cast', g.constant('scale', [], [2 / 255])]);
    g.node('Sub', 'centred', ['scaled', g.constant('one', [], [1])]);
    g.conv('conv', 'centred', [3, 3, 3, 4], { strides: [1, 2, 2, 1] });
    g.node('BiasAdd', 'biased', ['conv', g.constant('bias', [4])]);
    g.node('Pad', 'padded', ['biased', g.ints('paddings', [0, 0, 1, 1, 1, 1, 0, 0], [4, 2])]);
    g.node('MirrorPad', 'mirrored', ['padded', g.ints('more', [0, 0, 1, 0, 0, 1, 0, 0], [4, 2])], { mode: 'REFLECT' });
    const bounds = [0, 1, 1].map((value, i) => g.ints(`bound_${i}`, [value]));
    g.node('StridedSlice', 'batch', [g.node('Shape', 'shape', ['mirrored']), ...bounds], { shrink_axis_mask: 1 });
    const to = g.node('Pack', 'to', ['batch', g.ints('rest', -1), g.ints('four', 4)], { axis: 0 });
    g.node('Reshape', 'pixels', ['mirrored', to]);
    g.node('Mean', 'mean', ['mirrored', g.ints('axes', [1, 2])], { keep_dims: true });
    g.node('Mul', 'gated', ['mirrored', g.node('Sigmoid', 'gate', ['mean'])]);
    return g.artifacts({ outputs: ['pixels', 'gated'] });
  };

  test.each([
    ['the sizes', [null, null, null, 3]],
    ['the rank: the kernel asks for its channels', null],
    ['the channels too', [null, null, null, null]],
    ['nothing but the batch', [null, 9, 8, 3]],
  ])('the graph leaves open %s', async (_what, shape) => {
    await disposing(await both(graph(shape)), (pair) => {
      const open = shape === null || shape[1] === null;
      expect(pair.lifted.model.inputs[0].shape).toEqual(open ? [null, null, null, 3] : [null, 9, 8, 3]);
      for (const [batch, size] of [
        [1, 7],
        [3, 12],
      ]) {
        const x = inputsOf(pair.lifted, 4, batch, size);
        const [found, expected] = [liftedOutputs, graphOutputs].map((run) => numbersOf(() => run(pair, x)));
        expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
        tf.dispose(x);
      }
    });
  });

  test.each(['int32', 'uint8'] as const)('%s pictures, as numbers and as tensors of that type', async (dtype) => {
    await disposing(await both(graph([1, null, null, 3], dtype)), (pair) => {
      expect(pair.lifted.model.inputs[0].shape).toEqual([null, null, null, 3]);
      const pixels = tf.randomUniform([1, 9, 8, 3], 0, 256, 'int32', 3);
      const expected = numbersOf(() => graphOutputs(pair, [pixels]));
      const limit = rounding(pair.lifted.model);
      for (const type of ['int32', 'float32'] as const) {
        const found = numbersOf(() => liftedOutputs(pair, [tf.cast(pixels, type)]));
        expect(largestDifference(found, expected)).toBeLessThan(limit);
      }
      pixels.dispose();
    });
  });
});
