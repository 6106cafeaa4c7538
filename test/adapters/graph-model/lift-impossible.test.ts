/** Graphs that are right, and cannot be lifted: which node, which op, why; and where the model ends then. */
import * as tf from '@tensorflow/tfjs-core';
import { liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { type Given, GraphBuilder, handlerOf, type NodeDef } from './graphs';
import { refusal } from './refused-graphs';

beforeAll(() => useBackend('cpu'));

const opOf = ({ modelTopology }: tf.io.ModelArtifacts) =>
  (modelTopology as { node: NodeDef[] }).node.find(({ name }) => name === 'node')?.op;

/** Behind a convolution that can be lifted: what has a layer in general, but not so. */
const IMPOSSIBLE: [string, (g: GraphBuilder) => string, string][] = [
  ['an op without a layer', (g) => g.node('Sign', 'node', ['relu']), 'there is no layer for Sign'],
  ['channels first', (g) => g.conv('node', 'relu', [3, 3, 4, 2], { data_format: 'NCHW' }), 'its data format is NCHW'],
  ['channels first in a BN', (g) => norm(g, { data_format: 'NCHW' }), 'its data format is NCHW'],
  [
    'a BN in training',
    (g) => norm(g, { is_training: true }),
    'it normalises by the statistics of the batch (is_training)',
  ],
  [
    'a BN whose mean is computed',
    (g) => {
      norm(g);
      g.nodes.at(-1)!.input[3] = 'relu';
      return 'node';
    },
    'its input 3 is not a constant',
  ],
  [
    'strides and dilations',
    (g) => g.conv('node', 'relu', [3, 3, 4, 2], { strides: [1, 2, 2, 1], dilations: [1, 2, 2, 1] }),
    'strides and dilations',
  ],
  [
    'strides of 0',
    (g) => g.conv('node', 'relu', [3, 3, 4, 2], { strides: [1, 0, 1, 1] }),
    'its strides are [0, 1], and two whole numbers from 1 are expected',
  ],
  [
    'pooling by strides of 0',
    (g) => g.node('MaxPool', 'node', ['relu'], { ksize: [1, 2, 2, 1], strides: [1, 2, 0, 1], padding: 'SAME' }),
    'its strides are [2, 0]',
  ],
  [
    'a dilated depthwise convolution',
    (g) => g.conv('node', 'relu', [3, 3, 4, 1], { op: 'DepthwiseConv2dNative', dilations: [1, 2, 2, 1] }),
    'ignores dilations',
  ],
  [
    'a grouped convolution',
    (g) => g.conv('node', 'relu', [3, 3, 2, 4]),
    'its kernel takes 2 channels of 4: grouped convolutions are not lifted',
  ],
  [
    'a padding that does not exist',
    (g) => g.conv('node', 'relu', [3, 3, 4, 2], { padding: 'FULL' }),
    "its padding 'FULL' is not known",
  ],
  [
    'a kernel that is computed',
    (g) => g.node('Conv2D', 'node', ['relu', 'relu'], { strides: [1, 1, 1, 1], padding: 'SAME' }),
    'its input 1 is not a constant',
  ],
  ['an unknown fused activation', (g) => fused(g, ['BiasAdd', 'Gelu']), "it has 'Gelu' fused into it"],
  ['a fused BN', (g) => fused(g, ['FusedBatchNorm']), "it has 'FusedBatchNorm' fused into it"],
  // tfjs-converter 4.22.0 would leave it out.
  ['a fused activation without a bias', (g) => fused(g, ['Relu']), "it has 'Relu' fused into it"],
  [
    'a fused bias with one value',
    (g) =>
      g.conv('node', 'relu', [3, 3, 4, 2], { op: '_FusedConv2D', fused_ops: ['BiasAdd'], num_args: 1 }, [
        g.constant('scalar', []),
      ]),
    'its bias is not a constant with one value a channel',
  ],
  [
    'a transposed convolution of another size',
    (g) =>
      g.node('Conv2DBackpropInput', 'node', [g.ints('size', [1, 11, 10, 2]), g.kernel('up', [3, 3, 2, 4]), 'relu'], {
        strides: [1, 2, 2, 1],
        padding: 'SAME',
      }),
    'its output is to have 11 positions along axis 1, and Keras makes 12 of 6',
  ],
  [
    'Prelu with slopes that do not fit',
    (g) => g.node('Prelu', 'node', ['relu', g.constant('alpha', [3])]),
    'its slopes [3] do not fit',
  ],
  [
    'a Reshape that mixes pictures',
    (g) => g.node('Reshape', 'node', ['relu', g.ints('to', [-1, 60])]),
    'does not keep the batch apart',
  ],
  ['a Reshape by what is computed', (g) => g.node('Reshape', 'node', ['relu', 'x']), 'cannot be told before it runs'],
  [
    'a Transpose of the batch',
    (g) => g.node('Transpose', 'node', ['relu', g.ints('perm', [3, 1, 2, 0])]),
    'it moves the batch',
  ],
  ['a Squeeze of what is not 1', (g) => g.node('Squeeze', 'node', ['relu'], { squeeze_dims: [3] }), 'it drops axis 3'],
  ['a Squeeze of the batch', (g) => g.node('Squeeze', 'node', ['relu'], { squeeze_dims: [0] }), 'it drops the batch'],
  [
    'an ExpandDims before the batch',
    (g) => g.node('ExpandDims', 'node', ['relu', g.ints('at', 0)]),
    'before the batch',
  ],
  ['a Mean over the batch', (g) => g.node('Mean', 'node', ['relu', g.ints('axes', [0, 1])]), 'it goes over the batch'],
  ['a Max over one axis', (g) => g.node('Max', 'node', ['relu', g.ints('axes', [1])]), 'only 1, 2 are lifted'],
  [
    'a Pad by other axes',
    (g) => g.node('Pad', 'node', ['relu', g.ints('by', [0, 0, 0, 0, 1, 1, 1, 1], [2, 4])]),
    'its paddings [2, 4] are not two for each of 4 axes',
  ],
  [
    'a Pad of the batch',
    (g) => g.node('Pad', 'node', ['relu', g.ints('by', [1, 0, 0, 0, 0, 0, 0, 0], [4, 2])]),
    'it pads the batch',
  ],
  [
    'a ConcatV2 along the batch',
    (g) => g.node('ConcatV2', 'node', ['relu', 'relu', g.ints('at', 0)], { N: 2 }),
    'along the batch',
  ],
  ['a Pack along the batch', (g) => g.node('Pack', 'node', ['relu', 'relu'], { axis: 0 }), 'it stacks along the batch'],
  [
    'a Split of the batch',
    (g) => g.node('Split', 'node', [g.ints('at', -4), 'relu'], { num_split: 2 }),
    'it splits the batch',
  ],
  ['a slice of the batch', (g) => slice(g, [0, 0], [1, 3], { end_mask: 2 }), 'it cuts the batch'],
  ['a slice that takes nothing of the batch', (g) => slice(g, [0, 0], [0, 3], { begin_mask: 1 }), 'it cuts the batch'],
  ['one picture of the batch', (g) => slice(g, [0], [1], { shrink_axis_mask: 1 }), 'it cuts the batch'],
  [
    'a slice with new axes',
    (g) => slice(g, [0, 0], [0, 3], { begin_mask: 1, end_mask: 1, new_axis_mask: 2 }),
    'new axes',
  ],
  [
    'a slice with an ellipsis',
    (g) => slice(g, [0, 0], [0, 3], { begin_mask: 1, end_mask: 1, ellipsis_mask: 1 }),
    'ellipsis',
  ],
  [
    'a constant with a batch',
    (g) => g.node('Maximum', 'node', ['relu', g.constant('c', [2, 6, 5, 4])]),
    'a batch of its own',
  ],
  [
    'a constant of a higher rank',
    (g) => g.node('Add', 'node', ['relu', g.constant('c', [1, 1, 1, 1, 1])]),
    'more axes than the tensor',
  ],
  [
    'tensors of different ranks',
    (g) => {
      g.node('Mean', 'mean', ['relu', g.ints('axes', [1, 2])]);
      return g.node('Mul', 'node', ['relu', 'mean']);
    },
    'which mixes the pictures of a batch',
  ],
  [
    'a Cast to whole numbers',
    (g) => g.node('Cast', 'node', ['relu'], { DstT: { type: 'int32' } }),
    'other numbers than float32',
  ],
  [
    'a resize to what is computed',
    (g) => g.node('ResizeBilinear', 'node', ['relu', 'x']),
    'cannot be told before it runs',
  ],
  [
    'pooling over channels',
    (g) => g.node('MaxPool', 'node', ['relu'], { ksize: [1, 1, 1, 2], strides: [1, 1, 1, 2], padding: 'SAME' }),
    'it pools over windows of [1,1,1,2]',
  ],
  ['a node without inputs', (g) => g.node('Relu', 'node', []), 'it has no input 0'],
  ['an Add with one input', (g) => g.node('Add', 'node', ['relu']), 'it has 1 inputs'],
  ['a ConcatV2 of nothing', (g) => g.node('ConcatV2', 'node', [g.ints('at', 1)], { N: 0 }), 'it joins nothing'],
  ['a Pack of nothing', (g) => g.node('Pack', 'node', [], { axis: 1, N: 0 }), 'it stacks nothing'],
];

function norm(g: GraphBuilder, attributes: Record<string, Given> = {}): string {
  // Not directly behind a product, whose tail it would be.
  return g.node('FusedBatchNormV3', 'node', ['relu', ...g.statistics('norm', 4)], {
    is_training: false,
    ...attributes,
  });
}

function fused(g: GraphBuilder, ops: string[]): string {
  const attributes = { op: '_FusedConv2D', fused_ops: ops, num_args: 1 };
  return g.conv('node', 'relu', [3, 3, 4, 2], attributes, [g.constant('more', [2])]);
}

function slice(g: GraphBuilder, begin: number[], end: number[], attributes: Record<string, Given>): string {
  const strides = begin.map(() => 1);
  const inputs = [g.ints('begin', begin), g.ints('end', end), g.ints('strides', strides)];
  return g.node('StridedSlice', 'node', ['relu', ...inputs], attributes);
}

describe.each(IMPOSSIBLE)('%s', (_what, build, reason) => {
  const make = () => {
    const g = new GraphBuilder(22);
    g.placeholder('x', [null, 6, 5, 3]);
    g.conv('conv', 'x', [3, 3, 3, 4]);
    g.node('Relu', 'relu', ['conv']);
    return g.artifacts({ outputs: [build(g)] });
  };

  test('is refused with node, op and reason, where it is asked for', async () => {
    for (const options of [{ onUnsupported: 'error' }, { outputs: ['node'] }]) {
      const error = await refusal(make(), options);
      const op = opOf(make());
      expect(error.message).toContain(`The graph's 'node' cannot be lifted: node 'node' (${op}): `);
      expect(error.message).toContain(reason);
      expect(error.code).toBe('unsupported');
    }
  });

  test('by default the model ends before it', async () => {
    const before = tf.memory().numTensors;
    const { model, outputs, report } = await liftGraphModel(handlerOf(make()));
    expect(outputs).toContain('relu');
    expect(outputs).not.toContain('node');
    const left = report.nodes.find(({ node }) => node === 'node');
    expect(left).toMatchObject({ state: 'left', layers: [], reason: expect.stringContaining(reason) });
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
