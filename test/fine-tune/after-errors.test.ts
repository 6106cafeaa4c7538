/** After an error everything is as it was: weights bit-identical, no tensor more, the user's data alive. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
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

  test('the new head of a failed run is disposed', async () => {
    expect((await fails(throwingAt('train', 1))).left).toBe(0);
  });

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

describe('a copy for another size', () => {
  beforeAll(() => useBackend('wasm'));

  test('is disposed when the run is refused or fails', async () => {
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
