/**
 * Deploy: the BN folded away, the same predictions.
 *
 * Tolerance: a fold replaces (z − μ)·s + β by z′ + b′ with products taken in another order; each of the few layers of
 * these nets adds some float32 rounding (6e-8) relative to the largest sum in it. 1e-5 of the largest output is two
 * orders above that, and four below what a fold without ε, μ or on a wrong axis gives with the random statistics used.
 */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, inspect, inspectDeploy, setMode, toDeploy } from 'tfjs-tune-mode';

const L = tfl.layers;
const bn = (args: object = {}) => L.batchNormalization(args);

beforeAll(() => tf.setBackend('cpu'));

/** Random weights everywhere; BN: mean ≠ 0, variance far from 1, γ of either sign and once zero. */
function randomise(model: tfl.LayersModel): void {
  const visit = (layer: tfl.layers.Layer) => {
    const inner = (layer as unknown as { layers?: tfl.layers.Layer[]; layer?: tfl.layers.Layer }).layers;
    const wrapped = (layer as unknown as { layer?: tfl.layers.Layer }).layer;
    if (inner) return inner.forEach(visit);
    if (wrapped) return visit(wrapped);
    tf.tidy(() =>
      layer.setWeights(
        layer.getWeights().map((w, i) => {
          const name = layer.weights[i].originalName;
          if (name.endsWith('variance')) return tf.randomUniform(w.shape, 0.01, 4);
          const values = tf.randomNormal(w.shape);
          if (!name.endsWith('gamma')) return values;
          const buffer = tf.buffer(w.shape, 'float32', values.dataSync() as Float32Array);
          buffer.set(0, 0);
          return buffer.toTensor();
        }),
      ),
    );
  };
  for (const layer of model.layers) visit(layer);
}

function outputs(model: tfl.LayersModel, x: tf.Tensor | tf.Tensor[]): tf.Tensor[] {
  const y = model.predict(x);
  return Array.isArray(y) ? y : [y];
}

function largestDifference(a: tf.Tensor[], b: tf.Tensor[]): number {
  const of = (y: tf.Tensor, i: number) =>
    tf.tidy(() => {
      const scale = Math.max(1e-3, tf.max(tf.abs(y)).dataSync()[0]);
      return tf.max(tf.abs(tf.sub(y, b[i]))).dataSync()[0] / scale;
    });
  return Math.max(...a.map(of));
}

function inputFor(model: tfl.LayersModel): tf.Tensor[] {
  return model.inputs.map((t) => tf.randomNormal(t.shape.map((n) => n ?? 3) as number[]));
}

