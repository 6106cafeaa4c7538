/**
 * Every op that is lifted, in every form, with random weights: what the lifted model gives, and its gradients, against the
 * GraphModel itself.
 */
import * as tf from '@tensorflow/tfjs-core';
import { LIFTED_OPS } from '../../../adapters/graph-model/ops';
import { useBackend } from '../../helpers/backends';
import { largestDifference, rounding } from '../../helpers/models';
import { gradientRounding } from '../../models/gradients';
import {
  both,
  disposing,
  graphGradients,
  graphOutputs,
  inputsOf,
  liftedGradients,
  liftedOutputs,
  numbersOf,
  unitGradients,
} from './compare-graphs';
import type { NodeDef } from './graphs';
import { TABLE, type TableRow } from './table-graphs';

/** The largest map: [2, 13, 15]. */
const POSITIONS = 2 * 13 * 15;

async function checkRow(row: TableRow): Promise<void> {
  const before = tf.memory().numTensors;
  await disposing(await both(row.artifacts), (pair) => {
    const { lifted } = pair;
    expect(lifted.model.layers.map((layer) => layer.getClassName())).toEqual(row.layers);
    expect(lifted.products.map(({ form }) => form)).toEqual(row.forms);
    expect(lifted.outputs).toEqual(row.outputs);
    expect(lifted.report.ownLayers).toHaveLength(row.layers.filter((name) => name === 'GraphOperation').length);

    const x = inputsOf(lifted);
    const expected = numbersOf(() => graphOutputs(pair, x));
    // `rounding`: a sum of n products is off by at most n·2⁻²⁴ of its terms; each layer adds its own.
    expect(
      largestDifference(
        numbersOf(() => liftedOutputs(pair, x)),
        expected,
      ),
    ).toBeLessThan(rounding(lifted.model));
    expect(
      largestDifference(
        numbersOf(() => liftedOutputs(pair, x, true)),
        expected,
      ),
    ).toBeLessThan(rounding(lifted.model));

    const gradients = liftedGradients(pair, x);
    const wanted = row.linear ? unitGradients(pair, x) : graphGradients(pair, x);
    expect(Object.keys(gradients.constants)).toEqual(Object.keys(wanted.constants));
    // A gradient of zeros would be met by anything that gives none.
    for (const values of [...wanted.x, ...Object.values(wanted.constants)]) {
      expect(values.some((value) => value !== 0)).toBe(true);
    }
    const limit = gradientRounding(lifted.model, POSITIONS);
    expect(largestDifference(gradients.x, wanted.x)).toBeLessThan(limit);
    for (const [name, values] of Object.entries(wanted.constants)) {
      expect({ name, difference: largestDifference([gradients.constants[name]], [values]) }).toEqual({
        name,
        difference: expect.closeTo(0, -Math.log10(2 * limit)),
      });
    }
    tf.dispose(x);
  });
  expect(tf.memory().numTensors).toBe(before);
}

describe.each(['cpu', 'wasm'] as const)(
  '%s: the lifted model gives what the graph gives, and its gradients',
  (backend) => {
    beforeAll(() => useBackend(backend));
    test.each(TABLE)('$name', checkRow);
  },
);

test('no op that is lifted is missing in the table', () => {
  const inTable = new Set(
    TABLE.flatMap(({ artifacts }) => (artifacts.modelTopology as { node: NodeDef[] }).node.map(({ op }) => op)),
  );
  expect(LIFTED_OPS.filter((op) => !inTable.has(op))).toEqual([]);
});

test.each(['kernel', 'bias', 'gamma', 'beta', 'alpha'])('a wrong %s would be noticed', async (ending) => {
  await useBackend('cpu');
  let checked = 0;
  for (const { artifacts } of TABLE.slice(0, 60)) {
    await disposing(await both(artifacts), (pair) => {
      const weight = pair.lifted.model.trainableWeights.find(({ originalName }) => originalName.endsWith(ending));
      if (weight === undefined) return;
      const x = inputsOf(pair.lifted);
      const wrong = tf.mul(weight.read(), 1.001);
      weight.write(wrong);
      const difference = largestDifference(
        numbersOf(() => liftedOutputs(pair, x)),
        numbersOf(() => graphOutputs(pair, x)),
      );
      expect(difference).toBeGreaterThan(10 * rounding(pair.lifted.model));
      checked++;
      tf.dispose([x, wrong]);
    });
  }
  expect(checked).toBeGreaterThan(1);
});
