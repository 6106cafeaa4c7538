/** After an error everything is as it was: weights bit-identical, no tensor more, the user's data alive. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { registerWasmTrainingKernels } from '../../adapters/wasm/register';
import {
  type BatchSource,
  type FineTuneData,
  type FineTuneOptions,
  fineTune,
  type Progress,
} from '../../src/fine-tune';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { useBackend } from '../helpers/backends';
import { weightValues } from '../helpers/models';
import {
  bn,
  conv,
  disposeLayers,
  disposeToy,
  gap,
  line,
  memoryIO,
  net,
  oneHot,
  refusal,
  relu,
  type Toy,
  tinyNet,
  toy,
} from './toy';

const GIVEN: FineTuneOptions = { epochs: 2, batchSize: 4, learningRate: 0.05, patience: 9, seed: 1 };
const SMALL = { train: 8, val: 4, size: 8 };
const oops = new Error('oops');

const throwingAt = (phase: Progress['phase'], epoch: number) => ({
  onProgress: (progress: Progress) => {
    if (progress.phase === phase && progress.epoch === epoch) throw oops;
  },
});
const endingAt = (last: number): FineTuneOptions => ({
  onEpochEnd: async ({ epoch }) => {
    if (epoch === last) throw oops;
  },
});
const failingSave = (from: number) => {
  const io = memoryIO();
  const save = async (artifacts: tf.io.ModelArtifacts) => {
    if (io.saved.length >= from) throw oops;
    return io.save(artifacts);
  };
  return { checkpoint: { ...io, save } };
};
/** A source that fails in the middle of the pass of that epoch. */
function breaking(set: Toy['train'], epoch: number): BatchSource {
  const pictures = fromTensors(set, 4, 1, [-1, 1]);
  return {
    size: pictures.size,
    async *batches(pass) {
      let count = 0;
      for await (const batch of pictures.batches(pass)) {
        if (pass.epoch === epoch && pass.shuffle && count++ > 0) {
          tf.dispose([batch.xs, batch.ys]);
          throw oops;
        }
        yield batch;
      }
    },
  };
}

type Change = (data: Toy) => FineTuneData;
const same: Change = (data) => data;

