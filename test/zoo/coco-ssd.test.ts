/** loadCocoSsd beside the package whose place it takes: on a detector with a known result, and on the real graphs. */
import * as tf from '@tensorflow/tfjs-core';
import * as realCocoSsd from '@tensorflow-models/coco-ssd';
import { CLASSES } from '@tensorflow-models/coco-ssd/dist/classes';
import { type CocoSsd, type CocoSsdOptions, loadCocoSsdOn } from '../../zoo/coco-ssd';
import { nodePlatform } from '../../zoo/node-platform';
import { type CocoSsdBase, cocoSsdAnchors, cocoSsdArtifacts } from '../adapters/graph-model/coco-ssd-weights';
import { useBackend } from '../helpers/backends';
import { random } from '../helpers/random';
import { describeShared } from '../helpers/shared';
import { tinyDetector } from './graphs';

beforeAll(() => useBackend('wasm'));

const load = (options?: CocoSsdOptions) => loadCocoSsdOn(nodePlatform, options);
const loadTiny = () => load({ modelUrl: tf.io.fromMemory(tinyDetector()) });
const loadReal = (artifacts: tf.io.ModelArtifacts, base?: CocoSsdBase) =>
  realCocoSsd.load({ base, modelUrl: tf.io.fromMemory(artifacts) as never }); // its types know URLs only

/** 60 × 80 pixels, dark but for one quarter. */
const litQuarter = (row: number, column: number) =>
  tf.tidy(() => {
    const lit = tf.fill([30, 40, 3], 240, 'int32');
    return tf.pad(lit, [
      [row * 30, (1 - row) * 30],
      [column * 40, (1 - column) * 40],
      [0, 0],
    ]) as tf.Tensor3D;
  });

/** Steps of gradient descent on raw outputs towards targets; the losses before and after. */
function train({ features }: CocoSsd, x: tf.Tensor, steps: number, rate: number): number[] {
  const targets = features.outputs.map(({ shape }, i) =>
    tf.tensor(random(i + 1).array((shape[1] as number) * (shape[2] as number)), [1, ...(shape.slice(1) as number[])]),
  );
  const optimizer = tf.train.adam(rate);
  const loss = () =>
    (features.apply(x, { training: true }) as tf.Tensor[])
      .map((output, i) => tf.mean(tf.square(tf.sub(output, targets[i]))))
      .reduce((a, b) => tf.add(a, b)) as tf.Scalar;
  const losses = [tf.tidy(() => loss().dataSync()[0])];
  for (let step = 0; step < steps; step++) {
    const value = optimizer.minimize(loss, true) as tf.Scalar;
    value.dispose();
    losses.push(tf.tidy(() => loss().dataSync()[0]));
  }
  optimizer.dispose();
  tf.dispose(targets);
  return losses;
}

describe('on a detector with a known result', () => {
  test.each([
    [0, 0],
    [0, 1],
    [1, 0],
  ])('a person in the quarter %i, %i, as the real package finds it', async (row, column) => {
    const detector = await loadTiny();
    const real = await loadReal(tinyDetector());
    const image = litQuarter(row, column);
    const found = await detector.detect(image);
    expect(found).toHaveLength(1);
    expect(found[0].class).toBe('person');
    // Its box is the cell, exactly; the score is sigmoid(20 · (240 / 255 − ½)) = 0.99985, to float32.
    expect(found[0].bbox).toEqual([column * 40, row * 30, 40, 30]);
    expect(found[0].score).toBeCloseTo(1 / (1 + Math.exp(-20 * (240 / 255 - 0.5))), 5);
    const [theirs] = await real.detect(image);
    expect(found[0].bbox).toEqual(theirs.bbox);
    expect(Math.abs(found[0].score - theirs.score)).toBeLessThan(1e-6);
    detector.dispose();
  });

  test('nothing in the dark, and nothing under a higher least score', async () => {
    const detector = await loadTiny();
    expect(await detector.detect(tf.zeros([60, 80, 3], 'int32') as tf.Tensor3D)).toEqual([]);
    expect(await detector.detect(litQuarter(0, 0), 20, 0.9999)).toEqual([]);
    expect(await detector.detect(litQuarter(0, 0), 20, 0.999)).toHaveLength(1);
    detector.dispose();
  });

  test('features begin behind the resizing, and anchors are the graph’s', async () => {
    const detector = await loadTiny();
    expect(detector.lifted.inputs).toEqual(['Preprocessor/stack']);
    expect(detector.features.inputs[0].shape).toEqual([null, 16, 16, 3]);
    expect(detector.features.outputs.map(({ shape }) => shape)).toEqual([
      [null, 4, 4],
      [null, 4, 3],
    ]);
    expect(Array.from(detector.anchors.dataSync()).slice(0, 8)).toEqual([0, 0, 0.5, 0.5, 0, 0.5, 0.5, 1]);
    // The predictors of boxes and classes have no BN to get back.
    expect(detector.lifted.products.filter(({ batchNorm }) => batchNorm !== null)).toHaveLength(1);
    detector.dispose();
  });

  test('detect follows the weights of features, and so does the graph handed back', async () => {
    const detector = await loadTiny();
    const x = tf.mul(tf.randomUniform([1, 16, 16, 3], 0, 1, 'float32', 4), 255);
    const losses = train(detector, x, 60, 0.1);
    expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]);
    const image = litQuarter(1, 1);
    const real = await loadReal(await detector.toGraphModel());
    const [mine, theirs] = [await detector.detect(image, 20, 0), await real.detect(image, 20, 0)];
    expect(mine.length).toBeGreaterThan(0);
    expect(theirs.map((each) => each.class)).toEqual(mine.map((each) => each.class));
    theirs.forEach((each, i) => {
      expect(Math.abs(each.score - mine[i].score)).toBeLessThan(1e-5);
      each.bbox.forEach((side, at) => {
        expect(Math.abs(side - mine[i].bbox[at])).toBeLessThan(1e-3);
      });
    });
    // It did change something.
    const before = await loadReal(tinyDetector());
    expect(Math.abs((await before.detect(image, 20, 0))[0].bbox[0] - mine[0].bbox[0])).toBeGreaterThan(0.1);
    detector.dispose();
  });

  test('leaves no tensor behind, nor when it fails', async () => {
    (await loadTiny()).dispose();
    const before = tf.memory().numTensors;
    const detector = await loadTiny();
    const image = litQuarter(0, 0);
    await detector.detect(image);
    image.dispose();
    detector.dispose();
    detector.dispose();
    expect(tf.memory().numTensors).toBe(before);
    await expect(detector.detect(litQuarter(0, 0))).rejects.toMatchObject({ code: 'model-disposed' });
    await expect(load({ modelUrl: tf.io.fromMemory(tinyDetector()), calibration: [] })).rejects.toMatchObject({
      code: 'invalid-data',
    });
    expect(tf.memory().numTensors).toBe(before + 1);
  });
});

