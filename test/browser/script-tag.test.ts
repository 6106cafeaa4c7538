/**
 * The single-file build in a page without a bundler: a script tag beside those of tfjs, whose one global `tf` it takes
 * everything from.
 *
 * Tolerance: float32 in a net of three weighted layers, sums of at most 54 terms: 1e-4 of the largest output leaves a
 * factor of 10 (`rounding` in `../helpers/models.ts`); a wrong fold is off by 1e-2 or more. The graph has two weighted
 * layers and sums of at most 27 terms: the same bound.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as root from 'tfjs-tune-mode';
import * as fineTuneEntry from 'tfjs-tune-mode/fine-tune';
import * as graphEntry from 'tfjs-tune-mode/graph-model';
import * as wasmEntry from 'tfjs-tune-mode/wasm';
import { GraphBuilder } from '../adapters/graph-model/graphs';
import { graphFiles, under } from '../zoo/models';
import { type Server, startServer } from '../zoo/server';
import { describeBrowser, type Site, startSite } from './chromium';

const ROOT = path.resolve(__dirname, '../..');
const OURS = 'dist/tfjs-tune-mode.min.js';
const TFJS = 'node_modules/@tensorflow';
const backend = (name: string) => `${TFJS}/tfjs-backend-${name}/dist/tf-backend-${name}.min.js`;
const WHOLE = `${TFJS}/tfjs/dist/tf.min.js`;
const PARTS = [`${TFJS}/tfjs-core/dist/tf-core.min.js`, `${TFJS}/tfjs-layers/dist/tf-layers.min.js`];
const CONVERTER = `${TFJS}/tfjs-converter/dist/tf-converter.min.js`;

const html = (...scripts: string[]) =>
  `<!doctype html><title>test</title>${scripts.map((file) => `<script src="/root/${file}"></script>`).join('')}`;

const PAGES = {
  whole: html(WHOLE, backend('wasm'), backend('webgpu'), OURS),
  parts: html(...PARTS, backend('webgl'), backend('wasm'), OURS),
  converter: html(...PARTS, CONVERTER, backend('cpu'), OURS),
  'without-wasm': html(WHOLE, OURS),
};

// The page's globals, for the functions below, which run there.
declare const tf: typeof import('@tensorflow/tfjs') & { wasm: { setWasmPaths(prefix: string): void } };
declare const tuneMode: typeof import('../../adapters/script-tag');

/** What a page does, in Tune mode from the first step to the deployed model. */
async function tuneSmallNet(backendName: string) {
  if (backendName === 'wasm') {
    tf.wasm.setWasmPaths('/root/node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/');
    tuneMode.registerWasmTrainingKernels();
  }
  await tf.setBackend(backendName);
  const model = tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [8, 8, 3], filters: 6, kernelSize: 3, padding: 'same' }),
      tf.layers.batchNormalization(),
      tf.layers.reLU({ maxValue: 6 }),
      tf.layers.depthwiseConv2d({ kernelSize: 3, depthwiseInitializer: 'glorotNormal' }),
      tf.layers.batchNormalization(),
      tf.layers.leakyReLU(),
      tf.layers.globalAveragePooling2d({}),
      tf.layers.dense({ units: 2 }),
    ],
  });
  for (const layer of model.layers.filter((l) => l.getClassName() === 'BatchNormalization')) {
    const row = (low: number, high: number, seed: number) => tf.randomUniform([6], low, high, 'float32', seed);
    layer.setWeights([row(0.5, 2, 1), row(-0.5, 0.5, 2), row(-1, 1, 3), row(0.2, 3, 4)]);
  }
  const readStatistics = () => {
    const weights = model.weights.filter(({ originalName }) => originalName.includes('moving_'));
    return Promise.all(weights.map(async (weight) => [...(await weight.read().data())]));
  };
  const before = await readStatistics();
  const x = tf.randomUniform([8, 8, 8, 3], -1, 1, 'float32', 5);
  const y = tf.randomUniform([8, 2], -1, 1, 'float32', 6);
  const difference = async (a: unknown, b: unknown) => {
    const [p, q] = [a as import('@tensorflow/tfjs').Tensor, b as import('@tensorflow/tfjs').Tensor];
    return (await tf.div(tf.max(tf.abs(tf.sub(p, q))), tf.max(tf.abs(p))).data())[0];
  };
  tuneMode.setMode(model, 'eval');
  const evaluated = model.predict(x);
  const { pairs } = tuneMode.enableTuneMode(model);
  const tuned = await difference(evaluated, model.predict(x));
  model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
  const { history } = await model.fit(x, y, { epochs: 4, batchSize: 4, verbose: 0 });
  const after = await readStatistics();
  const [first, last] = [history.loss[0], history.loss[3]].map(Number);
  const deployed = await difference(model.predict(x), tuneMode.toDeploy(model).predict(x));
  const labels = tf.cast(tf.oneHot(tf.tensor1d([0, 1, 0, 1, 0, 1, 0, 1], 'int32'), 2), 'float32');
  const data = { xs: x as import('@tensorflow/tfjs').Tensor4D, ys: labels as import('@tensorflow/tfjs').Tensor2D };
  const { ending } = await tuneMode.fineTune(model, { classNames: ['a', 'b'], train: data, val: data }, { epochs: 1 });
  return {
    backend: tf.getBackend(),
    pairs: pairs.length,
    tuned,
    deployed,
    learns: last < first,
    statistics: before.length,
    statisticsMoved: JSON.stringify(before) !== JSON.stringify(after),
    ending,
  };
}

