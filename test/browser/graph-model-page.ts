/** Runs inside the browser: graphs of the zoo lifted, tuned and handed back, beside the packages that they come from. */
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import * as realCocoSsd from '@tensorflow-models/coco-ssd';
import * as realMobileNet from '@tensorflow-models/mobilenet';
import { getMode, TuneModeError } from 'tfjs-tune-mode';
import { liftGraphModel, restoreBatchNorm, saveGraphModel, toGraphModel } from 'tfjs-tune-mode/graph-model';
import { registerWasmTrainingKernels } from 'tfjs-tune-mode/wasm';
import { loadCocoSsd, loadLayers, loadMobileNet, type PictureInput, type Prediction } from 'tfjs-tune-mode/zoo';
import { drawn } from './drawn';

setWasmPaths('/root/node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/');
registerWasmTrainingKernels();

const RANGE: [number, number] = [0, 1];

/** What `run` gives, and how many tensors it leaves; of an error its code and message. */
async function counted<T extends object>(backend: string, run: () => Promise<T>): Promise<T & { left: number }> {
  const started = await tf.setBackend(backend);
  if (!started || tf.getBackend() !== backend) throw new Error(`the backend '${backend}' did not start`);
  const before = tf.memory().numTensors;
  const result = await run().catch((error) => {
    if (!(error instanceof TuneModeError)) throw error;
    return { code: error.code, message: error.message } as unknown as T;
  });
  return { ...result, left: tf.memory().numTensors - before };
}

/** The largest difference of two tensors; frees both. */
function difference(a: tf.Tensor, b: tf.Tensor): number {
  tf.util.assertShapesMatch(a.shape, b.shape);
  const result = tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]);
  tf.dispose([a, b]);
  return result;
}

/** What the packages' nets and detectors keep of their graph. */
const graphOf = (real: unknown) => (real as { model: { dispose(): void } }).model;

/** One picture in every form that a page has it in. */
async function forms(canvas: HTMLCanvasElement): Promise<Record<string, PictureInput>> {
  const img = new Image();
  img.src = canvas.toDataURL();
  await img.decode();
  const data = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
  return { canvas, img, data, bitmap: await createImageBitmap(canvas), small: drawn(50, 70) };
}

const realNet = (modelUrl: string) => realMobileNet.load({ version: 1, modelUrl, inputRange: RANGE });
/** Its types know URLs of the net only. */
const realDetector = (modelUrl: string) => realCocoSsd.load({ modelUrl });

/** Our net beside the package's. */
async function mobileNet(backend: string, modelUrl: string) {
  return counted(backend, async () => {
    const [real, net] = [await realNet(modelUrl), await loadMobileNet({ modelUrl, inputRange: RANGE })];
    const found: Record<string, object> = {};
    for (const [name, picture] of Object.entries(await forms(drawn(260, 200)))) {
      const given = picture as HTMLCanvasElement;
      const logits = net.infer(given);
      const { shape } = logits;
      const [mine, theirs] = [await net.classify(given, 5), await real.classify(given, 5)];
      const probabilities = mine.map(({ probability }, i) => Math.abs(probability - theirs[i].probability));
      found[name] = {
        shape,
        logits: difference(logits, real.infer(given)),
        embedding: difference(net.infer(given, true), real.infer(given, true)),
        mine: mine.map(({ className }) => className),
        theirs: theirs.map(({ className }) => className),
        probability: Math.max(...probabilities),
      };
    }
    const { pairs } = net.report;
    const result = { found, pairs: pairs.length, mode: getMode(net.model) };
    net.dispose();
    graphOf(real).dispose();
    return result;
  });
}

/** Fine-tuned, saved as a graph in IndexedDB, and taken from there by the package. */
async function tunedMobileNet(backend: string, modelUrl: string) {
  return counted(backend, async () => {
    const calibration = tf.fill([2, 224, 224, 3], 0.5);
    const net = await loadMobileNet({ modelUrl, inputRange: RANGE, calibration });
    const canvas = drawn(200, 240);
    const old = net.infer(canvas, true);
    const xs = tf.tidy(() =>
      tf.concat([tf.fill([4, 224, 224, 3], 0.9), tf.fill([4, 224, 224, 3], 0.1)]),
    ) as tf.Tensor4D;
    const ys = tf.tidy(() => tf.oneHot(tf.tensor1d([0, 0, 0, 0, 1, 1, 1, 1], 'int32'), 2)) as tf.Tensor2D;
    const set = { xs, ys };
    const { history, bestEpoch } = await net.fineTune(
      { classNames: ['bright', 'dark'], train: set, val: set },
      { epochs: 2, learningRate: 0.01, batchSize: 4, augment: false },
    );
    const best = history[bestEpoch];
    const { labels } = net;
    await saveGraphModel(net.lifted!, 'indexeddb://tuned', { model: net.model });
    const real = await realNet('indexeddb://tuned');
    const handedOver = real.infer(canvas, true);
    const result = {
      bestEpoch,
      accuracy: best.valAccuracy,
      labels,
      first: (await net.classify(lit(1, 1, 224), 1))[0].className,
      handedOver: difference(tf.clone(handedOver), net.infer(canvas, true)),
      changed: difference(handedOver, old),
    };
    tf.dispose([xs, ys, calibration]);
    net.dispose();
    graphOf(real).dispose();
    return result;
  });
}

