/**
 * coco-ssd's two graphs with random weights: the trainable part is found between the loop that resizes pictures and the
 * decoding of boxes, and gives what the graph gives there.
 */
import path from 'node:path';
import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import { inspect } from 'tfjs-tune-mode';
import { loadPicture } from 'tfjs-tune-mode/node';
import { type LiftedModel, liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { describeShared } from '../../helpers/shared';
import {
  COCO_SSD_BOXES,
  COCO_SSD_LOGITS,
  type CocoSsdBase,
  cocoSsdAnchors,
  cocoSsdArtifacts,
} from './coco-ssd-weights';
import { largestDifferences, typicalRounding } from './compare-graphs';
import { handlerOf } from './graphs';

const CUT = 'Preprocessor/map/TensorArrayStack/TensorArrayGatherV3';
const BASES: { base: CocoSsdBase; folded: number; affine: number }[] = [
  // 6 maps have 2 predictors each: a depthwise and a pointwise convolution, all of them folded.
  { base: 'lite_mobilenet_v2', folded: 67, affine: 21 },
  { base: 'mobilenet_v1', folded: 34, affine: 13 },
];

describeShared('coco-ssd', (shared) => {
  beforeAll(() => useBackend('wasm'));

  describe.each(BASES)('$base', ({ base, folded, affine }) => {
    let graph: GraphModel;
    let lifted: LiftedModel;
    beforeAll(async () => {
      graph = await loadGraphModel(handlerOf(cocoSsdArtifacts(shared, base)));
      lifted = await liftGraphModel(graph, { outputs: ['Squeeze', 'concat_1'] });
    });
    afterAll(() => {
      lifted.model.dispose();
      graph.dispose();
    });

    test('it begins behind the loop, at 300 × 300, and ends with raw boxes and logits', async () => {
      expect(lifted.inputs).toEqual([CUT]);
      expect(lifted.model.inputs.map(({ shape }) => shape)).toEqual([[null, 300, 300, 3]]);
      expect(lifted.model.outputs.map(({ shape }) => shape)).toEqual([
        [null, COCO_SSD_BOXES, 4],
        [null, COCO_SSD_BOXES, COCO_SSD_LOGITS],
      ]);
      const found = await liftGraphModel(graph);
      // Without outputs: as far as it can be lifted. Sigmoid can, what decodes boxes cannot.
      expect(found.inputs).toEqual([CUT]);
      expect(found.outputs.sort()).toEqual(['Postprocessor/convert_scores', 'Squeeze']);
      found.model.dispose();
    });

    test(`${folded} folded and ${affine} affine blocks, and no other`, () => {
      const count = (form: string) => lifted.products.filter((product) => product.form === form).length;
      expect({ folded: count('folded'), affine: count('affine') }).toEqual({ folded, affine });
      expect(lifted.products).toHaveLength(folded + affine);
      const report = inspect(lifted.model);
      expect(report.pairs.map(({ bn }) => bn).sort()).toEqual(
        lifted.products.flatMap(({ batchNorm }) => batchNorm ?? []).sort(),
      );
      expect(report.skipped).toEqual([]);
      expect(lifted.report.ownLayers).toEqual([]);
      // Every depthwise convolution of the backbone has kept its s; no pointwise one has.
      expect(lifted.products.filter(({ form, op }) => form === 'affine' && op !== 'DepthwiseConv2dNative')).toEqual([]);
    });

    test('a picture through the graph and through the lifted part', async () => {
      const file = path.join(shared, 'data/imagenet_samples/n01601694_water_ouzel.jpg');
      const before = tf.memory().numTensors;
      const picture = await loadPicture(file, { imageSize: 200, inputRange: [0, 255] });
      const input = tf.tidy(() => tf.cast(tf.expandDims(picture, 0), 'int32'));
      const outputs = (await graph.executeAsync(input, [CUT, ...lifted.outputs])) as tf.Tensor[];
      const [resized, ...expected] = outputs;
      const found = lifted.model.predict(resized) as tf.Tensor[];
      const differences = largestDifferences(found, expected);
      tf.dispose([picture, input, outputs, found]);
      expect(tf.memory().numTensors).toBe(before);
      // Up to 2.7e-5 (lite v2) and 1.9e-6 (v1) when this was written.
      for (const difference of differences) expect(difference).toBeLessThan(typicalRounding(lifted.model));
    });

    test('the anchors are those that the graph computes', async () => {
      const input = tf.zeros([1, 64, 80, 3], 'int32');
      const tiled = (await graph.executeAsync(input, ['Postprocessor/Tile'])) as tf.Tensor;
      const differences = largestDifferences([tiled], [tf.tensor(cocoSsdAnchors(), tiled.shape)]);
      expect(differences[0]).toBeLessThan(4 * 2 ** -24);
      tf.dispose([input, tiled]);
    });
  });
});