const ROWS: [string, () => FineTuneOptions, Change][] = [
  ['onProgress throws in features', () => throwingAt('features', 0), same],
  ['onProgress throws in the first validation', () => throwingAt('validate', 0), same],
  ['onProgress throws in the first epoch', () => throwingAt('train', 1), same],
  ['onProgress throws in the last epoch', () => throwingAt('train', 2), same],
  ['onProgress throws in the last validation', () => throwingAt('validate', 2), same],
  ['onEpochEnd throws after the head', () => endingAt(0), same],
  ['onEpochEnd throws after the last epoch', () => endingAt(2), same],
  ['the first checkpoint cannot be saved', () => failingSave(0), same],
  ['the second checkpoint cannot be saved', () => failingSave(1), same],
  ['the last checkpoint cannot be saved', () => failingSave(2), same],
  ['a picture cannot be read in the first pass', () => ({}), (data) => ({ ...data, train: breaking(data.train, 0) })],
  ['a picture cannot be read in the second epoch', () => ({}), (data) => ({ ...data, train: breaking(data.train, 1) })],
];

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  async function fails(options: FineTuneOptions, change = same) {
    const [source, data] = [tinyNet(), toy(SMALL)];
    const before = weightValues(source);
    const tensors = tf.memory().numTensors;
    const error = await fineTune(source, change(data), { ...GIVEN, ...options }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const left = tf.memory().numTensors - tensors;
    expect(weightValues(source)).toEqual(before);
    for (const { xs, ys } of [data.train, data.val]) expect(xs.isDisposed || ys.isDisposed).toBe(false);
    disposeLayers(source);
    disposeToy(data);
    return { error, left };
  }

  test.each(ROWS)('%s: the very error, the weights as before, and no tensor more', async (_name, options, change) => {
    const { error, left } = await fails({ ...options(), keepHead: true }, change);
    expect(error).toBe(oops);
    expect(left).toBe(0);
  });

  test.each([...ROWS, ['onProgress throws in the head', () => throwingAt('head', 0), same] as (typeof ROWS)[0]])(
    'with a new head, %s: the very error, the weights as before',
    async (_name, options, change) => {
      expect((await fails(options(), change)).error).toBe(oops);
    },
  );

  // FAILS AT PRESENT: the head's kernel and bias stay, and nobody has them.
  test('the new head of a failed run is disposed', async () => {
    expect((await fails(throwingAt('train', 1))).left).toBe(0);
  });

  // FAILS AT PRESENT: the weights are put back while layers are frozen, which makes a list of them in another order.
  test.each([1, 0, 'n3'])('with unfreeze %p: the very error, the weights as before', async (unfreeze) => {
    const { error, left } = await fails({ ...throwingAt('train', 2), unfreeze, keepHead: true });
    expect(error).toBe(oops);
    expect(left).toBe(0);
  });

  test('in train mode the moving statistics come back, too', async () => {
    expect((await fails({ ...throwingAt('train', 2), mode: 'train', keepHead: true })).error).toBe(oops);
  });

  test('flags and dropout are given back after an error', async () => {
    const source = line(
      [8, 8, 3],
      [
        conv('c1', 4),
        bn('n1'),
        relu('r1'),
        gap(),
        tfl.layers.dropout({ rate: 0.5, name: 'd' }),
        tfl.layers.dense({ units: 2, activation: 'softmax', name: 'old' }),
      ],
    );
    const data = toy(SMALL);
    await expect(
      fineTune(source, data, { ...GIVEN, ...throwingAt('train', 1), unfreeze: 'old', keepHead: true }),
    ).rejects.toBeDefined();
    for (const { name, trainable } of source.layers.slice(1)) expect([name, trainable]).toEqual([name, true]);
    expect(Object.hasOwn(source.getLayer('d'), 'call')).toBe(false);
    disposeLayers(source);
    disposeToy(data);
  });

  test('a failed run can be followed by one that works, as if nothing had been', async () => {
    const [source, other, data] = [tinyNet(), tinyNet(), toy(SMALL)];
    await expect(fineTune(source, data, { ...GIVEN, ...throwingAt('train', 2) })).rejects.toBe(oops);
    const [after, plain] = [await fineTune(source, data, GIVEN), await fineTune(other, data, GIVEN)];
    expect(weightValues(after.model)).toEqual(weightValues(plain.model));
    disposeLayers(source, other, after.model, plain.model);
    disposeToy(data);
  });
});

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
      () => ({ classNames: two, train: { xs: xsOf(2, 1), ys: oneHot([0, 1], 2) }, val: good() }),
      'unsupported',
      /3 channel/,
    ],
    [
      'pictures that are no numbers',
      () => ({ classNames: two, train: good(), val: nan(good()) }),
      'invalid-data',
      /no finite numbers/,
    ],
    // FAILS AT PRESENT: not looked at; gather reads beyond the end.
    [
      'fewer labels than pictures',
      () => ({ classNames: two, train: { xs: xsOf(9), ys: oneHot([0, 1, 0, 1, 0, 1], 2) }, val: good() }),
      'invalid-data',
      /'train'/,
    ],
    // FAILS AT PRESENT: the last labels are left out.
    [
      'more labels than pictures',
      () => ({ classNames: two, train: { xs: xsOf(4), ys: oneHot([0, 1, 0, 1, 0, 1], 2) }, val: good() }),
      'invalid-data',
      /'train'/,
    ],
    // FAILS AT PRESENT: val is trained on for its size alone.
    [
      'validation pictures of another size',
      () => ({ classNames: two, train: good(), val: { xs: tf.zeros([4, 9, 9, 3]), ys: oneHot([0, 1, 0, 1], 2) } }),
      'invalid-data',
      /'val'/,
    ],
    // FAILS AT PRESENT: TypeError "Cannot use 'in' operator to search for 'batches' in undefined".
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
    for (const set of [data.train, data.val] as Toy['train'][]) tf.dispose([set.xs, set.ys]);
  });

  test('training pictures that are no numbers, on the cpu backend', async () => {
    await useBackend('cpu');
    const [source, data] = [tinyNet(), toy(SMALL)];
    const before = weightValues(source);
    const train = nan(data.train);
    expect((await refusal(fineTune(source, { ...data, train }, GIVEN))).code).toBe('invalid-data');
    expect(weightValues(source)).toEqual(before);
    train.xs.dispose();
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

  // FAILS AT PRESENT: the copy's weights stay.
  test('a copy for another size is disposed when the run is refused or fails', async () => {
    const [source, data] = [net(1, 20), toy({ ...SMALL, size: 16 })];
    const tensors = tf.memory().numTensors;
    await refusal(fineTune(source, data, { ...GIVEN, keepHead: true }));
    expect(tf.memory().numTensors).toBe(tensors);
    await expect(fineTune(source, data, { ...GIVEN, ...throwingAt('train', 1) })).rejects.toBe(oops);
    expect(tf.memory().numTensors).toBe(tensors);
    disposeLayers(source);
    disposeToy(data);
  });
});