/** A canvas, dark but for its upper left corner of the given shares. */
function lit(height: number, width: number, size = 80): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: size, height: size });
  const context = canvas.getContext('2d')!;
  context.fillStyle = 'rgb(0, 0, 0)';
  context.fillRect(0, 0, size, size);
  context.fillStyle = 'rgb(240, 240, 240)';
  context.fillRect(0, 0, size * width, size * height);
  return canvas;
}

/** Some steps of Adam on raw outputs towards one; the loss of each. */
function train(features: LayersModel, x: tf.Tensor, steps: number): number[] {
  const optimizer = tf.train.adam(5e-4);
  const loss = () =>
    (features.apply(x, { training: true }) as tf.Tensor[])
      .map((output) => tf.mean(tf.square(tf.sub(output, 1))))
      .reduce((a, b) => tf.add(a, b)) as tf.Scalar;
  const losses = Array.from({ length: steps }, () =>
    tf.tidy(() => (optimizer.minimize(loss, true) as tf.Scalar).dataSync()[0]),
  );
  optimizer.dispose();
  return losses;
}

/** Our detector beside the package's, before and after some steps. */
async function detector(backend: string, modelUrl: string) {
  return counted(backend, async () => {
    const calibration = tf.fill([2, 16, 16, 3], 100);
    const [real, mine] = [await realDetector(modelUrl), await loadCocoSsd({ modelUrl, calibration })];
    const pictures = Object.entries(await forms(lit(0.5, 0.5)));
    const both: Record<string, object[]> = {};
    for (const [name, picture] of pictures) {
      both[name] = [await mine.detect(picture), await real.detect(picture as HTMLCanvasElement)];
    }
    const dark = await mine.detect(lit(0, 0));
    const all = lit(1, 1);
    const before = await real.detect(all, 20, 0);
    const x = tf.fill([1, 16, 16, 3], 200);
    const losses = train(mine.features, x, 4);
    await saveGraphModel(mine.lifted, 'indexeddb://detector');
    const later = await realDetector('indexeddb://detector');
    both.tuned = [await mine.detect(all, 20, 0), await later.detect(all, 20, 0)];
    both.untuned = [await real.detect(all, 20, 0), before];
    const result = { both, dark, losses, backend: tf.getBackend() };
    tf.dispose([calibration, x]);
    mine.dispose();
    for (const each of [real, later]) each.dispose();
    return result;
  });
}

/** The graph, what it was lifted to with and without its BatchNorms, and what is written back. */
async function lifted(backend: string, modelUrl: string, shape: number[], outputs?: string[]) {
  return counted(backend, async () => {
    const graph = await loadGraphModel(modelUrl);
    const plain = await liftGraphModel(graph, outputs && { outputs });
    const restored = await restoreBatchNorm(plain, undefined, { pictures: 8, inputRange: RANGE });
    const written = await loadGraphModel(tf.io.fromMemory(await toGraphModel(restored)));
    const x = tf.randomUniform(shape, 0, 1, 'float32', 1);
    const ends = plain.outputs;
    const run = (of: typeof graph) => tf.tidy(() => [of.execute({ [plain.inputs[0]]: x }, ends)].flat());
    const wanted = run(graph);
    const against = (found: tf.Tensor | tf.Tensor[]) =>
      Math.max(...[found].flat().map((each, i) => difference(each, tf.clone(wanted[i]))));
    const differences = {
      plain: against(plain.model.predict(x) as tf.Tensor),
      restored: against(restored.model.predict(x) as tf.Tensor),
      written: against(run(written)),
    };
    const largest = Math.max(...wanted.map((each) => tf.tidy(() => tf.max(tf.abs(each)).dataSync()[0])));
    const batchNorms = restored.model.layers.filter((each) => each.getClassName() === 'BatchNormalization').length;
    tf.dispose([x, wanted]);
    for (const each of [graph, written, plain.model, restored.model]) each.dispose();
    return { differences, largest, batchNorms };
  });
}

/** An untouched net written back to IndexedDB, twice, and loaded from there. */
async function writtenBack(modelUrl: string) {
  return counted('cpu', async () => {
    const calibration = tf.fill([2, 224, 224, 3], 0.5);
    const load = (from: string) => loadMobileNet({ modelUrl: from, inputRange: RANGE, calibration });
    const classes: Prediction[][] = [];
    for (const from of [modelUrl, 'indexeddb://back', 'indexeddb://back']) {
      const net = await load(from);
      classes.push(await net.classify(drawn(90, 70), 3));
      await saveGraphModel(net.lifted!, 'indexeddb://back');
      net.dispose();
    }
    calibration.dispose();
    return { classes };
  });
}

/** What a loader alone gives: no other program asks the server. */
async function alone(kind: 'mobilenet' | 'coco-ssd' | 'layers', modelUrl: string) {
  return counted('cpu', async () => {
    const progress: number[] = [];
    const onProgress = (fraction: number) => void progress.push(fraction);
    if (kind === 'mobilenet') {
      const net = await loadMobileNet({ modelUrl, inputRange: RANGE, onProgress });
      const found: object[] = await net.classify(drawn(90, 70));
      net.dispose();
      return { found, progress };
    }
    if (kind === 'layers') return { found: [(await loadLayers(modelUrl)).metadata], progress };
    const mine = await loadCocoSsd({ modelUrl, onProgress });
    const found: object[] = await mine.detect(lit(0.5, 0.5));
    mine.dispose();
    return { found, progress };
  });
}

Object.assign(globalThis, { mobileNet, tunedMobileNet, detector, lifted, writtenBack, alone });
