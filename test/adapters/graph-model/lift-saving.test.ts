/** Every graph of the table, lifted, saved and loaded again: the same layers, weights and outputs. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode } from 'tfjs-tune-mode';
import { GraphOperation } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { largestDifference, rounding, savedArtifacts, toList, weightValues } from '../../helpers/models';
import { both, disposing, inputsOf, liftedOutputs, numbersOf } from './compare-graphs';
import { TABLE } from './table-graphs';

beforeAll(() => useBackend('cpu'));

test.each(TABLE)('$name', async ({ artifacts }) => {
  const before = tf.memory().numTensors;
  await disposing(await both(artifacts), async (pair) => {
    const { model, products, parameters } = pair.lifted;
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(await savedArtifacts(model)));
    const described = (of: tfl.LayersModel) =>
      of.layers.map((layer) => [layer.getClassName(), written(layer.getConfig())]);
    expect(described(loaded)).toEqual(described(model));
    expect(weightValues(loaded)).toEqual(weightValues(model));

    const x = inputsOf(pair.lifted);
    const expected = numbersOf(() => liftedOutputs(pair, x));
    const outputs = () => numbersOf(() => toList(loaded.apply(x.length === 1 ? x[0] : x) as tf.Tensor | tf.Tensor[]));
    // Loaded it is in Train mode, whose predictions round a BN in another order.
    expect(largestDifference(outputs(), expected)).toBeLessThan(rounding(model));
    const report = enableTuneMode(loaded);
    expect(outputs()).toEqual(expected);

    // A BN behind a product is a block, of a MatMul too; one that stands alone is none.
    const paired = products.flatMap(({ batchNorm }) => batchNorm ?? []);
    expect(report.pairs.map(({ bn }) => bn).sort()).toEqual(paired.sort());
    const alone = parameters.filter(({ kind }) => kind !== 'alpha').map(({ layer }) => layer);
    expect(report.skipped.map(({ bn }) => bn)).toEqual(expect.arrayContaining(alone));
    tf.dispose(x);
    // Not dispose(): of a layer that two nodes call it keeps the weights (tfjs-layers 4.22.0).
    for (const weight of loaded.weights) weight.dispose();
  });
  expect(tf.memory().numTensors).toBe(before);
});

/** As JSON has it; ReLU's absent maximum comes back as null. */
const written = (config: object) => JSON.parse(JSON.stringify(config, (_key, value) => value ?? undefined));

test('a layer of ours keeps the constant that takes part, and does not train it', async () => {
  const row = TABLE.find(({ name }) => name === 'x Maximum a constant a position');
  await disposing(await both(row?.artifacts as tf.io.ModelArtifacts), async (pair) => {
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(await savedArtifacts(pair.lifted.model)));
    const own = loaded.layers.find((layer) => (layer as unknown) instanceof GraphOperation) as tfl.layers.Layer;
    expect(own.trainableWeights).toEqual([]);
    expect(own.weights.map(({ shape }) => shape)).toEqual([[6, 5, 1]]);
    expect(
      own.weights[0]
        .read()
        .dataSync()
        .some((value) => value !== 0),
    ).toBe(true);
    loaded.dispose();
  });
});
