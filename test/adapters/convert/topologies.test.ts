/**
 * The topologies of real nets, with random weights, through the rows of the table; tolerances are `convert`'s own. They are
 * large, so each kind of row is taken once. Two of the Keras nets give out every layer, to be looked at; they are cut at
 * their last output.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { fileIO } from 'tfjs-tune-mode/node';
import { openSource } from '../../../adapters/convert/open';
import type { LayersSource } from '../../../adapters/convert/source';
import { disposeWeights } from '../../../adapters/layers-model';
import { useBackend } from '../../helpers/backends';
import { seeded } from '../../helpers/models';
import { describeShared } from '../../helpers/shared';
import { graphTopologyArtifacts } from '../graph-model/coco-ssd-weights';
import { describeWithH5py } from '../keras/h5-python';
import { GRAPH_ROWS, LAYERS_ROWS, type Row, runRow, Sources } from './rows';

beforeAll(() => useBackend('wasm'));

/** BNs that Deploy folds: ../shared/models/README.md. */
const LAYERS: Record<string, number> = {
  keras_resnet50: 53,
  keras_inceptionv3: 94,
  pix2pix_unet_conv2dtranspose_bn: 14,
};
const GRAPHS: Record<string, number> = {
  coco_ssd_lite_mobilenet_v2: 21,
  coco_ssd_mobilenet_v1: 13,
  tfhub_mobilenet_v1_100_224: 0,
};

const isLean = ({ name }: Row) =>
  /^(as it is → layers, (tune|deploy|deploy, float16)|as it is → h5, tune|h5 → layers, deploy|weights .*|keras → layers, deploy)$/.test(
    name,
  );

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tune-mode-topologies-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/**
 * Weights such that activations keep their size; variances from 0.5 to 2, means and offsets around 0. The same 65,537
 * random numbers over and over: drawing 50 million takes most of a minute.
 */
function fillAtRandom(model: LayersModel): void {
  const random = seeded(7);
  const numbers = Float32Array.from({ length: 65537 }, () => 2 * random() - 1);
  for (const weight of model.weights) {
    const shape = weight.shape as number[];
    const size = shape.reduce((product, each) => product * each, 1);
    const values = new Float32Array(size);
    for (let at = 0; at < size; at += numbers.length) values.set(numbers.subarray(0, size - at), at);
    const [scale, offset] = rangeOf(weight.originalName, shape);
    tf.tidy(() => {
      weight.write(tf.add(tf.mul(tf.tensor(values, shape), scale), offset));
    });
  }
}

function rangeOf(name: string, shape: readonly number[]): [scale: number, offset: number] {
  if (name.endsWith('moving_variance')) return [0.75, 1.25];
  if (name.endsWith('gamma')) return [0.5, 1];
  if (shape.length === 1) return [0.3, 0.1];
  // A transposed convolution takes its inputs on the last axis.
  const inputs = name.includes('transpose')
    ? shape[3] * 4
    : shape.slice(0, -1).reduce((product, each) => product * each, 1);
  return [Math.sqrt(6 / inputs), 0];
}

function cutAtTheEnd(file: string): object {
  const json = JSON.parse(fs.readFileSync(file, 'utf8'));
  const { config } = json.modelTopology.model_config;
  config.output_layers = config.output_layers.slice(-1);
  return json;
}

/** One at a time on disk: the largest has 217 MB. */
async function place(name: string, write: (target: string) => Promise<void>): Promise<Sources> {
  const target = path.join(folder, name, 'source');
  if (!fs.existsSync(target)) {
    for (const other of fs.readdirSync(folder)) fs.rmSync(path.join(folder, other), { recursive: true });
    await write(target);
  }
  return new Sources(target, path.join(folder, name));
}

async function run(row: Row, sources: Sources) {
  const out = fs.mkdtempSync(path.join(folder, 'out-'));
  try {
    return await runRow(row, sources, out);
  } finally {
    fs.rmSync(out, { recursive: true });
  }
}

describeShared('topologies of layers models', (shared) => {
  const sourcesOf = (name: string) =>
    place(name, async (target) => {
      const file = path.join(folder, name, 'cut.json');
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(
        file,
        JSON.stringify(cutAtTheEnd(path.join(shared, 'models/topology_only', name, 'model.json'))),
      );
      const source = (await openSource(file, { withoutWeights: true })) as LayersSource;
      const model = await source.build();
      fillAtRandom(model);
      await model.save(fileIO(target));
      disposeWeights(model);
    });
  describeWithH5py('each kind of row', () => {
    describe.each(Object.keys(LAYERS))('%s', (name) => {
      test.each(LAYERS_ROWS.filter(isLean))('$name', async (row) => {
        const report = await run(row, await sourcesOf(name));
        expect(report.folded).toBe(row.options.mode === 'deploy' ? LAYERS[name] : 0);
        expect(report.kept).toEqual([]);
        for (const { largestValue } of report.verification?.outputs ?? []) expect(largestValue).toBeGreaterThan(0);
      });
    });
  });
});

describeShared('topologies of graphs', (shared) => {
  const sourcesOf = (name: string) =>
    place(name, async (target) => {
      await fileIO(target).save(graphTopologyArtifacts(shared, name));
    });
  describe.each(Object.keys(GRAPHS))('%s', (name) => {
    test.each(GRAPH_ROWS)('$name', async (row) => {
      const before = tf.memory().numTensors;
      const report = await run(row, await sourcesOf(name));
      expect(report.folded).toBe(report.output.mode === 'deploy' ? GRAPHS[name] : 0);
      expect(tf.memory().numTensors).toBe(before);
    });
  });
});
