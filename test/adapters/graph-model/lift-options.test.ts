/** Which part of a graph is lifted: by default, and by the names of tensors. */
import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from 'tfjs-tune-mode';
import { type LiftOptions, liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { largestDifference, rounding } from '../../helpers/models';
import { type Both, both, disposing, graphOutputs, inputsOf, liftedOutputs, numbersOf } from './compare-graphs';
import { GraphBuilder, handlerOf } from './graphs';

beforeAll(() => useBackend('cpu'));

/** x → Sign → conv1 → relu → Sign → conv2 → (logits; Sign): `Sign` has no layer. */
function interrupted(): GraphBuilder {
  const g = new GraphBuilder(11);
  g.placeholder('x', [null, 6, 5, 3]);
  g.node('Sign', 'before', ['x']);
  g.conv('conv1', 'before', [3, 3, 3, 4]);
  g.node('Relu', 'relu', [g.node('BiasAdd', 'biased', ['conv1', g.constant('bias', [4])])]);
  g.node('Sign', 'between', ['relu']);
  g.conv('conv2', 'between', [1, 1, 4, 2]);
  g.node('Sigmoid', 'scores', ['conv2']);
  g.node('Sign', 'after', ['scores']);
  return g;
}

/** Two inputs, two branches of convolutions, and their sum. */
function branches(): GraphBuilder {
  const g = new GraphBuilder(12);
  g.placeholder('a', [null, 6, 5, 3]);
  g.placeholder('b', [null, 6, 5, 3]);
  g.conv('left', 'a', [3, 3, 3, 4]);
  g.conv('right', 'b', [1, 1, 3, 4]);
  g.node('AddV2', 'sum', [g.node('Tanh', 'tanh', ['left']), 'right']);
  g.node('Split', 'split', [g.ints('axis', 3), 'sum'], { num_split: 2 });
  g.node('Relu', 'relu', ['split:1']);
  return g;
}

function checkEqual(pair: Both): void {
  const x = inputsOf(pair.lifted);
  const [found, expected] = [liftedOutputs, graphOutputs].map((run) => numbersOf(() => run(pair, x)));
  expect(largestDifference(found, expected)).toBeLessThan(rounding(pair.lifted.model));
  tf.dispose(x);
}

const statesOf = ({ lifted }: Both) => Object.fromEntries(lifted.report.nodes.map(({ node, state }) => [node, state]));

const CASES: { what: string; graph: GraphBuilder; options: LiftOptions; inputs: string[]; outputs: string[] }[] = [
  {
    what: 'from the last thing without a layer before a kernel to the first one behind it',
    graph: interrupted(),
    options: { inputs: { before: [null, 6, 5, 3] } },
    inputs: ['before'],
    outputs: ['relu'],
  },
  {
    what: 'a part behind all that, from a tensor in between',
    graph: interrupted(),
    options: { inputs: { between: [null, 6, 5, 4] } },
    inputs: ['between'],
    outputs: ['scores'],
  },
  {
    what: 'two parts at once',
    graph: interrupted(),
    options: { inputs: { before: [null, 6, 5, 3], between: [null, 6, 5, 4] } },
    inputs: ['before', 'between'],
    outputs: ['relu', 'scores'],
  },
  {
    what: 'an output before the end, at a node that a layer would have taken in',
    graph: interrupted(),
    options: { inputs: { before: [null, 6, 5, 3] }, outputs: ['conv1', 'biased'] },
    inputs: ['before'],
    outputs: ['conv1', 'biased'],
  },
  { what: 'all placeholders', graph: branches(), options: {}, inputs: ['a', 'b'], outputs: ['relu'] },
  {
    what: 'only the placeholder that the output needs',
    graph: branches(),
    options: { outputs: ['tanh'] },
    inputs: ['a'],
    outputs: ['tanh'],
  },
  {
    what: 'inputs in the order that was asked for',
    graph: branches(),
    options: { inputs: ['b', 'a'], outputs: ['sum'] },
    inputs: ['b', 'a'],
    outputs: ['sum'],
  },
  {
    what: 'the second output of a node, by its number',
    graph: branches(),
    options: { outputs: ['split:1'] },
    inputs: ['a', 'b'],
    outputs: ['split:1'],
  },
];

test.each(CASES)('$what', async ({ graph, options, inputs, outputs }) => {
  await disposing(await both(graph.artifacts(), options), (pair) => {
    expect(pair.lifted.inputs).toEqual(inputs);
    expect(pair.lifted.outputs).toEqual(outputs);
    checkEqual(pair);
  });
});

test('the report says of each node what became of it', async () => {
  const options = { inputs: { before: [null, 6, 5, 3] } };
  await disposing(await both(interrupted().artifacts(), options), (pair) => {
    const reasonOf = (name: string) => pair.lifted.report.nodes.find(({ node }) => node === name)?.reason;
    expect(statesOf(pair)).toMatchObject({
      x: 'left',
      before: 'left',
      conv1: 'lifted',
      'conv1/weights': 'constant',
      biased: 'lifted',
      relu: 'lifted',
      between: 'left',
      conv2: 'left',
      after: 'left',
    });
    expect(reasonOf('between')).toBe('there is no layer for Sign');
    expect(reasonOf('conv2')).toMatch("its input 'between' is not a part of the model");
    expect(pair.lifted.report.nodes.find(({ node }) => node === 'biased')?.layers).toEqual(['conv1']);
    const text = pair.lifted.report.toString();
    expect(text).toMatch(/^lifted \d+ of \d+ nodes/);
    expect(text).toMatch(/Sign +3 +the model begins with what it gives/);
  });
});

test('what no output needs is left to the graph, though it could be lifted', async () => {
  await disposing(await both(branches().artifacts(), { outputs: ['tanh'] }), (pair) => {
    expect(statesOf(pair)).toMatchObject({ left: 'lifted', tanh: 'lifted', right: 'left', sum: 'left', b: 'left' });
    expect(pair.lifted.products.map(({ node }) => node)).toEqual(['left']);
    expect(pair.lifted.model.layers).toHaveLength(3);
  });
});

const REFUSED: { what: string; graph: GraphBuilder; options: unknown; code: string; message: string | RegExp }[] = [
  {
    what: 'onUnsupported: error, where the graph ends with something that has no layer',
    graph: interrupted(),
    options: { onUnsupported: 'error', inputs: { between: [null, 6, 5, 4] } },
    code: 'unsupported',
    message: "'after' cannot be lifted: node 'after' (Sign): there is no layer for Sign",
  },
  {
    what: 'an output behind something that has no layer',
    graph: interrupted(),
    options: { inputs: { before: [null, 6, 5, 3] }, outputs: ['scores'] },
    code: 'unsupported',
    message: "'scores' cannot be lifted: node 'between' (Sign): there is no layer for Sign",
  },
  {
    what: 'an output before the inputs',
    graph: interrupted(),
    options: { inputs: { between: [null, 6, 5, 4] }, outputs: ['conv1'] },
    code: 'unsupported',
    message:
      "'conv1' cannot be lifted: node 'x' (Placeholder): it is an input of the graph, and the model begins elsewhere",
  },
  {
    what: 'an output that is a constant',
    graph: branches(),
    options: { outputs: ['left/weights'] },
    code: 'unsupported',
    message: "'left/weights' cannot be lifted: node 'left/weights' (Const): it is a constant",
  },
  {
    what: 'an output that the node does not have',
    graph: branches(),
    options: { outputs: ['split:2'] },
    code: 'unsupported',
    message: "'split:2' cannot be lifted: node 'split' (Split): it has 2 outputs, and none with the number 2",
  },
  {
    what: 'an unknown output',
    graph: branches(),
    options: { outputs: ['Relu'] },
    code: 'invalid-option',
    message: "'outputs' names 'Relu', and no node is called that",
  },
  {
    what: 'an unknown input',
    graph: branches(),
    options: { inputs: ['c'] },
    code: 'invalid-option',
    message: "'inputs' names 'c', and no node is called that",
  },
  {
    what: 'an input that no output depends on',
    graph: branches(),
    options: { inputs: ['a', 'b'], outputs: ['tanh'] },
    code: 'invalid-option',
    message: "'inputs' names 'b'",
  },
  {
    what: 'an input of which the graph does not say the shape',
    graph: interrupted(),
    options: { inputs: ['relu'] },
    code: 'invalid-option',
    message:
      "of the shape of 'relu', where the model is to begin, the graph says nothing. Give it: inputs: { 'relu': [",
  },
  {
    what: 'an input with other channels',
    graph: branches(),
    options: { inputs: { a: [null, 6, 5, 2], b: [null, 6, 5, 3] } },
    code: 'invalid-option',
    message:
      "'inputs' names 'a', and no output ('right') depends on it: 'left' (Conv2D) is not lifted, its kernel takes 3",
  },
  {
    what: 'an unknown option',
    graph: branches(),
    options: { output: ['sum'] },
    code: 'invalid-option',
    message: "unknown option 'output'",
  },
  { what: 'options that are no object', graph: branches(), options: 5, code: 'invalid-option', message: '' },
  {
    what: 'the same output twice',
    graph: branches(),
    options: { outputs: ['sum', 'sum'] },
    code: 'invalid-option',
    message: 'different names',
  },
  {
    what: 'outputs that are no list',
    graph: branches(),
    options: { outputs: 'sum' },
    code: 'invalid-option',
    message: 'found "sum"',
  },
  { what: 'no outputs', graph: branches(), options: { outputs: [] }, code: 'invalid-option', message: 'at least one' },
  { what: 'no inputs', graph: branches(), options: { inputs: [] }, code: 'invalid-option', message: 'at least one' },
  {
    what: 'inputs that are no names',
    graph: branches(),
    options: { inputs: [3] },
    code: 'invalid-option',
    message: 'found [3]',
  },
  {
    what: 'a shape that is none',
    graph: branches(),
    options: { inputs: { a: [null, -2, 5] } },
    code: 'invalid-option',
    message: 'names and shapes',
  },
  {
    what: 'onUnsupported that is no choice',
    graph: branches(),
    options: { onUnsupported: 'skip' },
    code: 'invalid-option',
    message: "must be 'cut' or 'error', found \"skip\"",
  },
];

test.each(REFUSED)('refused: $what', async ({ graph, options, code, message }) => {
  const before = tf.memory().numTensors;
  const error = await liftGraphModel(handlerOf(graph.artifacts()), options as LiftOptions).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(TuneModeError);
  expect(error.message).toMatch(message);
  expect(error.code).toBe(code);
  expect(tf.memory().numTensors).toBe(before);
});