const BUILD: Record<string, { model: () => tfl.LayersModel; after: number; before: number; kept: number }> = {
  'sequential, relu6, depthwise and dense': {
    model: () =>
      tfl.sequential({
        layers: [
          L.conv2d({ filters: 4, kernelSize: 3, strides: 2, padding: 'same', useBias: false, inputShape: [9, 9, 3] }),
          bn(),
          L.reLU({ maxValue: 6 }),
          L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2 }),
          bn({ scale: false }),
          L.flatten(),
          L.dense({ units: 5 }),
          bn({ center: false }),
          L.dense({ units: 2, activation: 'softmax' }),
        ],
      }),
    after: 3,
    before: 0,
    kept: 0,
  },
  'a BN as the output keeps its name': {
    model: () => {
      const x = tfl.input({ shape: [6, 6, 2], name: 'picture' });
      const conv = L.conv2d({ filters: 3, kernelSize: 2, name: 'conv' }).apply(x);
      return tfl.model({ inputs: x, outputs: bn({ name: 'result' }).apply(conv) as tfl.SymbolicTensor });
    },
    after: 1,
    before: 0,
    kept: 0,
  },
  'BN before an unpadded conv, a 1×1 conv, a separable conv and a dense; before a padded conv it stays': {
    model: () =>
      tfl.sequential({
        layers: [
          bn({ inputShape: [12, 12, 3] }),
          L.conv2d({ filters: 4, kernelSize: 3, activation: 'relu' }),
          bn(),
          L.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, activation: 'relu' }),
          bn(),
          L.conv2d({ filters: 4, kernelSize: 1, padding: 'same', activation: 'tanh' }),
          bn(),
          L.separableConv2d({ filters: 5, kernelSize: 2, activation: 'relu' }),
          bn({ name: 'stays' }),
          L.conv2d({ filters: 4, kernelSize: 3, padding: 'same', activation: 'relu' }),
          L.flatten(),
          bn(),
          L.dense({ units: 3 }),
          bn(),
        ],
      }),
    after: 1,
    before: 5,
    kept: 1,
  },
  'residual, concatenation, several inputs and outputs': {
    model: () => {
      const a = tfl.input({ shape: [6, 6, 2], name: 'a' });
      const b = tfl.input({ shape: [6, 6, 2], name: 'b' });
      const block = (x: tfl.SymbolicTensor) =>
        L.reLU().apply(
          bn().apply(L.conv2d({ filters: 2, kernelSize: 3, padding: 'same' }).apply(x)),
        ) as tfl.SymbolicTensor;
      const sum = L.add().apply([block(a), a]) as tfl.SymbolicTensor;
      const both = L.concatenate().apply([sum, block(b)]) as tfl.SymbolicTensor;
      return tfl.model({ inputs: [a, b], outputs: [block(both), sum] });
    },
    after: 3,
    before: 0,
    kept: 0,
  },
  'Sequential in Sequential, and functional in functional': {
    model: () => {
      const base = tfl.sequential({ name: 'base' });
      base.add(L.conv2d({ filters: 3, kernelSize: 3, inputShape: [8, 8, 2] }));
      base.add(bn());
      base.add(L.reLU());
      const head = tfl.sequential({ name: 'head' });
      head.add(L.flatten({ inputShape: [6, 6, 3] }));
      head.add(L.dense({ units: 4, useBias: false }));
      head.add(bn());
      const whole = tfl.sequential({ name: 'whole', layers: [base, head] });
      const x = tfl.input({ shape: [8, 8, 2], name: 'in' });
      return tfl.model({ inputs: x, outputs: whole.apply(x) as tfl.SymbolicTensor });
    },
    after: 2,
    before: 0,
    kept: 0,
  },
  'a block shared by two branches stays shared': {
    model: () => {
      const a = tfl.input({ shape: [5, 5, 2], name: 'left' });
      const b = tfl.input({ shape: [5, 5, 2], name: 'right' });
      const conv = L.conv2d({ filters: 2, kernelSize: 3, name: 'shared' });
      const norm = bn();
      const branch = (x: tfl.SymbolicTensor) => norm.apply(conv.apply(x)) as tfl.SymbolicTensor;
      return tfl.model({ inputs: [a, b], outputs: [branch(a), branch(b)] });
    },
    after: 1,
    before: 0,
    kept: 0,
  },
  'TimeDistributed conv and BN, transposed and 3-d convs': {
    model: () => {
      const x = tfl.input({ shape: [4, 5, 5, 2], name: 'clip' });
      const td = (layer: tfl.layers.Layer) => L.timeDistributed({ layer });
      let y = td(L.conv2d({ filters: 3, kernelSize: 2 })).apply(x);
      y = td(bn()).apply(y);
      y = td(L.reLU()).apply(y);
      y = L.conv3d({ filters: 2, kernelSize: 2 }).apply(y);
      y = bn().apply(y);
      return tfl.model({ inputs: x, outputs: y as tfl.SymbolicTensor });
    },
    after: 2,
    before: 0,
    kept: 0,
  },
  'TimeDistributed as the first layer of a Sequential': {
    model: () =>
      tfl.sequential({
        layers: [
          L.timeDistributed({ layer: L.conv2d({ filters: 3, kernelSize: 2 }), inputShape: [4, 6, 6, 2] }),
          L.timeDistributed({ layer: bn() }),
          L.flatten(),
          L.dense({ units: 2 }),
        ],
      }),
    after: 1,
    before: 0,
    kept: 0,
  },
  'a Sequential whose conv names the input and whose BN names the output': {
    model: () =>
      tfl.sequential({
        layers: [
          L.conv2d({ filters: 3, kernelSize: 2, inputShape: [5, 5, 2], name: 'in_conv' }),
          bn({ name: 'out_bn' }),
        ],
      }),
    after: 1,
    before: 0,
    kept: 0,
  },
  'SeparableConv2D with a depth multiplier': {
    model: () =>
      tfl.sequential({
        layers: [L.separableConv2d({ filters: 3, kernelSize: 2, depthMultiplier: 2, inputShape: [5, 5, 2] }), bn()],
      }),
    after: 1,
    before: 0,
    kept: 0,
  },
};

