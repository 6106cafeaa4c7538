/**
 * `restoreBatchNorm` on layers models: the same outputs, gradients as the formulas say, statistics of the pictures.
 *
 * Tolerance of outputs: `rounding`, where it is derived, of both models; twice, since the restored one's b = β − s·μ is a
 * difference of two numbers up to |b′| + |m′|, each rounded. A BN without ε, with an s on the wrong axis or without μ is
 * off by 1e-2 and more with these random statistics.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { inspect, setMode, toDeploy } from 'tfjs-tune-mode';
import { restoreBatchNorm } from '../../../adapters/graph-model/restore';
import { SCALE_RULES } from '../../../adapters/graph-model/restore/rules';
import { useBackend } from '../../helpers/backends';
import {
  allLayers,
  applied,
  inputsFor,
  largestDifference,
  predictions,
  rounding,
  toList,
  weightValues,
} from '../../helpers/models';
import { gradientRounding } from '../../models/gradients';
import { deployed, free, KINDS, NETS } from './restore-nets';

beforeAll(() => useBackend('cpu'));

const named = (model: tfl.LayersModel, name: string) =>
  allLayers(model).find((layer) => layer.name === name) as tfl.layers.Layer;
const numbers = (layer: tfl.layers.Layer) => layer.getWeights().map((weight) => Array.from(weight.dataSync()));
const calibration = (x: tf.Tensor[]) => [x.length === 1 ? x[0] : x];

const ALL = {
  ...Object.fromEntries(
    Object.entries(KINDS).map(([name, net]) => [name, { net, restored: ['conv'], calls: undefined }]),
  ),
  ...NETS,
};

describe.each(Object.entries(ALL))('%s', (_name, { net, restored }) => {
  test('Eval, Tune and Deploy give the outputs of the source, whatever s is', async () => {
    const source = deployed(net);
    const [seen, x] = [inputsFor(source, 2, 6), inputsFor(source, 3, 2)];
    const expected = predictions(source, x);
    const alive = tf.memory().numTensors;
    for (const rule of SCALE_RULES) {
      const { model, report } = await restoreBatchNorm(source, calibration(seen), { rule });
      const within = 2 * (rounding(source) + rounding(model));
      const of = (state: string) => report.convs.filter((conv) => conv.state === state).map(({ conv }) => conv);
      expect(of('restored')).toEqual(restored);
      expect(report).toMatchObject({ rule, pictures: 6, calibration: 'given' });
      expect(inspect(model)).toMatchObject({ mode: 'tune', skipped: [] });
      expect(inspect(model).pairs).toHaveLength(restored.length);
      expect(largestDifference(predictions(model, x), expected)).toBeLessThan(within);
      expect(largestDifference(applied(model, x, true), expected)).toBeLessThan(within);
      setMode(model, 'eval');
      expect(largestDifference(predictions(model, x), expected)).toBeLessThan(within);
      const again = toDeploy(model);
      expect(largestDifference(predictions(again, x), expected)).toBeLessThan(within);
      expect(again.countParams()).toBe(source.countParams());
      expect(model.inputNames).toEqual(source.inputNames);
      expect(model.outputNames).toEqual(source.outputNames);
      free(model, again);
      expect(tf.memory().numTensors).toBe(alive);
    }
    free(source);
    tf.dispose([seen, x]);
  });
});

// A conv that is called twice has statistics of both calls; in Train mode each call has its own.
const CALLED_ONCE = Object.entries(ALL).filter(([, { calls }]) => calls === undefined);

test.each(CALLED_ONCE)(
  'in Train mode, the batch that was seen has the stored statistics: %s',
  async (_name, { net }) => {
    const source = deployed(net);
    const seen = inputsFor(source, 2, 6);
    const { model } = await restoreBatchNorm(source, calibration(seen));
    const expected = predictions(source, seen);
    setMode(model, 'train');
    // The statistics come from the same ops, but divided by s before rounding: a few roundings more in each layer, which
    // pass through 1 / sqrt(σ² + ε) · γ = s like everything else.
    const within = 10 * (rounding(source) + rounding(model));
    expect(largestDifference(applied(model, seen, true), expected)).toBeLessThan(within);
    free(source, model);
    tf.dispose(seen);
  },
);

test('in Train mode, other pictures have statistics near the stored ones', async () => {
  const source = deployed(NETS['a Sequential whose conv names the input'].net);
  const [seen, x] = [inputsFor(source, 2, 64), inputsFor(source, 3, 64)];
  const { model } = await restoreBatchNorm(source, seen[0]);
  const before = weightValues(model);
  setMode(model, 'train');
  applied(model, x, true);
  const after = weightValues(model);
  const moved = Object.keys(before).filter((name) => name.includes('moving_'));
  expect(moved).toHaveLength(4);
  for (const name of moved) {
    // One step of momentum 0.99 moves a statistic by 1 % of what is between. Two samples of 64 pictures with 36 positions
    // each differ by a few percent of the deviation, or of the variance; a statistic of another layer by far more.
    const variances = before[name.replace('mean', 'variance')];
    before[name].forEach((value, c) => {
      const between = Math.abs(after[name][c] - value) / 0.01;
      const size = name.includes('variance') ? variances[c] : Math.sqrt(variances[c]);
      expect(between).toBeLessThan(0.3 * size + 1e-4);
    });
  }
});

/** By variable name; Σ y · r with the same r for both models. */
function gradientsOf(model: tfl.LayersModel, x: tf.Tensor[]): { name: string; layer: string; values: number[] }[] {
  return tf.tidy(() => {
    const wanted = allLayers(model).flatMap((layer) =>
      'layers' in layer ? [] : layer.trainableWeights.map((weight) => ({ layer: layer.name, weight })),
    );
    const { grads } = tf.variableGrads(
      () =>
        tf.addN(
          toList(model.apply(x.length === 1 ? x[0] : x, { training: true }) as tf.Tensor).map((y) =>
            tf.sum(tf.mul(y, tf.cos(tf.reshape(tf.range(0, y.size), y.shape)))),
          ),
        ) as tf.Scalar,
      wanted.map(({ weight }) => weight.read() as tf.Variable),
    );
    return wanted.map(({ layer, weight }) => ({
      layer,
      name: weight.originalName.split('/').pop() as string,
      values: Array.from(grads[(weight.read() as tf.Variable).name].dataSync()),
    }));
  });
}

