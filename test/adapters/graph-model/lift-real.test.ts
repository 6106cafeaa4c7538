/**
 * Real graphs on real pictures. Tolerances: `typicalRounding` of the lifted model, unless said otherwise.
 */
import fs from 'node:fs';
import path from 'node:path';
import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import { inspect } from 'tfjs-tune-mode';
import { fileIO, loadPicture } from 'tfjs-tune-mode/node';
import { type LiftedModel, liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { largestDifference } from '../../helpers/models';
import { describeShared } from '../../helpers/shared';
import {
  graphGradients,
  largestDifferences,
  liftedGradients,
  trainedConstants,
  typicalRounding,
} from './compare-graphs';

const formsOf = ({ products }: LiftedModel) => {
  const counts: Record<string, number> = {};
  for (const { form } of products) counts[form] = (counts[form] ?? 0) + 1;
  return counts;
};

async function loaded(shared: string, name: string): Promise<{ graph: GraphModel; lifted: LiftedModel }> {
  const graph = await loadGraphModel(fileIO(path.join(shared, 'models', name)));
  return { graph, lifted: await liftGraphModel(graph) };
}

/** Runs a function on every picture of a folder, as many as asked for, in a batch of 1. */
async function onPictures(
  shared: string,
  count: number,
  form: { size: number; range: [number, number] },
  run: (x: tf.Tensor, file: string) => Promise<void> | void,
): Promise<void> {
  const folder = path.join(shared, 'data/imagenet_samples');
  const files = fs.readdirSync(folder).filter((file) => file.endsWith('.jpg'));
  for (const file of files.slice(0, count)) {
    const picture = await loadPicture(path.join(folder, file), { imageSize: form.size, inputRange: form.range });
    const x = tf.expandDims(picture, 0);
    await run(x, file);
    tf.dispose([picture, x]);
  }
}

describeShared('graph_mobilenet_v1_025_224', (shared) => {
  let graph: GraphModel;
  let lifted: LiftedModel;
  beforeAll(async () => {
    await useBackend('wasm');
    ({ graph, lifted } = await loaded(shared, 'graph_mobilenet_v1_025_224'));
  });
  afterAll(() => {
    lifted.model.dispose();
    graph.dispose();
  });

  test('27 folded blocks and the classifier, of Keras layers alone', () => {
    expect(formsOf(lifted)).toEqual({ folded: 28 });
    expect(lifted.products.at(-1)?.node).toMatch(/Logits/);
    expect(lifted.report.ownLayers).toEqual([]);
    expect(lifted.report.nodes.filter(({ state }) => state === 'left')).toEqual([]);
    expect(lifted.model.inputs.map(({ shape }) => shape)).toEqual([[null, 224, 224, 3]]);
    expect(lifted.model.outputs.map(({ shape }) => shape)).toEqual([[null, 1001]]);
    // A folded BN is gone: nothing may pass for one.
    expect(inspect(lifted.model)).toMatchObject({ pairs: [], skipped: [] });
  });

  test('20 pictures: what the graph gives, to the last bit', async () => {
    let worst = 0;
    await onPictures(shared, 20, { size: 224, range: [0, 1] }, (x) => {
      tf.tidy(() => {
        const expected = graph.predict(x) as tf.Tensor;
        const found = lifted.model.predict(x) as tf.Tensor;
        worst = Math.max(worst, ...largestDifferences([found], [expected]));
      });
    });
    // The same kernels on the same numbers.
    expect(worst).toBe(0);
  });

  test('a batch of pictures, though the graph is asked one by one', async () => {
    const batch: tf.Tensor[] = [];
    await onPictures(shared, 3, { size: 224, range: [0, 1] }, (x) => {
      batch.push(tf.clone(x));
    });
    tf.tidy(() => {
      const together = lifted.model.predict(tf.concat(batch)) as tf.Tensor;
      const single = tf.concat(batch.map((x) => graph.predict(x) as tf.Tensor));
      expect(largestDifferences([together], [single])[0]).toBeLessThan(typicalRounding(lifted.model));
    });
    tf.dispose(batch);
  });

  test('every constant gets the gradient that the graph gives it, on another picture size', async () => {
    // On cpu, where both run the same kernels: on wasm one of them has ReLU6 in the convolution, and where rounding
    // decides on which side of a kink a value lies, gradients of single positions come and go.
    await useBackend('cpu');
    const small = await liftGraphModel(graph, { inputs: { 'module_apply_default/hub_input/Sub': [null, 64, 64, 3] } });
    const pair = { graph, lifted: small, dispose: () => {} };
    const x: tf.Tensor[] = [];
    await onPictures(shared, 1, { size: 64, range: [-1, 1] }, (picture) => {
      x.push(tf.clone(picture));
    });
    const expected = graphGradients(pair, x);
    const found = liftedGradients(pair, x);
    expect(trainedConstants(small)).toHaveLength(56);
    expect(Object.keys(found.constants)).toHaveLength(56);
    const differences = Object.entries(expected.constants).map(([name, values]) =>
      largestDifference([found.constants[name]], [values]),
    );
    // As many sums forward as backward. It was 0 when this was written.
    expect(Math.max(...differences)).toBeLessThan(2 * typicalRounding(small.model));
    expect(Object.values(expected.constants).every((values) => values.some((value) => value !== 0))).toBe(true);
    tf.dispose(x);
    small.model.dispose();
    await useBackend('wasm');
  });
});

describeShared('graph_alphabet_conv_mul_add', (shared) => {
  test('3 affine blocks in Tune mode, two MatMuls; outputs of pictures', async () => {
    await useBackend('wasm');
    const { graph, lifted } = await loaded(shared, 'graph_alphabet_conv_mul_add');
    expect(formsOf(lifted)).toEqual({ affine: 3, folded: 2 });
    const report = inspect(lifted.model);
    expect(report.mode).toBe('tune');
    expect(report.pairs).toHaveLength(3);
    expect(report.skipped).toEqual([]);
    let worst = 0;
    await onPictures(shared, 20, { size: 28, range: [0, 1] }, (x) => {
      tf.tidy(() => {
        const grey = tf.mean(x, -1, true);
        worst = Math.max(
          worst,
          ...largestDifferences([lifted.model.predict(grey) as tf.Tensor], [graph.predict(grey) as tf.Tensor]),
        );
      });
    });
    // 4.3e-6 when this was written.
    expect(worst).toBeLessThan(typicalRounding(lifted.model));
    lifted.model.dispose();
    graph.dispose();
  });
});

describeShared('graph_handtrack_ssd320fpnlite_mobilenetv2_uint8', (shared) => {
  let graph: GraphModel;
  let lifted: LiftedModel;
  beforeAll(async () => {
    await useBackend('wasm');
    ({ graph, lifted } = await loaded(shared, 'graph_handtrack_ssd320fpnlite_mobilenetv2_uint8'));
  });
  afterAll(() => {
    lifted.model.dispose();
    graph.dispose();
  });

  /** Between the loop that resizes pictures and what decodes boxes. @returns the largest difference of each output. */
  async function compare({ model, inputs, outputs }: LiftedModel, count: number): Promise<number[]> {
    let worst = outputs.map(() => 0);
    await onPictures(shared, count, { size: 256, range: [0, 255] }, async (x) => {
      const input = tf.cast(x, 'int32');
      const [cut, ...expected] = (await graph.executeAsync(input, [...inputs, ...outputs])) as tf.Tensor[];
      const found = [model.predict(cut)].flat() as tf.Tensor[];
      worst = largestDifferences(found, expected).map((difference, i) => Math.max(difference, worst[i]));
      tf.dispose([input, cut, expected, found]);
    });
    return worst;
  }

  test('the part with kernels is found, 320 × 320, from uint8 weights', async () => {
    expect(lifted.inputs).toEqual(['StatefulPartitionedCall/map/TensorArrayV2Stack/TensorListStack']);
    expect(lifted.model.inputs.map(({ shape }) => shape)).toEqual([[null, 320, 320, 3]]);
    expect(lifted.outputs).toEqual(['StatefulPartitionedCall/concat', 'Identity_7']);
    expect(lifted.model.outputs.map(({ shape }) => shape)).toEqual([
      [null, 12804, 4],
      [null, 12804, 8],
    ]);
    // The depthwise half of a separable convolution has neither bias nor BN.
    expect(formsOf(lifted)).toEqual({ folded: 89, plain: 34 });
    const plain = lifted.products.filter(({ form }) => form === 'plain');
    expect(plain.every(({ op }) => op === 'DepthwiseConv2dNative')).toBe(true);
    // Nearest neighbours are written as stacking and reshaping there.
    expect(lifted.report.ownLayers).toHaveLength(4);
    expect(lifted.report.ownLayers.every((name) => /nearest_neighbor_upsampling/.test(name))).toBe(true);
    const kernel = lifted.graph.constants.get(lifted.products[0].constants.kernel);
    expect(kernel?.quantization).toMatchObject({ dtype: 'uint8' });
  });

  test('its outputs are those of the graph', async () => {
    // 1.1e-6 and 2.3e-6 when this was written.
    for (const difference of await compare(lifted, 3)) expect(difference).toBeLessThan(typicalRounding(lifted.model));
  });

  test('so are nodes in between', async () => {
    const fused = lifted.products.filter(({ op }) => op.includes('Fused')).filter((_, i) => i % 12 === 0);
    const outputs = fused.map(({ node }) => node);
    expect(outputs.length).toBeGreaterThan(6);
    const between = await liftGraphModel(graph, { outputs });
    for (const difference of await compare(between, 1)) expect(difference).toBeLessThan(typicalRounding(between.model));
    between.model.dispose();
  });
});
