/** Data and models that cannot be trained on are refused, and nothing has changed. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { type FineTuneData, type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import { blocks, disposeLayers, disposeToy, gap, line, net, oneHot, refusal, type Toy, tinyNet, toy } from './toy';

const GIVEN: FineTuneOptions = { epochs: 2, batchSize: 4, learningRate: 0.05, patience: 9, seed: 1 };
const SMALL = { train: 8, val: 4, size: 8 };
describe('invalid data', () => {
  beforeAll(() => useBackend('wasm'));

  const xsOf = (count: number, channels = 3) =>
    tf.randomUniform([count, 8, 8, channels], -1, 1, 'float32', 1) as tf.Tensor4D;
  const good = () => ({ xs: xsOf(4), ys: oneHot([0, 1, 0, 1], 2) });
  const two = ['a', 'b'];
  const nan = (set: Toy['train']) => ({ ...set, xs: tf.fill(set.xs.shape, Number.NaN) as tf.Tensor4D });

  const INVALID: [string, () => FineTuneData, code: string, RegExp][] = [
    [
      'one class',
      () => ({ classNames: ['a'], train: { xs: xsOf(2), ys: tf.ones([2, 1]) as tf.Tensor2D }, val: good() }),
      'invalid-data',
      /at least two classes.*"a"/,
    ],
    ['no classes', () => ({ classNames: [], train: good(), val: good() }), 'invalid-data', /at least two classes/],
    [
      'class names that are none',
      () => ({ classNames: 'ab' as never, train: good(), val: good() }),
      'invalid-data',
      /at least two classes/,
    ],
    [
      'labels of 3 classes for 2 names',
      () => ({ classNames: two, train: { xs: xsOf(2), ys: oneHot([0, 2], 3) }, val: good() }),
      'invalid-data',
      /'train'.*\[2, 2\].*\[2, 3\]/,
    ],
    [
      'labels of val of 3 classes',
      () => ({ classNames: two, train: good(), val: { xs: xsOf(2), ys: oneHot([0, 2], 3) } }),
      'invalid-data',
      /'val'.*\[2, 2\].*\[2, 3\]/,
    ],
    [
      'labels that are indices',
      () => ({ classNames: two, train: { xs: xsOf(2), ys: tf.tensor1d([0, 1]) as never }, val: good() }),
      'invalid-data',
      /'train'.*one-hot/,
    ],
    [
      'no training pictures',
      () => ({ classNames: two, train: { xs: tf.zeros([0, 8, 8, 3]), ys: tf.zeros([0, 2]) }, val: good() }),
      'invalid-data',
      /no pictures in 'train'/,
    ],
    [
      'no validation pictures',
      () => ({ classNames: two, train: good(), val: { xs: tf.zeros([0, 8, 8, 3]), ys: tf.zeros([0, 2]) } }),
      'invalid-data',
      /no pictures in 'val'/,
    ],
    [
      'a class without training pictures',
      () => ({
        classNames: ['a', 'b', 'c'],
        train: { xs: xsOf(3), ys: oneHot([0, 2, 0], 3) },
        val: { xs: xsOf(3), ys: oneHot([0, 1, 2], 3) },
      }),
      'invalid-data',
      /no readable picture of 'b'/,
    ],
    [
      'grey pictures',
      () => ({
        classNames: two,
        train: { xs: xsOf(2, 1), ys: oneHot([0, 1], 2) },
        val: { xs: xsOf(2, 1), ys: oneHot([0, 1], 2) },
      }),
      'unsupported',
      /3 channel/,
    ],
    [
      'fewer labels than pictures',
      () => ({ classNames: two, train: { xs: xsOf(9), ys: oneHot([0, 1, 0, 1, 0, 1], 2) }, val: good() }),
      'invalid-data',
      /'train'/,
    ],
    [
      'more labels than pictures',
      () => ({ classNames: two, train: { xs: xsOf(4), ys: oneHot([0, 1, 0, 1, 0, 1], 2) }, val: good() }),
      'invalid-data',
      /'train'/,
    ],
    [
      'validation pictures of another size',
      () => ({ classNames: two, train: good(), val: { xs: tf.zeros([4, 9, 9, 3]), ys: oneHot([0, 1, 0, 1], 2) } }),
      'invalid-data',
      /'val'/,
    ],
    ['no val at all', () => ({ classNames: two, train: good() }) as never, 'invalid-data', /'val'/],
  ];

  test.each(INVALID)('%s', async (_name, build, code, message) => {
    const source = tinyNet();
    const before = weightValues(source);
    const data = build();
    const error = await refusal(fineTune(source, data, GIVEN));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(weightValues(source)).toEqual(before);
    disposeLayers(source);
    for (const set of [data.train, data.val] as (Toy['train'] | undefined)[])
      tf.dispose([set?.xs, set?.ys] as tf.Tensor[]);
  });

  // Not on wasm, whose ReLU6 gives a number for NaN: such pictures look like others there.
  test.each(['train', 'val'] as const)('pictures of %s that are no numbers, on the cpu backend', async (name) => {
    await useBackend('cpu');
    const [source, data] = [tinyNet(), toy(SMALL)];
    const before = weightValues(source);
    const set = nan(data[name]);
    const error = await refusal(fineTune(source, { ...data, [name]: set }, GIVEN));
    expect(error.code).toBe('invalid-data');
    expect(error.message).toContain('no finite numbers');
    expect(weightValues(source)).toEqual(before);
    set.xs.dispose();
    disposeLayers(source);
    disposeToy(data);
    await useBackend('wasm');
  });

  test('several inputs or outputs', async () => {
    const data = toy(SMALL);
    const inputs = ['a', 'b'].map((name) => tfl.input({ shape: [8, 8, 3], name }));
    const sum = tfl.layers.add({}).apply(inputs) as tfl.SymbolicTensor;
    const out = gap().apply(sum) as tfl.SymbolicTensor;
    for (const model of [
      tfl.model({ inputs, outputs: out }),
      tfl.model({ inputs: inputs[0], outputs: [inputs[0], gap('p').apply(inputs[0]) as tfl.SymbolicTensor] }),
    ]) {
      const error = await refusal(fineTune(model, data, GIVEN));
      expect(error.code).toBe('unsupported');
      expect(error.message).toContain(`has ${model.inputs.length} and ${model.outputs.length}`);
    }
    disposeToy(data);
  });

  test.each([
    ['a head of 5 classes that is to be kept', { keepHead: true }, 'unsupported', /\[batch, 5\].*2 classes/],
    ['a layer to unfreeze that is none', { unfreeze: 'conv9' }, 'invalid-option', /no layer 'conv9'/],
    ['more blocks to unfreeze than there are', { unfreeze: 4 }, 'invalid-option', /3 ConvBN blocks/],
  ] as [string, FineTuneOptions, string, RegExp][])('%s', async (_name, options, code, message) => {
    const [source, data] = [net(), toy({ ...SMALL, size: 16 })];
    const before = weightValues(source);
    const error = await refusal(fineTune(source, data, { ...GIVEN, ...options }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(weightValues(source)).toEqual(before);
    disposeLayers(source);
    disposeToy(data);
  });

  test('a head that gives no probabilities is not kept, one with a sigmoid is', async () => {
    const data = toy(SMALL);
    for (const activation of ['linear', 'sigmoid'] as const) {
      const dense = tfl.layers.dense({ units: 2, activation });
      const source = line([8, 8, 3], [...blocks().slice(0, 3), gap(), dense], 1, activation);
      // Far from 0 for logits; a sigmoid would be saturated there, and train nothing.
      const bias = activation === 'linear' ? 7 : 0.1;
      dense.setWeights([tf.randomNormal([8, 2], 0, 0.3, 'float32', 1), tf.tensor1d([-bias, bias])]);
      const before = weightValues(source);
      const running = fineTune(source, data, { ...GIVEN, keepHead: true });
      if (activation === 'linear') {
        const error = await refusal(running);
        expect(error.code).toBe('unsupported');
        expect(error.message).toMatch(/for a class; expected probabilities.*keepHead/);
        expect(weightValues(source)).toEqual(before);
      } else {
        const { ending, history } = await running;
        expect(ending).toBe('finished');
        expect(history.map(({ valLoss }) => Number.isFinite(valLoss))).toEqual([true, true, true]);
        expect(history[2].valLoss).not.toBe(history[0].valLoss);
      }
      disposeLayers(source);
    }
    disposeToy(data);
  });
});
