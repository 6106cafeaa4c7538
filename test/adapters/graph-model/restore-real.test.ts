/** Real nets whose true BN is known: deployed, restored, compared. */
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { inspect, setMode, toDeploy } from 'tfjs-tune-mode';
import { restoreBatchNorm } from '../../../adapters/graph-model/restore';
import { fileIO, loadPictureFolder } from '../../../adapters/node';
import { useBackend } from '../../helpers/backends';
import { applied, largestDifference, predictions, rounding, weightValues } from '../../helpers/models';
import { describeShared } from '../../helpers/shared';
import { free } from './restore-nets';

beforeAll(() => useBackend('wasm'));

describeShared('real models', (shared) => {
  const load = (folder: string) => tfl.loadLayersModel(fileIO(path.join(shared, 'models', folder)));
  const pictures = async (size: [number, number]) => {
    const data = await loadPictureFolder(path.join(shared, 'data', 'hymenoptera'), { imageSize: size, batchSize: 8 });
    return data.train;
  };

  test('MobileNet v1: the same outputs; in Train mode statistics near the stored ones', async () => {
    const original = await load('layers_mobilenet_v1_025_224');
    const source = toDeploy(original);
    const train = await pictures([224, 224]);
    const { model, report } = await restoreBatchNorm(source, train, { pictures: 32 });
    expect(report.convs.filter(({ state }) => state === 'restored')).toHaveLength(27);
    expect(report.convs.at(-1)).toMatchObject({ conv: 'conv_preds', state: 'skipped' });
    expect(inspect(model).pairs).toHaveLength(27);

    const x: tf.Tensor[] = [];
    for await (const { xs, ys } of train.batches({ epoch: 1, shuffle: true, augment: false })) {
      ys.dispose();
      x.push(xs);
      if (x.length === 2) break;
    }
    const expected = predictions(source, [x[0]]);
    // Twice, as b = β − s·μ is a difference (restore.test.ts).
    const within = 2 * (rounding(source) + rounding(model));
    for (const mode of ['eval', 'tune'] as const) {
      setMode(model, mode);
      expect(largestDifference(predictions(model, [x[0]]), expected)).toBeLessThan(within);
    }

    // Other pictures of the same set, 16 of them: by how much their statistics differ from the stored ones, in units of
    // the stored deviation and variance, in the middle one of all channels. Statistics of another layer, or of w′ where
    // those of w are wanted, are off by a factor.
    setMode(model, 'train');
    const [before, both] = [weightValues(model), tf.concat(x)];
    applied(model, [both], true);
    const after = weightValues(model);
    const off: number[] = [];
    for (const name of Object.keys(before).filter((each) => each.includes('moving_'))) {
      const variances = before[name.replace('mean', 'variance')];
      before[name].forEach((value, c) => {
        if (variances[c] < 1e-6) return;
        const size = name.includes('variance') ? variances[c] : Math.sqrt(variances[c]);
        off.push(Math.abs(after[name][c] - value) / 0.01 / size);
      });
    }
    off.sort((a, b) => a - b);
    expect(off[off.length >> 1]).toBeLessThan(0.15);
    tf.dispose([...x, both]);
    free(original, source, model);
  });

  test.each([
    ['layers_facecls_emotion_mobilenet_v1', { restored: 27 }],
    ['layers_tm_food_mobilenetv2_035', { restored: 52 }],
    // Conv2Ds with relu inside, then a BN: nothing was folded into them.
    ['layers_catdog_cnn_bn', { restored: 0 }],
  ])('%s, deployed, without pictures', async (folder, { restored }) => {
    const original = await load(folder);
    const source = toDeploy(original);
    const { model, report } = await restoreBatchNorm(source, undefined, { pictures: 4 });
    expect(report.convs.filter(({ state }) => state === 'restored')).toHaveLength(restored);
    const [, height, width, channels] = model.inputs[0].shape as number[];
    const x = tf.randomUniform([2, height, width, channels], -1, 1, 'float32', 5);
    expect(largestDifference(predictions(model, [x]), predictions(source, [x]))).toBeLessThan(
      2 * (rounding(source) + rounding(model)),
    );
    free(original, source, model);
    x.dispose();
  });
});