describe('what is refused', () => {
  const offline = { fetchFunc: () => Promise.reject(new TypeError('fetch failed')), cache: false } as const;

  test('an unknown base, or option', async () => {
    await expect(load({ base: 'mobilenet_v3' as never })).rejects.toMatchObject({ code: 'invalid-option' });
    await expect(load({ bases: 'mobilenet_v2' } as never)).rejects.toMatchObject({ code: 'invalid-option' });
  });

  test.each([
    [undefined, 'ssdlite_mobilenet_v2'],
    ['mobilenet_v1', 'ssd_mobilenet_v1'],
    ['mobilenet_v2', 'ssd_mobilenet_v2'],
  ] as const)('offline, %s: one sentence with the package’s own URL, and how to pass a copy', async (base, folder) => {
    await expect(load({ ...offline, base })).rejects.toMatchObject({
      code: 'download-failed',
      message: expect.stringMatching(new RegExp(`savedmodel/${folder}/model\\.json.*modelUrl`)),
    });
  });

  test('a graph that is no detector', async () => {
    const { modelTopology, ...rest } = tinyDetector();
    const node = (modelTopology as { node: { name: string }[] }).node.map((each) =>
      JSON.parse(JSON.stringify(each).replaceAll('convert_scores', 'scores')),
    );
    const modelUrl = tf.io.fromMemory({ ...rest, modelTopology: { node } });
    await expect(load({ modelUrl })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('class logits'),
    });
  });
});

/** The package knows 80 of the 91 numbers of a class: random weights must not choose another one. */
function withKnownClasses(artifacts: tf.io.ModelArtifacts): tf.io.ModelArtifacts {
  const bytes = new Uint8Array(artifacts.weightData as ArrayBuffer).slice();
  let at = 0;
  for (const { name, shape } of artifacts.weightSpecs ?? []) {
    const length = shape.reduce((a, b) => a * b, 1);
    if (/ClassPredictor\/biases/.test(name)) {
      const biases = new Float32Array(bytes.buffer.slice(at, at + 4 * length));
      const unlikely = biases.map((bias, i) => (i % 91 in CLASSES ? bias : -50));
      bytes.set(new Uint8Array(unlikely.buffer), at);
    }
    at += 4 * length;
  }
  return { ...artifacts, weightData: bytes.buffer };
}

describeShared('on the real graphs, with random weights', (shared) => {
  const BASES: { base: CocoSsdBase; blocks: number }[] = [
    { base: 'lite_mobilenet_v2', blocks: 88 },
    { base: 'mobilenet_v1', blocks: 47 },
  ];

  test.each(BASES)('$base: detects as the package does, trains, and is handed back', async ({ base, blocks }) => {
    const artifacts = withKnownClasses(cocoSsdArtifacts(shared, base));
    const calibration = tf.mul(tf.randomUniform([2, 300, 300, 3], 0, 1, 'float32', 8), 255);
    const detector = await load({ base, modelUrl: tf.io.fromMemory(artifacts), calibration });
    expect(detector.lifted.products).toHaveLength(blocks);
    // Anchors as the object detection API makes them, to float32.
    const anchors = cocoSsdAnchors();
    expect(detector.anchors.shape).toEqual([anchors.length / 4, 4]);
    detector.anchors.dataSync().forEach((value, i) => {
      expect(Math.abs(value - anchors[i])).toBeLessThan(1e-6);
    });
    const image = tf.cast(tf.mul(tf.randomUniform([120, 160, 3], 0, 1, 'float32', 9), 255), 'int32') as tf.Tensor3D;
    const compare = async (real: { detect: CocoSsd['detect'] }) => {
      const [mine, theirs] = [await detector.detect(image, 5, 0.01), await real.detect(image, 5, 0.01)];
      expect(theirs.length).toBeGreaterThan(0);
      expect(mine.length).toBe(theirs.length);
      theirs.forEach((each, i) => {
        // Over 60 layers the roundings of a fold reach some 1e-5 of a logit.
        expect(Math.abs(each.score - mine[i].score)).toBeLessThan(1e-4);
      });
    };
    await compare((await loadReal(artifacts, base)) as never);
    const losses = train(detector, tf.slice(calibration, 0, 1), 3, 1e-3);
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(losses.at(-1)).toBeLessThan(losses[0]);
    await compare((await loadReal(await detector.toGraphModel(), base)) as never);
    detector.dispose();
  });
});
