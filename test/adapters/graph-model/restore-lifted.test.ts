/** `restoreBatchNorm` on lifted graphs: where s is known it stays, and only the statistics are new. */
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { getMode } from 'tfjs-tune-mode';
import { liftGraphModel } from '../../../adapters/graph-model';
import { type LiftedModel, makeLiftReport } from '../../../adapters/graph-model/lifted';
import { restoreBatchNorm } from '../../../adapters/graph-model/restore';
import { fileIO } from '../../../adapters/node';
import { useBackend } from '../../helpers/backends';
import { inputsFor, largestDifference, predictions, rounding, weightValues } from '../../helpers/models';
import { describeShared } from '../../helpers/shared';
import { free } from './restore-nets';

beforeAll(() => useBackend('wasm'));

const L = tfl.layers;
const EPSILON = 2 ** -10;

/** What a lift makes of: conv, Mul, Add, relu; conv with bias; conv, FusedBatchNorm; MatMul. γ of every sign. */
function lifted(): LiftedModel {
  const x = tfl.input({ shape: [8, 8, 3], name: 'x' });
  const chain = [
    L.depthwiseConv2d({ name: 'dw', kernelSize: 3, depthMultiplier: 1, useBias: false }),
    L.batchNormalization({ name: 'dw_bn', epsilon: EPSILON }),
    L.reLU({}),
    L.conv2d({ name: 'pw', filters: 4, kernelSize: 1 }),
    L.reLU({}),
    L.conv2d({ name: 'kept', filters: 3, kernelSize: 3, useBias: false }),
    L.batchNormalization({ name: 'kept_bn' }),
    L.reLU({}),
    L.batchNormalization({ name: 'alone', epsilon: EPSILON }),
    L.globalAveragePooling2d({}),
    L.dense({ name: 'scores', units: 2 }),
  ];
  const y = chain.reduce((t, layer) => layer.apply(t) as tfl.SymbolicTensor, x);
  const model = tfl.model({ inputs: x, outputs: y });
  const set = (name: string, ...values: number[][]) =>
    tf.tidy(() => model.getLayer(name).setWeights(values.map((each) => tf.tensor1d(each))));
  set('dw_bn', [0.5, -2, 0], [1, 2, 3], [0, 0, 0], Array(3).fill(1 - EPSILON));
  set('kept_bn', [1, 2, 3], [1, 1, 1], [0.1, 0.2, 0.3], [2, 3, 4]);
  set('alone', [1, -1, 3], [1, 0, -1], [0, 0, 0], Array(3).fill(1 - EPSILON));
  const constants = { kernel: 'k' };
  const products: LiftedModel['products'] = [
    { node: 'a', op: 'DepthwiseConv2dNative', form: 'affine', layer: 'dw', batchNorm: 'dw_bn', constants },
    { node: 'b', op: '_FusedConv2D', form: 'folded', layer: 'pw', batchNorm: null, constants },
    { node: 'c', op: 'Conv2D', form: 'batchNorm', layer: 'kept', batchNorm: 'kept_bn', constants },
    { node: 'd', op: 'MatMul', form: 'folded', layer: 'scores', batchNorm: null, constants },
  ];
  return {
    model,
    inputs: ['x'],
    outputs: ['y'],
    products,
    parameters: [{ node: 'e', op: 'Mul', layer: 'alone', kind: 'affine', constants: { scale: 's' } }],
    report: makeLiftReport([], products, []),
    graph: {} as LiftedModel['graph'],
  };
}

test('of an affine, μ and σ² are those of the pictures, and s stays; a FusedBatchNorm keeps its own', async () => {
  const source = lifted();
  const x = inputsFor(source.model, 3, 8);
  const expected = predictions(source.model, x);
  const before = weightValues(source.model);
  const result = await restoreBatchNorm(source, x[0]);
  const weights = (model: tfl.LayersModel, name: string) =>
    model
      .getLayer(name)
      .getWeights()
      .map((weight) => Array.from(weight.dataSync()));

  // Twice, as b = β − s·μ is a difference (restore.test.ts).
  const within = 2 * (rounding(source.model) + rounding(result.model));
  expect(largestDifference(predictions(result.model, x), expected)).toBeLessThan(within);
  expect(weightValues(source.model)).toEqual(before);
  expect(getMode(result.model)).toBe('tune');

  const convolved = tf.tidy(() => {
    const y = source.model.getLayer('dw').apply(x[0]) as tf.Tensor;
    const { mean, variance } = tf.moments(y, [0, 1, 2]);
    return [mean, variance].map((t) => Array.from(t.dataSync()));
  });
  const [gamma, beta, mean, variance] = weights(result.model, 'dw_bn');
  // One pass over the same numbers by the same op.
  expect(largestDifference([mean, variance], convolved)).toBeLessThan(1e-6);
  const s = gamma.map((value, c) => value / Math.sqrt(variance[c] + EPSILON));
  const offset = beta.map((value, c) => value - s[c] * mean[c]);
  // Each number is rounded to float32 once, and a difference of two follows.
  expect(
    largestDifference(
      [s, offset],
      [
        [0.5, -2, 0],
        [1, 2, 3],
      ],
    ),
  ).toBeLessThan(1e-6);
  expect(weights(result.model, 'alone')[2]).not.toEqual([0, 0, 0]);
  expect(weights(result.model, 'kept_bn')).toEqual(weights(source.model, 'kept_bn'));

  expect(result.products.map(({ layer, batchNorm }) => [layer, batchNorm])).toEqual([
    ['dw', 'dw_bn'],
    ['pw', 'pw_bn'],
    ['kept', 'kept_bn'],
    ['scores', null],
  ]);
  expect(result.report.products).toEqual(result.products);
  expect(source.products[1].batchNorm).toBeNull();
  expect(result.restored.convs.map(({ conv, state, bn }) => [conv, state, bn])).toEqual([
    ['dw', 'recalibrated', 'dw_bn'],
    ['pw', 'restored', 'pw_bn'],
    ['kept', 'already', null],
  ]);
  expect(String(result.restored)).toContain('restored the BatchNormalization of 1 of 3 convolutions, 1 recalibrated');
  free(source.model, result.model);
});

describeShared('real graphs', (shared) => {
  // Rounding of 27 blocks is 27 · (longest sum) · 2⁻²⁴: `rounding`, doubled as above.
  test.each([
    ['graph_mobilenet_v1_025_224', { restored: 27, recalibrated: 0 }],
    ['graph_alphabet_conv_mul_add', { restored: 0, recalibrated: 3 }],
  ])('%s: its blocks are restored, with the same outputs', async (folder, counts) => {
    const source = await liftGraphModel(fileIO(path.join(shared, 'models', folder)));
    const x = inputsFor(source.model, 1, 2);
    const expected = predictions(source.model, x);
    const alive = tf.memory().numTensors;
    const result = await restoreBatchNorm(source, undefined, { pictures: 8, inputRange: [0, 1] });
    const count = (state: string) => result.restored.convs.filter((conv) => conv.state === state).length;
    expect({ restored: count('restored'), recalibrated: count('recalibrated') }).toEqual(counts);
    expect(result.products.filter(({ batchNorm }) => batchNorm !== null)).toHaveLength(
      counts.restored + counts.recalibrated,
    );
    expect(largestDifference(predictions(result.model, x), expected)).toBeLessThan(
      2 * (rounding(source.model) + rounding(result.model)),
    );
    free(result.model);
    expect(tf.memory().numTensors).toBe(alive);
    free(source.model);
  });
});
