/** Graphs that are broken, and what is no graph: what is said, and that nothing is left over. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { TuneModeErrorCode } from 'tfjs-tune-mode';
import { liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { savedArtifacts } from '../../helpers/models';
import { GraphBuilder, handlerOf, type NodeDef } from './graphs';
import { refusal } from './refused-graphs';

beforeAll(() => useBackend('cpu'));

/** x → conv + bias → Relu → MatMul. */
function plainGraph(): GraphBuilder {
  const g = new GraphBuilder(21);
  g.placeholder('x', [null, 6, 5, 3]);
  g.conv('conv', 'x', [3, 3, 3, 4]);
  g.node('BiasAdd', 'biased', ['conv', g.constant('bias', [4])]);
  g.node('Relu', 'relu', ['biased']);
  g.node('Reshape', 'flat', ['relu', g.ints('shape', [-1, 120])]);
  g.node('MatMul', 'logits', ['flat', g.kernel('kernel', [120, 2])]);
  return g;
}

type Artifacts = tf.io.ModelArtifacts;
const nodeOf = (artifacts: Artifacts, name: string) =>
  (artifacts.modelTopology as { node: NodeDef[] }).node.find((node) => node.name === name) as NodeDef;
const bytesOf = (artifacts: Artifacts) => artifacts.weightData as ArrayBuffer;

/** What is changed in the graph above, and what is said then. */
const BROKEN: [string, (artifacts: Artifacts) => unknown, TuneModeErrorCode, string | RegExp][] = [
  [
    'a missing node',
    (a) => {
      nodeOf(a, 'relu').input = ['gone'];
    },
    'invalid-model-file',
    "node 'relu' (Relu) takes 'gone', which is missing",
  ],
  [
    'a cycle',
    (a) => {
      nodeOf(a, 'biased').input = ['relu', 'bias'];
    },
    'invalid-model-file',
    /node '(relu|biased)' \((Relu|BiasAdd)\) takes its own output/,
  ],
  [
    'a node that takes itself',
    (a) => {
      nodeOf(a, 'relu').input = ['relu'];
    },
    'invalid-model-file',
    "node 'relu' (Relu) takes its own output",
  ],
  [
    'two nodes of one name',
    (a) => {
      nodeOf(a, 'flat').name = 'relu';
    },
    'invalid-model-file',
    "two nodes 'relu'",
  ],
  [
    'a node without a name',
    (a) => {
      nodeOf(a, 'flat').name = '';
    },
    'invalid-model-file',
    'a node has no name or no op',
  ],
  [
    'a node without an op',
    (a) => {
      nodeOf(a, 'flat').op = undefined as never;
    },
    'invalid-model-file',
    'a node has no name or no op: {"name":"flat"}',
  ],
  [
    'a node that is null',
    (a) => {
      (a.modelTopology as { node: unknown[] }).node.push(null);
    },
    'invalid-model-file',
    'a node has no name or no op',
  ],
  [
    'inputs that are no names',
    (a) => {
      nodeOf(a, 'relu').input = [3] as never;
    },
    'invalid-model-file',
    "the inputs of node 'relu' are no list of names",
  ],
  [
    'a constant without a value',
    (a) => {
      const specs = a.weightSpecs as tf.io.WeightsManifestEntry[];
      specs.find(({ name }) => name === 'bias')!.name = 'other';
    },
    'invalid-model-file',
    "the constant 'bias' has no value",
  ],
  [
    'weights that are cut off',
    (a) => ({ ...a, weightData: bytesOf(a).slice(0, -4) }),
    'invalid-model-file',
    /the weights need \d+ bytes, but \d+ were found: a weight file is missing or cut off/,
  ],
  ['no weights at all', (a) => ({ ...a, weightData: undefined }), 'invalid-model-file', 'but 0 were found'],
  [
    'a shard that is missing',
    (a) => ({ ...a, weightData: [bytesOf(a).slice(0, 100)] }),
    'invalid-model-file',
    'but 100 were found: a weight file is missing',
  ],
  [
    'a file too many',
    (a) => ({ ...a, weightData: [bytesOf(a), new ArrayBuffer(8)] }),
    'invalid-model-file',
    'a weight file is too long',
  ],
  [
    'a weight of an unknown type',
    (a) => {
      (a.weightSpecs as { dtype: string }[])[0].dtype = 'float99';
    },
    'invalid-model-file',
    'unknown dtype "float99"',
  ],
  [
    'a weight without a shape',
    (a) => {
      (a.weightSpecs as { shape: unknown }[])[0].shape = [3, -1];
    },
    'invalid-model-file',
    "weight 'conv/weights': 'shape' must be a list of sizes, found [3,-1]",
  ],
  [
    'quantised weights without their scale',
    (a) => {
      const [spec] = a.weightSpecs as tf.io.WeightsManifestEntry[];
      spec.quantization = { dtype: 'uint8' } as never;
    },
    'invalid-model-file',
    "weight 'conv/weights': its uint8 quantization needs the numbers 'min' and 'scale'",
  ],
  [
    'an attribute that is no base64',
    (a) => {
      nodeOf(a, 'conv').attr.padding = { s: '§§' };
    },
    'invalid-model-file',
    "attribute 'padding' of node 'conv' (Conv2D) is no base64: \"§§\"",
  ],
  [
    'a list that is none',
    (a) => {
      nodeOf(a, 'conv').attr.strides = { list: { i: 1 } };
    },
    'invalid-model-file',
    'attribute \'strides\' is {"list":{"i":1}}: that is not the attribute of node \'conv\' (Conv2D)',
  ],
  [
    'attributes that are none',
    (a) => {
      nodeOf(a, 'conv').attr = 'SAME' as never;
    },
    'invalid-model-file',
    "the attributes are no object of node 'conv' (Conv2D)",
  ],
  [
    'a kernel for other channels',
    (a) => {
      (a.weightSpecs as { shape: number[] }[])[0].shape = [3, 3, 4, 3];
    },
    'unsupported',
    "node 'conv' (Conv2D): its kernel takes 4 channels of 3",
  ],
  [
    'a kernel of rank 3',
    (a) => {
      (a.weightSpecs as { shape: number[] }[])[0].shape = [3, 3, 12];
    },
    'unsupported',
    "node 'conv' (Conv2D): it takes a tensor of rank 3, and only 4 is lifted",
  ],
  [
    'a MatMul of other sizes',
    (a) => {
      (a.weightSpecs as { name: string; shape: number[] }[]).find(({ name }) => name === 'kernel')!.shape = [60, 4];
    },
    'invalid-model-file',
    "node 'logits' (MatMul)",
  ],
  [
    'a window without strides',
    (a) => {
      nodeOf(a, 'relu').op = 'MaxPool';
    },
    'unsupported',
    "node 'relu' (MaxPool)",
  ],
  ['no topology', (a) => ({ ...a, modelTopology: undefined }), 'invalid-model-file', "has no 'modelTopology'"],
  ['a topology without nodes', (a) => ({ ...a, modelTopology: {} }), 'invalid-model-file', 'no list of nodes'],
  ['no artifacts', () => null, 'invalid-model-file', "has no 'modelTopology'"],
  [
    'no node at all',
    (a) => ({ ...a, modelTopology: { node: [] } }),
    'unsupported',
    'no convolution and no MatMul with a constant kernel',
  ],
];