describe('a backend that cannot train', () => {
  afterAll(() => {
    registerWasmTrainingKernels();
  });

  /** Computes 2x by a kernel that has no gradient. */
  class NoGradient extends tfl.layers.Layer {
    static className = 'NoGradient';
    override computeOutputShape(shape: tfl.Shape | tfl.Shape[]) {
      return shape;
    }
    override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
      return tf.engine().runKernel('DoubleWithoutGradient', { x: Array.isArray(inputs) ? inputs[0] : inputs });
    }
  }

  async function refusedBeforeTraining(source: tfl.LayersModel, options: FineTuneOptions = {}) {
    const data = toy(SMALL);
    const before = weightValues(source);
    const tensors = tf.memory().numTensors;
    let calls = 0;
    const io = memoryIO();
    const error = await refusal(
      fineTune(source, data, { ...GIVEN, ...options, keepHead: true, checkpoint: io, onProgress: () => calls++ }),
    );
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain(`'${tf.getBackend()}'`);
    expect([calls, io.saved.length]).toEqual([0, 0]);
    expect(weightValues(source)).toEqual(before);
    expect(tf.memory().numTensors).toBe(tensors);
    disposeLayers(source);
    disposeToy(data);
    return error.message;
  }

  test('an operation without gradient', async () => {
    await useBackend('cpu');
    tf.registerKernel({
      kernelName: 'DoubleWithoutGradient',
      backendName: 'cpu',
      kernelFunc: ({ inputs }) => tf.add(inputs.x as tf.Tensor, inputs.x as tf.Tensor),
    });
    const source = line(
      [8, 8, 3],
      [
        conv('c1', 4),
        bn('n1'),
        new NoGradient({ name: 'double' }),
        gap(),
        tfl.layers.dense({ units: 2, activation: 'softmax', name: 'old' }),
      ],
    );
    expect(await refusedBeforeTraining(source)).toContain('DoubleWithoutGradient');
    tf.unregisterKernel('DoubleWithoutGradient', 'cpu');
  });

  test.each([
    ['Conv2DBackpropFilter', tinyNet],
    [
      'DepthwiseConv2dNativeBackpropFilter',
      () =>
        line(
          [8, 8, 3],
          [
            tfl.layers.depthwiseConv2d({ kernelSize: 3, name: 'c' }),
            bn('n'),
            gap(),
            tfl.layers.dense({ units: 2, activation: 'softmax' }),
          ],
        ),
    ],
  ] as [string, () => tfl.LayersModel][])('the wasm backend without %s, as tfjs brings it', async (kernel, build) => {
    await useBackend('wasm');
    tf.unregisterKernel(kernel, 'wasm');
    try {
      expect(await refusedBeforeTraining(build())).toContain(kernel);
    } finally {
      registerWasmTrainingKernels();
    }
  });

  test('what need not be trained needs no gradient', async () => {
    await useBackend('wasm');
    tf.unregisterKernel('Conv2DBackpropFilter', 'wasm');
    try {
      const [source, data] = [tinyNet(), toy(SMALL)];
      const { ending, model } = await fineTune(source, data, { ...GIVEN, unfreeze: 0 });
      expect(ending).toBe('finished');
      disposeLayers(source, model);
      disposeToy(data);
    } finally {
      registerWasmTrainingKernels();
    }
  });
});