describe.each(Object.entries(BUILD))('toDeploy: %s', (_name, { model: build, after, before, kept }) => {
  test('predicts the same, has the same inputs and outputs, and says what it folded', () => {
    const model = build();
    randomise(model);
    // Stock tfjs cannot run every BN in predict (rank 5): Eval mode can, and gives the same numbers where both do.
    setMode(model, 'eval');
    const x = inputFor(model);
    const expected = outputs(model, x);

    const alive = tf.memory().numTensors;
    const deployed = toDeploy(model);
    const found = outputs(deployed, x);

    expect(largestDifference(expected, found)).toBeLessThan(1e-5);
    expect(deployed.inputNames).toEqual(model.inputNames);
    expect(deployed.outputNames).toEqual(model.outputNames);
    expect(found.map((y) => y.shape)).toEqual(expected.map((y) => y.shape));
    const report = inspectDeploy(model);
    expect([report.after.length, report.before.length, report.kept.length]).toEqual([after, before, kept]);
    const left = inspect(deployed);
    expect(left.pairs.length + left.skipped.length).toBe(kept);
    expect(deployed.countParams()).toBeLessThan(model.countParams());

    tf.dispose(found);
    // Not model.dispose(): it counts a layer's uses and keeps the weights of a shared one alive (tfjs-layers 4.22.0).
    for (const weight of deployed.weights) weight.dispose();
    expect(tf.memory().numTensors).toBe(alive);
    expect(largestDifference(expected, outputs(model, x))).toBe(0);
  });

  test('gives the same model from train, eval and tune mode', () => {
    const model = build();
    randomise(model);
    const weights = (['train', 'eval', 'tune'] as const).map((mode) => {
      setMode(model, mode);
      return toDeploy(model)
        .getWeights()
        .map((w) => Array.from(w.dataSync()));
    });
    expect(weights[1]).toEqual(weights[0]);
    expect(weights[2]).toEqual(weights[0]);
  });
});

test('a deployed model saves and loads in plain tfjs, with the same predictions', async () => {
  for (const [name, { model: build }] of Object.entries(BUILD)) {
    // tfjs-layers 4.22.0 does not save its depthMultiplier, so that no model with one loads again, deployed or not.
    if (name.startsWith('SeparableConv2D')) continue;
    const model = build();
    randomise(model);
    const deployed = toDeploy(model);
    const x = inputFor(model);
    const expected = outputs(deployed, x);
    let saved: tf.io.ModelArtifacts | undefined;
    await deployed.save(
      tf.io.withSaveHandler(async (artifacts) => {
        saved = artifacts;
        return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
      }),
    );
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(saved as tf.io.ModelArtifacts));
    expect(largestDifference(expected, outputs(loaded, x))).toBe(0);
  }
});