// tfjs cannot train the source where its conv is dilated.
const TRAINABLE = Object.entries(KINDS).filter(([name]) => !name.includes('dilated'));

describe.each(TRAINABLE)('gradients in Tune mode: %s', (_name, net) => {
  test.each(SCALE_RULES)('are those of the source, times s, with rule %s', async (rule) => {
    const source = deployed(net, 5);
    const x = inputsFor(source, 6, 3);
    const { model } = await restoreBatchNorm(source, x, { rule });
    const bn = named(model, 'conv_bn') as tfl.layers.Layer & { epsilon: number };
    const [gamma, , mean, variance] = numbers(bn);
    const s = gamma.map((value, c) => value / Math.sqrt(variance[c] + bn.epsilon));
    const of = (list: ReturnType<typeof gradientsOf>, layer: string, name: string) =>
      (list.find((each) => each.layer === layer && each.name === name) as { values: number[] }).values;

    const folded = gradientsOf(source, x);
    const found = gradientsOf(model, x);
    const within = gradientRounding(source, 3 * 64);
    const kernels = folded.filter(({ layer, name }) => layer === 'conv' && name !== 'bias').map(({ name }) => name);
    const dKernel = of(folded, 'conv', kernels[kernels.length - 1]);
    const dBias = of(folded, 'conv', 'bias');
    const kernel = numbers(named(model, 'conv'))[kernels.length - 1];
    // Of these layouts only the transposed one has another axis behind the channels: that of its 3 inputs.
    const inner = named(model, 'conv').getClassName() === 'Conv2DTranspose' ? 3 : 1;
    const channel = (i: number) => Math.floor(i / inner) % s.length;

    const dGamma = s.map((_, c) => {
      let sum = dBias[c] * -mean[c];
      for (let i = 0; i < kernel.length; i++) if (channel(i) === c) sum += dKernel[i] * kernel[i];
      return sum / Math.sqrt(variance[c] + bn.epsilon);
    });
    const expected = [dKernel.map((value, i) => value * s[channel(i)]), dGamma, dBias];
    const actual = [
      of(found, 'conv', kernels[kernels.length - 1]),
      of(found, 'conv_bn', 'gamma'),
      of(found, 'conv_bn', 'beta'),
    ];
    // γ's gradient is a difference of sums: relative to the larger of them.
    const size = Math.max(
      ...dBias.map((value, c) => Math.abs((value * mean[c]) / Math.sqrt(variance[c] + bn.epsilon))),
    );
    actual[1].push(size);
    expected[1].push(size);
    expect(largestDifference(actual, expected)).toBeLessThan(within);
    if (kernels.length === 2) {
      expect(largestDifference([of(found, 'conv', kernels[0])], [of(folded, 'conv', kernels[0])])).toBeLessThan(within);
    }
    free(source, model);
    tf.dispose(x);
  });
});

