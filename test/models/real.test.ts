/**
 * Real pretrained models, and the topologies of real ones with random weights, in every mode, on wasm.
 *
 * Tolerances. Predictions, relative to the largest output: each of the roundings in a net, one for each term of each sum
 * and 8 a layer for what follows it, moves the output by about 2⁻²⁴; they are independent, so N of them move it by √N,
 * and four standard deviations are 4 · 2⁻²⁴ · √N: 2e-5 for MobileNet v1 0.25, 6e-5 for ResNet50. A moving mean that is off
 * by 1 % in a single BN gives more (shown below).
 * Training curves: ReLU6 has kinks, at which a difference of rounding size switches a unit's gradient on or off; so the
 * gradients agree but for a few units. Losses over a few steps: 1e-3 of the loss.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, inspect, setMode } from 'tfjs-tune-mode';
import { fileIO } from '../../adapters/node/file-io';
import { useBackend } from '../helpers/backends';
import {
  batchNorms,
  changes,
  largestDifference,
  movingStatistics,
  predictions,
  randomTensor,
  seeded,
  snapshot,
  weightedLayers,
  weightValues,
} from '../helpers/models';
import { describeShared } from '../helpers/shared';
import { countPairs } from './topology';

beforeAll(() => useBackend('wasm'));

interface Real {
  folder: string;
  /** By class of conv, as ../shared/models/README.md says. */
  pairs: Record<string, number>;
  skipped: number;
  /** How many blocks take in their activation. */
  activations: number;
  /** One of the blocks. */
  block?: string;
  /** Of one picture. */
  shape: number[];
  /** What to compare where the model's own output is saturated on noise: 1 for one class, 0 for the others. */
  features?: (model: tfl.LayersModel) => tfl.SymbolicTensor;
}

const PRETRAINED: Real[] = [
  {
    folder: 'layers_mobilenet_v1_025_224',
    pairs: { Conv2D: 14, DepthwiseConv2D: 13 },
    skipped: 0,
    activations: 27,
    block: 'conv1 + conv1_bn + conv1_relu',
    shape: [224, 224, 3],
  },
  {
    folder: 'layers_facecls_emotion_mobilenet_v1',
    pairs: { Conv2D: 14, DepthwiseConv2D: 13 },
    skipped: 0,
    activations: 27,
    block: 'conv_dw_1 + conv_dw_1_bn + conv_dw_1_relu',
    shape: [64, 64, 1],
  },
  {
    folder: 'layers_tm_food_mobilenetv2_035',
    pairs: { Conv2D: 35, DepthwiseConv2D: 17 },
    skipped: 0,
    activations: 35,
    shape: [224, 224, 3],
    // A Sequential of two: MobileNet with pooling, and the classifier.
    features: (model) => (model.layers[0] as unknown as tfl.LayersModel).outputs[0],
  },
  {
    folder: 'layers_emosense_separable',
    pairs: { SeparableConv2D: 9 },
    skipped: 0,
    activations: 5, // after the other BNs comes a MaxPooling2D
    block: 'separable_conv2d_20 + batch_normalization_18 + leaky_re_lu_18',
    shape: [48, 48, 1],
  },
  { folder: 'layers_crepe_tiny', pairs: {}, skipped: 6, activations: 0, shape: [1024] },
  { folder: 'layers_catdog_cnn_bn', pairs: {}, skipped: 6, activations: 0, shape: [180, 180, 3] },
];

/** Cut at their last output: two of the files give out every layer, to be looked at. */
const TOPOLOGIES: Real[] = [
  {
    folder: 'topology_only/keras_resnet50',
    pairs: { Conv2D: 53 },
    skipped: 0,
    activations: 33,
    shape: [224, 224, 3],
    features: (model) => model.getLayer('avg_pool').output as tfl.SymbolicTensor,
  },
  { folder: 'topology_only/keras_inceptionv3', pairs: { Conv2D: 94 }, skipped: 0, activations: 94, shape: [96, 96, 3] },
  {
    folder: 'topology_only/pix2pix_unet_conv2dtranspose_bn',
    pairs: { Conv2D: 7, Conv2DTranspose: 7 },
    skipped: 0,
    activations: 11,
    block: 'sequential_1/conv2d_1 + sequential_1/batch_normalization + sequential_1/leaky_re_lu_1',
    shape: [256, 256, 3],
  },
];