describe('must not', () => {
  test('fold a BN whose output something else needs, or one that include leaves out', () => {
    const x = tfl.input({ shape: [6, 6, 2] });
    const normed = bn({ name: 'norm' }).apply(x) as tfl.SymbolicTensor;
    const conv = L.conv2d({ filters: 2, kernelSize: 3 }).apply(normed) as tfl.SymbolicTensor;
    const other = L.flatten().apply(normed) as tfl.SymbolicTensor;
    const model = tfl.model({ inputs: x, outputs: [conv, other] });
    expect(inspectDeploy(model).kept).toHaveLength(1);
    expect(inspectDeploy(model).kept[0].reason).toMatch(/more than/);

    const plain = BUILD['sequential, relu6, depthwise and dense'].model();
    const report = inspectDeploy(plain, { include: ({ kind }) => kind !== 'Dense' });
    expect(report.kept.map(({ code }) => code)).toEqual(['excluded']);
    expect(report.after).toHaveLength(2);
  });

  test('touch the source: its mode, weights and tensors', () => {
    const model = BUILD['residual, concatenation, several inputs and outputs'].model();
    randomise(model);
    enableTuneMode(model);
    const before = JSON.stringify(model.toJSON());
    const weights = model.getWeights().map((w) => Array.from(w.dataSync()));
    toDeploy(model).dispose();
    expect(JSON.stringify(model.toJSON())).toBe(before);
    expect(model.getWeights().map((w) => Array.from(w.dataSync()))).toEqual(weights);
    expect(inspect(model).mode).toBe('tune');
  });

  test('fold a BN into a conv that computes something else than its class says', () => {
    const custom = L.conv2d({ filters: 2, kernelSize: 3 });
    const model = tfl.sequential({ layers: [bn({ inputShape: [6, 6, 2] }), custom] });
    randomise(model);
    expect(inspectDeploy(model).before).toHaveLength(1);
    const { call } = custom;
    custom.call = (x, kwargs) => tf.mul(call.call(custom, x, kwargs) as tf.Tensor, 2);
    const { before, kept } = inspectDeploy(model);
    expect(before).toHaveLength(0);
    expect(kept[0].reason).toMatch(/'call' of its own/);
  });

  test.each(['bn', 'relu'])('lose a call that somebody has put into a layer: %s', (which) => {
    const norm = bn({ name: 'bn' });
    const relu = L.reLU({ name: 'relu' });
    const model = tfl.sequential({
      layers: [L.conv2d({ filters: 2, kernelSize: 3, inputShape: [6, 6, 2] }), norm, relu],
    });
    randomise(model);
    const patched = which === 'bn' ? norm : relu;
    patched.call = (x) => tf.mul(Array.isArray(x) ? x[0] : x, 7);
    const [x] = inputFor(model);
    const expected = outputs(model, x);
    // Tune leaves the patch alone, and its numbers.
    const report = enableTuneMode(model);
    expect(largestDifference(expected, outputs(model, x))).toBeLessThan(1e-5);
    expect(report.pairs).toHaveLength(which === 'bn' ? 0 : 1);
    if (which === 'bn') expect(report.skipped[0]).toMatchObject({ code: 'unknown-layer' });
    else expect(report.pairs[0].activation).toBeNull();
    const alive = tf.memory().numTensors;
    expect(() => toDeploy(model)).toThrow(expect.objectContaining({ code: 'unsupported' }));
    expect(tf.memory().numTensors).toBe(alive);
    setMode(model, 'train');
    expect(largestDifference(expected, outputs(model, x))).toBe(0);
  });

  test('share weights with the source in a way that training shows', () => {
    const model = BUILD['sequential, relu6, depthwise and dense'].model();
    randomise(model);
    const deployed = toDeploy(model);
    const [x] = inputFor(model);
    const expected = outputs(deployed, x);
    for (const layer of model.layers) layer.setWeights(layer.getWeights().map((w) => tf.zerosLike(w)));
    expect(largestDifference(expected, outputs(deployed, x))).toBe(0);
  });

  test('leak when a layer cannot be made anew', () => {
    class Stubborn extends tfl.layers.Layer {
      static className = 'Stubborn';
      override call(x: tf.Tensor | tf.Tensor[]) {
        return Array.isArray(x) ? x[0] : x;
      }
      static override fromConfig(): never {
        throw new Error('cannot be made anew');
      }
    }
    const x = tfl.input({ shape: [6, 6, 2] });
    const conv = L.conv2d({ filters: 2, kernelSize: 3 }).apply(x);
    const y = new Stubborn({}).apply(bn().apply(conv)) as tfl.SymbolicTensor;
    const model = tfl.model({ inputs: x, outputs: y });
    const alive = tf.memory().numTensors;
    expect(() => toDeploy(model)).toThrow('cannot be made anew');
    expect(tf.memory().numTensors).toBe(alive);
  });
});
