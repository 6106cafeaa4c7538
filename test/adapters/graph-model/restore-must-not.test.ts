/** What `restoreBatchNorm` must not do: touch what is not folded, or the source; take bad data; leave tensors behind. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, getMode, setMode, toDeploy } from 'tfjs-tune-mode';
import { type CalibrationData, restoreBatchNorm } from '../../../adapters/graph-model/restore';
import { useBackend } from '../../helpers/backends';
import { changes, inputsFor, randomise, savedArtifacts, snapshot, weightValues } from '../../helpers/models';
import { deployed, free, KINDS, NETS } from './restore-nets';

beforeAll(() => useBackend('cpu'));

const L = tfl.layers;
const chain = (x: tfl.SymbolicTensor, ...layers: tfl.layers.Layer[]) =>
  layers.reduce((y, layer) => layer.apply(y) as tfl.SymbolicTensor, x);
const SEQUENTIAL = NETS['a Sequential whose conv names the input'].net;

describe('convolutions that are left alone', () => {
  const x = () => tfl.input({ shape: [8, 8, 3] });
  const conv = (args: object = {}) => L.conv2d({ name: 'it', filters: 3, kernelSize: 3, padding: 'same', ...args });
  const dense = () => [L.flatten(), L.dense({ units: 2 })];
  const model = (input: tfl.SymbolicTensor, ...layers: tfl.layers.Layer[]) =>
    tfl.model({ inputs: input, outputs: chain(input, ...layers) });

  test.each<[string, () => tfl.LayersModel, string, RegExp]>([
    ['without bias', () => model(x(), conv({ useBias: false }), L.reLU(), ...dense()), 'skipped', /no bias/],
    [
      'with a BN behind it',
      () => model(x(), conv(), L.batchNormalization(), ...dense()),
      'already',
      /'batch_norm.*' normal/,
    ],
    [
      'with relu inside, and a BN behind that',
      () => model(x(), conv({ activation: 'relu' }), L.batchNormalization(), ...dense()),
      'already',
      /'batch_norm/,
    ],
    [
      'with an activation layer, and a BN behind that',
      () => model(x(), conv(), L.reLU(), L.batchNormalization(), ...dense()),
      'already',
      /'batch_norm/,
    ],
    ['that makes the output', () => model(x(), conv()), 'skipped', /predictions/],
    [
      'that makes class scores',
      () => model(x(), conv({ activation: 'softmax' }), L.flatten()),
      'skipped',
      /predictions/,
    ],
    [
      'that makes the output of a nested model, which pools it',
      () => {
        const inner = tfl.sequential({
          layers: [L.conv2d({ name: 'it', filters: 3, kernelSize: 3, inputShape: [8, 8, 3] })],
        });
        return model(x(), inner as unknown as tfl.layers.Layer, L.globalAveragePooling2d({}));
      },
      'skipped',
      /predictions/,
    ],
    [
      'that is 3-d',
      () => model(tfl.input({ shape: [4, 4, 4, 2] }), L.conv3d({ filters: 2, kernelSize: 2 }), L.reLU(), ...dense()),
      'skipped',
      /3-d/,
    ],
    [
      'in a TimeDistributed',
      () => model(tfl.input({ shape: [2, 8, 8, 3] }), L.timeDistributed({ layer: conv() }), ...dense()),
      'skipped',
      /TimeDistributed/,
    ],
    [
      'with its channels first',
      () => model(tfl.input({ shape: [3, 8, 8] }), conv({ dataFormat: 'channelsFirst' }), L.reLU(), ...dense()),
      'skipped',
      /channelsFirst/,
    ],
  ])('%s', async (_name, build, state, reason) => {
    const source = build();
    const { model: result, report } = await restoreBatchNorm(source, undefined, { pictures: 2 });
    expect(report.convs).toMatchObject([{ state, bn: null, dead: null, scale: null }]);
    expect(report.convs[0].reason).toMatch(reason);
    expect(report).toMatchObject({ pictures: 0, calibration: 'none' });
    expect(String(report)).toContain('left as they are');
    expect(Object.values(weightValues(result))).toEqual(Object.values(weightValues(source)));
    expect(result.layers.map((layer) => layer.name)).toEqual(source.layers.map((layer) => layer.name));
  });

  test('by include, which is asked for every conv that could get one, by its path', async () => {
    const source = deployed(NETS['Sequential in Sequential in a functional model'].net);
    const asked: string[] = [];
    const { report } = await restoreBatchNorm(source, undefined, {
      pictures: 2,
      include: (conv) => {
        asked.push(conv);
        return conv.endsWith('/b');
      },
    });
    expect(asked).toEqual(['whole/base/a', 'whole/top/b']);
    expect(report.convs.map(({ state, bn }) => [state, bn])).toEqual([
      ['skipped', null],
      ['restored', 'whole/top/b_bn'],
    ]);
  });

  test('a subclass that computes something else, while a replaced call is refused', async () => {
    class Doubled extends (L.conv2d({ filters: 1, kernelSize: 1 }).constructor as new (
      args: object,
    ) => tfl.layers.Layer) {
      override call(inputs: tf.Tensor, kwargs: object) {
        return tf.mul(super.call(inputs, kwargs as never) as tf.Tensor, 2);
      }
    }
    const own = model(x(), new Doubled({ name: 'it', filters: 3, kernelSize: 3 }), L.reLU(), ...dense());
    const { report } = await restoreBatchNorm(own);
    expect(report.convs[0].reason).toMatch(/'call' of its own/);

    const patched = model(x(), conv(), L.reLU(), ...dense());
    const layer = patched.getLayer('it');
    const call = layer.call;
    layer.call = (...args) => call.apply(layer, args);
    const alive = tf.memory().numTensors;
    await expect(restoreBatchNorm(patched)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/^restoreBatchNorm: .*'it'/),
    });
    expect(tf.memory().numTensors).toBe(alive);
  });
});

describe('the source stays as it is', () => {
  test.each(['train', 'eval', 'tune'] as const)('in mode %s, weights, wiring and calls', async (mode) => {
    const source = NETS['residual, two outputs, one of them a feature map'].net();
    randomise(source, 3);
    setMode(source, mode);
    const x = inputsFor(source, 4, 3);
    const [before, weights] = [snapshot(source), weightValues(source)];
    const { model } = await restoreBatchNorm(source, x[0]);
    expect(getMode(source)).toBe(mode);
    expect(weightValues(source)).toEqual(weights);
    // A copy of its own: training it, or disposing it, changes nothing either.
    tf.tidy(() => {
      for (const weight of model.weights) (weight.read() as tf.Variable).assign(tf.zeros(weight.shape as number[]));
    });
    expect(weightValues(source)).toEqual(weights);
    free(model);
    expect(changes(before, snapshot(source))).toEqual([]);
    free(source);
    tf.dispose(x);
  });

  test('frozen layers stay frozen, with their new BN', async () => {
    const source = deployed(SEQUENTIAL);
    source.getLayer('a').trainable = false;
    const { model } = await restoreBatchNorm(source, undefined, { pictures: 2 });
    expect(['a', 'a_bn', 'b', 'b_bn'].map((name) => model.getLayer(name).trainable)).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });
});

test('a name that the model has already is not taken twice', async () => {
  const x = tfl.input({ shape: [6, 6, 2] });
  const y = chain(
    x,
    L.conv2d({ name: 'c', filters: 2, kernelSize: 1, activation: 'relu' }),
    L.zeroPadding2d({ name: 'c_bn' }),
    L.flatten({ name: 'c_act' }),
    L.dense({ units: 2 }),
  );
  const { model, report } = await restoreBatchNorm(tfl.model({ inputs: x, outputs: y }), undefined, { pictures: 2 });
  expect(report.convs[0].bn).toBe('c_bn_');
  expect(model.getLayer('c_act_').getClassName()).toBe('ReLU');
});

test('an output keeps its name, through one restoring after the other, and through saving', async () => {
  const source = deployed(NETS['residual, two outputs, one of them a feature map'].net);
  const { model } = await restoreBatchNorm(source, undefined, { pictures: 2 });
  expect(model.outputNames).toEqual(source.outputNames);
  expect(model.getLayer('features').getClassName()).toBe('ReLU');
  const again = await restoreBatchNorm(toDeploy(model), undefined, { pictures: 2 });
  expect(again.model.outputNames).toEqual(source.outputNames);
  const loaded = await tfl.loadLayersModel(tf.io.fromMemory(await savedArtifacts(model)));
  expect(enableTuneMode(loaded).pairs).toHaveLength(3);
  // A model that has its BNs gets no second ones.
  const twice = await restoreBatchNorm(model);
  expect(twice.report.convs.map(({ state }) => state)).toEqual(['already', 'already', 'already', 'skipped']);
});

describe('bad data', () => {
  const picture = (value: number, shape = [2, 8, 8, 3]) => tf.fill(shape, value);
  const broken = () => ({
    async *batches() {
      yield { xs: picture(0) as tf.Tensor4D, ys: tf.zeros([2, 2]) as tf.Tensor2D };
      throw new Error('the disk is gone');
    },
  });

  test.each<[string, () => unknown, RegExp]>([
    ['no batches', () => [], /no pictures/],
    ['a set without batches', () => ({ async *batches() {} }), /no pictures/],
    ['NaN', () => picture(Number.NaN), /NaN or infinite/],
    [
      'one infinite number, in the second batch',
      () => [picture(0), picture(Number.POSITIVE_INFINITY)],
      /NaN or infinite/,
    ],
    ['another number of channels', () => picture(0, [2, 8, 8, 1]), /\[batch, 8, 8, 3\]; found a tensor \[2, 8, 8, 1\]/],
    ['another size', () => picture(0, [2, 9, 8, 3]), /found a tensor \[2, 9, 8, 3\]/],
    ['a single picture without a batch', () => picture(0, [8, 8, 3]), /found a tensor \[8, 8, 3\]/],
    ['an empty batch', () => picture(0, [0, 8, 8, 3]), /found a tensor \[0, 8, 8, 3\]/],
    ['two tensors for one input', () => [[picture(0), picture(0)]], /has 1 inputs, a batch has 2/],
    ['numbers', () => [1, 2], /found number/],
    ['a path', () => 7, /found number/],
    ['null', () => null, /found null/],
    ['a source that fails midway', broken, /the disk is gone/],
  ])('%s', async (_name, make, message) => {
    const source = deployed(SEQUENTIAL);
    const [data, before] = [make(), weightValues(source)];
    const alive = tf.memory().numTensors;
    const error: Error & { code?: string } = await restoreBatchNorm(source, data as CalibrationData).then(
      () => new Error('it did not fail'),
      (reason) => reason,
    );
    expect(error.message).toMatch(message);
    if (data instanceof Object && !('batches' in data && _name.includes('fails')))
      expect(error.code).toBe('invalid-data');
    expect(tf.memory().numTensors).toBe(alive);
    expect(weightValues(source)).toEqual(before);
  });

  test('a disposed tensor', async () => {
    const x = picture(0);
    x.dispose();
    await expect(restoreBatchNorm(deployed(SEQUENTIAL), x)).rejects.toMatchObject({ code: 'invalid-data' });
  });

  test('pictures on which a layer overflows: the layer is named', async () => {
    const source = deployed(SEQUENTIAL);
    tf.tidy(() => source.getLayer('a').setWeights([tf.fill([3, 3, 3, 4], 1e30), tf.zeros([4])]));
    const x = picture(1e30);
    const alive = tf.memory().numTensors;
    await expect(restoreBatchNorm(source, x)).rejects.toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining("layer 'a' gives NaN or infinite values"),
    });
    expect(tf.memory().numTensors).toBe(alive);
  });

  test('a model that is none, or was disposed', async () => {
    await expect(restoreBatchNorm(undefined as never)).rejects.toMatchObject({ code: 'not-a-layers-model' });
    const source = deployed(SEQUENTIAL);
    source.dispose();
    await expect(restoreBatchNorm(source)).rejects.toMatchObject({ code: 'model-disposed' });
  });
});

test.each([
  [{ picture: 3 }, /unknown option 'picture'/],
  [{ pictures: 0 }, /'pictures' must be a whole number, at least 1; found 0/],
  [{ rule: 'best' }, /'rule' must be one of 'none', .*; found "best"/],
  [{ epsilon: 0 }, /'epsilon' must be a number above 0/],
  [{ epsilon: Number.NaN }, /found NaN/],
  [{ inputRange: [1, -1] }, /the smaller one first; found \[1,-1\]/],
  [{ include: true }, /'include' must be a function/],
  [{ include: () => Promise.resolve(true) }, /found a Promise for 'a'/],
])('bad options: %j', async (options, message) => {
  const source = deployed(SEQUENTIAL);
  const alive = tf.memory().numTensors;
  await expect(restoreBatchNorm(source, undefined, options as never)).rejects.toMatchObject({
    code: 'invalid-option',
    message: expect.stringMatching(message),
  });
  expect(tf.memory().numTensors).toBe(alive);
});

describe('pictures', () => {
  const statisticsOf = async (data: CalibrationData, pictures?: number) => {
    const source = deployed(SEQUENTIAL);
    const { model, report } = await restoreBatchNorm(source, data, pictures === undefined ? {} : { pictures });
    // Without names: those of the BNs before the fold are other ones in every net.
    const values = Object.values(weightValues(model));
    free(source, model);
    return { report, values };
  };

  test('come in any form, and in batches of any size, with the same result to rounding', async () => {
    const [x] = inputsFor(deployed(SEQUENTIAL), 5, 20);
    const parts = [0, 1, 8, 17].map((from, i, all) => {
      const count = (all[i + 1] ?? 20) - from;
      return tf.slice(x, [from, 0, 0, 0], [count, 8, 8, 3]) as tf.Tensor4D;
    });
    const alive = tf.memory().numTensors;
    const whole = await statisticsOf(x);
    const listed = await statisticsOf(parts);
    const generated = await statisticsOf(
      (async function* () {
        yield* parts;
      })(),
    );
    const passes: object[] = [];
    const source = await statisticsOf({
      async *batches(pass) {
        passes.push(pass);
        for (const part of parts) yield { xs: part.clone(), ys: tf.zeros([part.shape[0], 2]) as tf.Tensor2D };
      },
    });
    expect(tf.memory().numTensors).toBe(alive);
    expect(passes).toEqual([{ epoch: 0, shuffle: true, augment: false }]);
    for (const { report, values } of [listed, generated, source]) {
      expect(report.pictures).toBe(20);
      for (const [weight, numbers] of values.entries()) {
        // Sums of 720 float32 numbers in another order, 1e-6 of their size, and the variance's difference of two.
        numbers.forEach((value, i) => {
          expect(Math.abs(value - whole.values[weight][i])).toBeLessThan(1e-5 * Math.max(1, Math.abs(value)));
        });
      }
    }
  });

  test('are taken up to the number asked for, and no batch beyond', async () => {
    let given = 0;
    const endless = (async function* () {
      for (;;) {
        given++;
        const x = tf.randomUniform([3, 8, 8, 3]);
        yield x;
        x.dispose();
      }
    })();
    const { report } = await statisticsOf(endless, 7);
    expect(report.pictures).toBe(7);
    expect(given).toBe(3);
  });

  test('that are the caller’s stay alive', async () => {
    const x = tf.zeros([3, 8, 8, 3]);
    await statisticsOf(x);
    await statisticsOf([x, x]);
    expect(x.isDisposed).toBe(false);
  });
});

test.each(Object.entries(KINDS))('tensors: the result’s weights are all that is new (%s)', async (_name, net) => {
  const source = deployed(net);
  const x = inputsFor(source, 1, 3);
  const alive = tf.memory().numTensors;
  const { model } = await restoreBatchNorm(source, x);
  expect(tf.memory().numTensors - alive).toBe(model.weights.length);
  free(model);
  expect(tf.memory().numTensors).toBe(alive);
});