/** A net with a folded BN, and with a padding that no Keras layer has. */
function paddedGraph() {
  const g = new GraphBuilder(3);
  const x = g.placeholder('picture', [null, 10, 10, 3]);
  const border = g.ints('border', [0, 0, 1, 1, 1, 1, 0, 0], [4, 2]);
  const padded = g.node('MirrorPad', 'padded', [x, border], { mode: 'REFLECT' });
  const fused = { op: '_FusedConv2D', fused_ops: ['BiasAdd', 'Relu6'], num_args: 1, padding: 'VALID' };
  const relu = g.conv('conv/Relu6', padded, [3, 3, 3, 6], fused, [g.constant('conv/bias', [6])]);
  const pooled = g.node('Mean', 'pooled', [relu, g.ints('axes', [1, 2])], { keep_dims: false });
  g.node('MatMul', 'logits', [pooled, g.constant('kernel', [6, 4])], { transpose_a: false, transpose_b: false });
  return g.artifacts();
}

/** What a page does with a graph: lifted from tfjs's own model, restored, saved, trained, and written back. */
async function tuneGraph([backendName, url]: readonly [string, string]) {
  if (backendName === 'wasm') {
    tf.wasm.setWasmPaths('/root/node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/');
    tuneMode.registerWasmTrainingKernels();
  }
  await tf.setBackend(backendName);
  const before = tf.memory().numTensors;
  const graph = await tf.loadGraphModel(url);
  const lifted = await tuneMode.liftGraphModel(graph);
  const fromUrl = await tuneMode.liftGraphModel(url);
  const restored = await tuneMode.restoreBatchNorm(lifted, undefined, { pictures: 8 });
  const x = tf.randomUniform([4, 10, 10, 3], -1, 1, 'float32', 5);
  type Computing = { predict(x: import('@tensorflow/tfjs').Tensor): unknown };
  const outputs = ({ predict }: Computing, model: Computing) =>
    predict.call(model, x) as import('@tensorflow/tfjs').Tensor;
  const difference = (a: Computing, b: Computing) =>
    tf.tidy(() => {
      const [p, q] = [outputs(a, a), outputs(b, b)];
      return tf.div(tf.max(tf.abs(tf.sub(p, q))), tf.max(tf.abs(p))).dataSync()[0];
    });
  const differences: Record<string, number> = {
    lifted: difference(graph, lifted.model),
    fromUrl: difference(graph, fromUrl.model),
    restored: difference(graph, restored.model),
  };
  // A layers model with a layer of ours: tfjs builds it, since the script has registered the class.
  await restored.model.save('indexeddb://script-tag-layers');
  const again = await tf.loadLayersModel('indexeddb://script-tag-layers');
  differences.again = difference(graph, again);
  const optimizer = tf.train.adam(0.01);
  const target = tf.ones([4, 4]);
  const step = () =>
    tf.tidy(() => {
      const loss = () => tf.losses.meanSquaredError(target, restored.model.apply(x, { training: true }) as never);
      return (optimizer.minimize(loss as never, true) as import('@tensorflow/tfjs').Scalar).dataSync()[0];
    });
  const losses = [step(), step(), step()];
  await tuneMode.saveGraphModel(restored, 'indexeddb://script-tag-graph');
  const tuned = await tf.loadGraphModel('indexeddb://script-tag-graph');
  const same = await tf.loadGraphModel(tf.io.fromMemory(await tuneMode.toGraphModel(restored)));
  differences.tuned = difference(restored.model, tuned);
  differences.same = difference(tuned, same);
  const moved = difference(graph, tuned);
  const result = {
    differences,
    moved,
    losses,
    operations: lifted.model.layers.filter((layer) => layer instanceof tuneMode.GraphOperation).length,
    pairs: tuneMode.inspect(restored.model).pairs.length,
  };
  optimizer.dispose();
  tf.dispose([x, target]);
  for (const model of [graph, tuned, same, lifted.model, fromUrl.model, restored.model, again]) model.dispose();
  return { ...result, left: tf.memory().numTensors - before };
}