describe('dead channels', () => {
  /** A net whose conv `a` is dead in channel 1 (its γ was 0), so that `b` is too, and which `change` makes worse. */
  async function withDead(change: (kernel: Float32Array, bias: Float32Array) => void) {
    const source = deployed(NETS['a Sequential whose conv names the input'].net);
    const conv = source.getLayer('a');
    const [kernel, bias] = conv.getWeights().map((weight) => weight.dataSync().slice() as Float32Array);
    change(kernel, bias);
    tf.tidy(() => conv.setWeights([tf.tensor(kernel, [3, 3, 3, 4]), tf.tensor(bias)]));
    return source;
  }
  const channel = (values: Float32Array, c: number, to: (value: number) => number) =>
    values.forEach((value, i) => {
      if (i % 4 === c) values[i] = to(value);
    });

  test.each([
    ['a kernel of zeros', (kernel: Float32Array) => channel(kernel, 0, () => 0), [2, 2]],
    ['a tiny kernel', (kernel: Float32Array) => channel(kernel, 0, (value) => value * 1e-12), [2, 2]],
    ['a kernel at the edge of float32', (kernel: Float32Array) => channel(kernel, 0, (value) => value * 1e-38), [2, 2]],
    ['all kernels zero', (kernel: Float32Array) => kernel.fill(0), [4, 4]],
    [
      'an output that relu6 holds at 6, so that the next layer sees a constant',
      (_: Float32Array, bias: Float32Array) => bias.fill(1e3, 0, 1),
      [1, 2],
    ],
  ] as const)('%s: finite weights, the same outputs, s as of the others', async (_name, change, dead) => {
    const source = await withDead(change);
    const x = inputsFor(source, 4, 6);
    for (const rule of SCALE_RULES) {
      const { model, report } = await restoreBatchNorm(source, x[0], { rule });
      expect(report.convs.map((conv) => conv.dead)).toEqual([...dead]);
      expect(Object.values(weightValues(model)).flat().every(Number.isFinite)).toBe(true);
      for (const [i, name] of ['a_bn', 'b_bn'].entries()) {
        const bn = named(model, name) as tfl.layers.Layer & { epsilon: number };
        const [gamma, , , variance] = numbers(bn);
        const s = gamma.map((value, c) => value / Math.sqrt(variance[c] + bn.epsilon));
        expect(Math.max(...s)).toBeLessThan(1e3);
        if (dead[i] > 1) expect(s[0] / (report.convs[i].scale as number)).toBeCloseTo(1, 0);
      }
      expect(largestDifference(predictions(model, x), predictions(source, x))).toBeLessThan(
        2 * (rounding(source) + rounding(model)),
      );
      free(model);
    }
  });
});

describe('without pictures', () => {
  test('noise is used: the same in every run, and in the range that was given', async () => {
    const source = deployed(KINDS.Conv2D);
    const x = inputsFor(source, 3, 4);
    const first = await restoreBatchNorm(source, undefined, { pictures: 9 });
    const second = await restoreBatchNorm(source, undefined, { pictures: 9 });
    const wider = await restoreBatchNorm(source, undefined, { pictures: 9, inputRange: [-2, 2] });
    expect(first.report).toMatchObject({ pictures: 9, calibration: 'noise' });
    expect(weightValues(first.model)).toEqual(weightValues(second.model));
    expect(largestDifference(predictions(first.model, x), predictions(source, x))).toBeLessThan(
      2 * (rounding(source) + rounding(first.model)),
    );
    // Twice the range, symmetric about 0, before a layer without bias: four times the variance, to rounding.
    const variances = (model: tfl.LayersModel) => numbers(named(model, 'conv_bn'))[3];
    variances(first.model).forEach((value, c) => {
      // Channel 1 is dead.
      if (c !== 1) expect(variances(wider.model)[c] / value).toBeCloseTo(4, 4);
    });
  });

  test('its range is what a rescaling brings to [-1, 1]', async () => {
    const bare = deployed(KINDS.Conv2D);
    const scaled = tfl.sequential({ layers: [tfl.layers.rescaling({ scale: 2, offset: -1, inputShape: [7, 6, 3] })] });
    for (const layer of bare.layers.slice(1)) scaled.add(layer);
    const statistics = async (model: tfl.LayersModel) => {
      const result = await restoreBatchNorm(model, undefined, { pictures: 4 });
      return numbers(named(result.model, 'conv_bn')).slice(2);
    };
    // Pictures in [0, 1] there, rounded once more before they are the same ones: 1e-7 of each, and sums of 18 terms.
    expect(largestDifference(await statistics(scaled), await statistics(bare))).toBeLessThan(1e-5);
  });

  test('a model that takes pictures of any size gets some', async () => {
    const source = deployed(NETS['pictures of any size'].net);
    const { report } = await restoreBatchNorm(source, undefined, { pictures: 1 });
    expect(report).toMatchObject({ pictures: 1, calibration: 'noise' });
  });

  test('a model with several inputs gets some for each', async () => {
    const source = deployed(NETS['a conv that two branches share'].net);
    const { report } = await restoreBatchNorm(source, undefined, { pictures: 3 });
    expect(report).toMatchObject({ pictures: 3, calibration: 'noise' });
  });
});