function tally(kinds: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

function tolerance(model: tfl.LayersModel): number {
  let roundings = 0;
  for (const layer of weightedLayers(model)) {
    for (const { shape } of layer.weights) {
      const size = shape as number[];
      if (size.length > 1) roundings += size.slice(0, -1).reduce((a, b) => a * b, 1) + 8;
    }
  }
  return 4 * 2 ** -24 * Math.sqrt(roundings);
}

/** Equal bit by bit; `toEqual` takes minutes on arrays of this size. */
function identical(a: number[][], b: number[][]): boolean {
  const bytes = (values: number[]) => Buffer.from(Float32Array.from(values).buffer);
  return a.length === b.length && a.every((values, i) => bytes(values).equals(bytes(b[i])));
}

const picture = (shape: number[], batch = 1) => randomTensor([batch, ...shape], seeded(17));

/** A topology with random weights made from the manifest of its `model.json`. */
async function withRandomWeights(file: string): Promise<tfl.LayersModel> {
  const { modelTopology, weightsManifest } = JSON.parse(fs.readFileSync(file, 'utf8'));
  const weightSpecs: tf.io.WeightsManifestEntry[] = weightsManifest.flatMap(
    ({ weights }: { weights: tf.io.WeightsManifestEntry[] }) => weights,
  );
  const size = ({ shape }: { shape: number[] }) => shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(weightSpecs.reduce((total, spec) => total + size(spec), 0));
  const random = seeded(23);
  // Tens of millions of numbers are wanted: a block of them, whose length divides no layer's, is repeated.
  const block = Float32Array.from({ length: 65_537 }, random);
  let offset = 0;
  for (const spec of weightSpecs) {
    const { name, shape } = spec;
    spec.name = name.split('/').slice(-2).join('/'); // tfjs-layers knows weights of nested layers by their own names
    const count = size({ shape });
    const spread = shape.length > 1 ? Math.sqrt(3 / (count / Math.max(shape.at(-1)!, shape.at(-2)!))) : 0.5;
    const [low, high] = name.endsWith('variance') ? [0.2, 2] : name.endsWith('gamma') ? [0.5, 1.5] : [-spread, spread];
    for (let i = 0; i < count; i++) values[offset + i] = low + (high - low) * block[(offset + i) % block.length];
    offset += count;
  }
  const artifacts = { modelTopology, weightSpecs, weightData: values.buffer };
  return tfl.loadLayersModel(tf.io.fromMemory(artifacts as tf.io.ModelArtifacts));
}

describeShared('real models', (shared) => {
  const at = (folder: string) => path.join(shared, 'models', folder);
  const isTopology = (folder: string) => folder.startsWith('topology_only');
  const topologyOf = (folder: string) => {
    const { modelTopology } = JSON.parse(fs.readFileSync(path.join(at(folder), 'model.json'), 'utf8'));
    return modelTopology.model_config ?? modelTopology;
  };
  const load = (folder: string): Promise<tfl.LayersModel> => tfl.loadLayersModel(fileIO(at(folder)));
  const loadAsUsed = async (folder: string): Promise<tfl.LayersModel> => {
    if (!isTopology(folder)) return load(folder);
    const { inputs, outputs } = await withRandomWeights(path.join(at(folder), 'model.json'));
    return tfl.model({ inputs, outputs: outputs[outputs.length - 1] });
  };

  describe.each([...PRETRAINED, ...TOPOLOGIES])(
    '$folder',
    ({ folder, pairs, skipped, activations, block, shape, features }) => {
      let model: tfl.LayersModel;
      beforeAll(async () => {
        model = await loadAsUsed(folder);
      });
      afterAll(() => tf.disposeVariables());

      test('has the pairs that its topology says', () => {
        const report = inspect(model);
        expect(tally(report.skipped.map(({ code }) => code))).toEqual(
          skipped > 0 ? { 'conv-activation': skipped } : {},
        );
        expect(tally(report.pairs.map(({ kind }) => kind))).toEqual(pairs);
        expect(report.pairs.filter(({ activation }) => activation !== null)).toHaveLength(activations);
        expect(report.pairs.length + report.skipped.length).toBe(batchNorms(model).length);
        const written = report.pairs.map((pair) => `${pair.conv} + ${pair.bn} + ${pair.activation}`);
        if (block !== undefined) expect(written).toContain(block);

        const topology = topologyOf(folder);
        const { output_layers: outputs } = topology.config;
        if (outputs !== undefined) topology.config.output_layers = outputs.slice(-1);
        expect(countPairs(topology)).toEqual({ pairs, batchNorms: report.pairs.length + report.skipped.length });
      });

      test('predicts the same in eval and tune as untouched, and is untouched after train', () => {
        const x = picture(shape);
        const seen = features === undefined ? model : tfl.model({ inputs: model.inputs, outputs: features(model) });
        const untouched = predictions(seen, [x]);
        const [first, second = first] = untouched[0].map(Math.abs).sort((p, q) => q - p);
        expect(second / first).toBeGreaterThan(1e-3); // else there would be little to compare
        const before = snapshot(model);
        for (const mode of ['eval', 'tune'] as const) {
          setMode(model, mode);
          expect(largestDifference(predictions(seen, [x]), untouched)).toBeLessThan(tolerance(model));
        }
        setMode(model, 'train');
        expect(changes(before, snapshot(model))).toEqual([]);
        expect(identical(predictions(seen, [x]), untouched)).toBe(true);
        x.dispose();
      });
    },
  );

  test('a model that gives out the output of every conv has no pairs until it is cut', async () => {
    const model = await withRandomWeights(path.join(at('topology_only/keras_inceptionv3'), 'model.json'));
    const report = inspect(model);
    expect(tally(report.skipped.map(({ code }) => code))).toEqual({ 'conv-is-output': 94 });
    expect(report.pairs).toEqual([]);
    tf.disposeVariables();
  });

  test('the test of these tests: a moving mean that is off by 1 % in one BN is more than the tolerance', async () => {
    const model = await load('layers_mobilenet_v1_025_224');
    enableTuneMode(model);
    const x = picture([224, 224, 3]);
    const expected = predictions(model, [x]);
    const layer = model.getLayer('conv_pw_3_bn');
    layer.setWeights(layer.getWeights().map((w, i) => (i === 2 ? tf.mul(w, 1.01) : w)));
    expect(largestDifference(predictions(model, [x]), expected)).toBeGreaterThan(tolerance(model));
    tf.disposeVariables();
  });

  describe('training', () => {
    afterEach(() => tf.disposeVariables());

    /** Losses of some steps on one batch of noise with random labels. */
    async function curve(model: tfl.LayersModel, shape: number[], batch: number, steps: number): Promise<number[]> {
      const classes = model.outputs[0].shape.at(-1)!;
      const x = picture(shape, batch);
      const labels = tf.tensor1d(
        Array.from({ length: batch }, (_, i) => (i * 7) % classes),
        'int32',
      );
      const y = tf.oneHot(labels, classes);
      const losses: number[] = [];
      for (let i = 0; i < steps; i++) losses.push((await model.trainOnBatch(x, y)) as number);
      tf.dispose([x, y, labels]);
      return losses;
    }
    const compile = (model: tfl.LayersModel) =>
      model.compile({ optimizer: tf.train.momentum(0.001, 0.9), loss: 'categoricalCrossentropy' });

    test.each([
      ['layers_facecls_emotion_mobilenet_v1', [64, 64, 1], 4, 6],
      ['layers_emosense_separable', [48, 48, 1], 4, 4],
      ['layers_mobilenet_v1_025_224', [224, 224, 3], 1, 3],
    ] as const)('%s: one curve in eval and tune, moving statistics stay', async (folder, shape, batch, steps) => {
      const curves: number[][] = [];
      for (const mode of ['eval', 'tune'] as const) {
        const model = await load(folder);
        setMode(model, mode);
        // Seeds for the dropout layers, which these files do not give.
        model.layers.forEach((layer, i) => {
          if (layer.getClassName() === 'Dropout') (layer as unknown as { seed: number }).seed = 100 + i;
        });
        compile(model);
        const statistics = movingStatistics(model);
        curves.push(await curve(model, [...shape], batch, steps));
        expect(movingStatistics(model)).toEqual(statistics);
      }
      const [evaluated, tuned] = curves;
      expect(evaluated[steps - 1]).toBeLessThan(evaluated[0]);
      expect(largestDifference([tuned], [evaluated])).toBeLessThan(1e-3);
    });

    test('50 steps in tune leak nothing, and the way back to train is free of them too', async () => {
      const model = await load('layers_facecls_emotion_mobilenet_v1');
      compile(model);
      const before = tf.memory().numTensors;
      enableTuneMode(model);
      expect(tf.memory().numTensors).toBe(before);
      await curve(model, [64, 64, 1], 2, 1); // makes the optimizer's slots
      const { numTensors, numDataBuffers, numBytes } = tf.memory();
      await curve(model, [64, 64, 1], 2, 50);
      expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers, numBytes });
      setMode(model, 'train');
      expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers, numBytes });
    });
  });

  test('saved in tune they load in a process without this package, weights bit by bit, predictions equal', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tune-mode-real-'));
    try {
      const expected: Record<string, { y: number[][]; sum: number[]; tolerance: number }> = {};
      for (const { folder: name, shape } of PRETRAINED) {
        const model = await load(name);
        const x = picture(shape);
        const y = predictions(model, [x]);
        enableTuneMode(model);
        predictions(model, [x]);
        await model.save(fileIO(path.join(folder, name)));
        fs.writeFileSync(
          path.join(folder, name, 'input.json'),
          JSON.stringify({ shape: [1, ...shape], x: [...x.dataSync()] }),
        );
        expected[name] = { y, sum: Object.values(weightValues(model)).map(checksum), tolerance: tolerance(model) };
        tf.disposeVariables();
        x.dispose();
      }
      const output = execFileSync(process.execPath, ['-e', CHILD, folder, ...Object.keys(expected)], {
        cwd: path.resolve(__dirname, '../..'),
        encoding: 'utf8',
        maxBuffer: 2 ** 28,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const found = JSON.parse(output) as Record<string, { y: number[]; sum: number[] }>;
      for (const [name, { y, sum, tolerance }] of Object.entries(expected)) {
        expect([name, found[name].sum.sort()]).toEqual([name, sum.sort()]);
        // The child computes on cpu, this process on wasm: as with modes, another order of the same roundings.
        expect(largestDifference([found[name].y], y)).toBeLessThan(tolerance);
      }
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** Of the bits of an array. */
function checksum(values: number[]): number {
  return new Uint32Array(Float32Array.from(values).buffer).reduce((sum, bits) => (Math.imul(sum, 31) + bits) >>> 0, 7);
}

/** Plain tfjs: loads each folder, prints predictions and checksums of the weights. */
const CHILD = `
const fs = require('fs'), path = require('path');
const tf = require('@tensorflow/tfjs-core');
const tfl = require('@tensorflow/tfjs-layers');
require('@tensorflow/tfjs-backend-cpu');
const [root, ...names] = process.argv.slice(1);
const bytes = (file) => { const b = fs.readFileSync(file); return b.buffer.slice(b.byteOffset, b.byteOffset + b.length); };
const checksum = (t) =>
  new Uint32Array(t.dataSync().slice().buffer).reduce((sum, bits) => (Math.imul(sum, 31) + bits) >>> 0, 7);
(async () => {
  await tf.setBackend('cpu');
  const results = {};
  for (const name of names) {
    const at = (file) => path.join(root, name, file);
    const { modelTopology, weightsManifest } = JSON.parse(fs.readFileSync(at('model.json'), 'utf8'));
    const weightData = tf.io.concatenateArrayBuffers(weightsManifest.flatMap((g) => g.paths).map((p) => bytes(at(p))));
    const weightSpecs = weightsManifest.flatMap((g) => g.weights);
    const model = await tfl.loadLayersModel({ load: async () => ({ modelTopology, weightSpecs, weightData }) });
    const { shape, x } = JSON.parse(fs.readFileSync(at('input.json'), 'utf8'));
    const y = model.predict(tf.tensor(x, shape));
    results[name] = { y: Array.from(y.dataSync()), sum: model.weights.map((w) => checksum(w.read())) };
  }
  if (Object.keys(require.cache).some((file) => /tfjs-tune-mode|[/]src[/](modes|index)[.]ts/.test(file))) process.exit(3);
  process.stdout.write(JSON.stringify(results));
})().catch((error) => { console.error(error); process.exit(1); });
`;