test('holds no copy of tfjs', () => {
  const read = (file: string) => fs.readFileSync(path.join(ROOT, file), 'utf8');
  // Each is in the code of one of the packages, whatever a minifier makes of it.
  const marks = ['_tfengine', 'Cannot evaluate flag', 'TOPOLOGICAL_SORT_CACHE_MAX_ENTRIES', 'GlorotNormal'];
  const tfjs = PARTS.map(read).join('');
  const found = (code: string) => marks.filter((mark) => code.includes(mark));
  expect(found(tfjs)).toEqual(marks);
  // The flag by which we empty a cache of tfjs-layers is the one name that both know.
  expect(found(read(OURS))).toEqual(['TOPOLOGICAL_SORT_CACHE_MAX_ENTRIES']);
  expect(read(OURS)).not.toMatch(/\b(require|import)\b ?\(/);
  // What it takes from outside are names in `tf`, of scripts that every page has: not tfjs-converter's.
  expect(read(OURS)).toMatch(/\}\)\(\{\}(,tf)+\);\s*$/);
});

describeBrowser('in Chromium', () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite(PAGES);
  });
  afterAll(() => site?.close());

  const open = async (name: keyof typeof PAGES) => {
    const complaints: string[] = [];
    return { page: await site.open(name, complaints), complaints };
  };

  test.each([
    ['whole', 'webgl'],
    ['whole', 'wasm'],
    ['whole', 'webgpu'],
    ['whole', 'cpu'],
    ['parts', 'webgl'],
    ['parts', 'wasm'],
  ] as const)("tunes a net beside tfjs's scripts (%s) on %s", async (name, backendName) => {
    const { page, complaints } = await open(name);
    const result = await page.evaluate(tuneSmallNet, backendName);
    expect(result).toMatchObject({
      backend: backendName,
      pairs: 2,
      learns: true,
      statistics: 4,
      statisticsMoved: false,
    });
    expect(result.tuned).toBeLessThan(1e-4);
    expect(result.deployed).toBeLessThan(1e-4);
    expect(result.ending).toBe('finished');
    // A second copy of tfjs-core says that platforms and backends have been registered already.
    expect(complaints.filter((text) => !/reading data from GPU|ReadPixels/.test(text))).toEqual([]);
    await page.close();
  });

  describe('graphs', () => {
    let server: Server;
    beforeAll(async () => {
      server = await startServer(under('/graph', graphFiles(paddedGraph())));
    });
    afterAll(() => server?.close());

    test.each([
      ['whole', 'cpu'],
      ['whole', 'wasm'],
      ['whole', 'webgl'],
      ['converter', 'cpu'],
    ] as const)("lifts and hands back what tfjs's script has loaded (%s) on %s", async (name, backendName) => {
      const { page, complaints } = await open(name);
      const result = await page.evaluate(tuneGraph, [backendName, `${server.address}/graph/model.json`] as const);
      expect(result).toMatchObject({ operations: 1, pairs: 1, left: 0 });
      for (const [what, difference] of Object.entries(result.differences)) {
        expect([what, difference < 1e-4]).toEqual([what, true]);
      }
      expect(result.moved).toBeGreaterThan(1e-2);
      expect(result.losses[2]).toBeLessThan(result.losses[0]);
      expect(complaints.filter((text) => !/reading data from GPU|ReadPixels/.test(text))).toEqual([]);
      await page.close();
    });
  });

  test('gives the names of all entries that a page can use', async () => {
    const { page } = await open('without-wasm');
    const names = await page.evaluate(() => Object.keys(tuneMode).sort());
    const entries = [root, fineTuneEntry, graphEntry, wasmEntry];
    const wanted = entries.flatMap((entry) => Object.keys(entry));
    expect(names).toEqual(wanted.sort());
    await page.close();
  });

  test("says what is missing where tfjs's wasm script is", async () => {
    const { page } = await open('without-wasm');
    const said = await page.evaluate(() => {
      try {
        tuneMode.registerWasmTrainingKernels();
        return 'nothing';
      } catch (error) {
        return error instanceof tuneMode.TuneModeError ? `${error.code}: ${error.message}` : String(error);
      }
    });
    expect(said).toMatch(/^backend-unavailable: .*kernel 'Conv2D'/);
    await page.close();
  });
});