test.each(BROKEN)('%s', async (_what, change, code, message) => {
  const artifacts = structuredClone(plainGraph().artifacts({ outputs: ['logits'] }));
  const changed = change(artifacts);
  const error = await refusal(changed === undefined ? artifacts : changed, { onUnsupported: 'error' });
  expect(error.message).toMatch(message);
  expect(error.code).toBe(code);
});

test('strings among the weights that are cut off', async () => {
  const g = plainGraph();
  g.strings('labels', ['cat', 'dog']);
  const artifacts = g.artifacts();
  await expect(refusal({ ...artifacts, weightData: bytesOf(artifacts).slice(0, -5) })).resolves.toMatchObject({
    code: 'invalid-model-file',
    message: expect.stringContaining('a weight file is cut off'),
  });
});

describe('not a GraphModel', () => {
  const small = () => tfl.sequential({ layers: [tfl.layers.dense({ units: 2, inputShape: [3] })] });

  test.each([
    ['nothing', undefined, 'not-a-graph-model', 'found undefined'],
    ['null', null, 'not-a-graph-model', 'found null'],
    ['a number', 7, 'not-a-graph-model', 'found number'],
    ['a path', './model/model.json', 'invalid-option', "nothing can load './model/model.json'"],
  ])('%s', async (_what, source, code, message) => {
    const error = await liftGraphModel(source as never).catch((thrown) => thrown);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test('a layers model, and one that is saved', async () => {
    const model = small();
    const saved = await savedArtifacts(model);
    await expect(liftGraphModel(model as never)).rejects.toMatchObject({ code: 'not-a-graph-model' });
    expect(await refusal(saved)).toMatchObject({
      code: 'not-a-graph-model',
      message: expect.stringContaining('this is a layers model already'),
    });
    model.dispose();
  });

  test('a GraphModel that is not loaded, or disposed', async () => {
    const { GraphModel: Class, loadGraphModel } = await import('@tensorflow/tfjs-converter');
    const fresh = new Class(handlerOf(plainGraph().artifacts())) as unknown as GraphModel;
    await expect(liftGraphModel(fresh)).rejects.toMatchObject({ code: 'not-a-graph-model' });
    const loaded = await loadGraphModel(handlerOf(plainGraph().artifacts()));
    loaded.dispose();
    await expect(liftGraphModel(loaded)).rejects.toMatchObject({
      code: 'model-disposed',
      message: expect.stringContaining('Load it anew'),
    });
  });

  test('what an IOHandler throws comes through', async () => {
    const source = { load: () => Promise.reject(new Error('no such file')) };
    await expect(liftGraphModel(source)).rejects.toThrow('no such file');
  });
});
