/**
 * Whole models in tests: random weights, numbers out of them, and everything about them that a mode must leave alone.
 */
import * as tf from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';

type Layer = tfl.layers.Layer;
type Inner = Layer & { layers?: Layer[]; layer?: Layer };
/** Wrapped like this, since tfjs-layers keeps nodes and the fields of symbolic tensors to itself. */
type Node = { inputTensors: tfl.SymbolicTensor[]; outputTensors: tfl.SymbolicTensor[] };

/** A generator of numbers in [0, 1) that gives the same ones everywhere (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function randomTensor(shape: number[], random: () => number, low = -1, high = 1): tf.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, () => low + (high - low) * random()),
    shape,
  );
}

/** Every layer of a model, those inside nested models and TimeDistributed included, each once. */
export function allLayers(model: tfl.LayersModel): Layer[] {
  const found = new Set<Layer>();
  const visit = (layer: Inner) => {
    if (found.has(layer)) return;
    found.add(layer);
    if (Array.isArray(layer.layers)) layer.layers.forEach(visit);
    else if (layer.layer !== undefined) visit(layer.layer);
  };
  for (const layer of model.layers) visit(layer);
  return [...found];
}

/** Layers that have weights of their own. */
export function weightedLayers(model: tfl.LayersModel): Layer[] {
  return allLayers(model).filter((layer) => {
    const { layers, layer: wrapped } = layer as Inner;
    return !Array.isArray(layers) && wrapped === undefined && layer.weights.length > 0;
  });
}

export function batchNorms(model: tfl.LayersModel): Layer[] {
  return allLayers(model).filter((layer) => layer.getClassName() === 'BatchNormalization');
}

/**
 * Random weights: uniform, such that activations keep their size from layer to layer. A BN gets mean ≠ 0, variance from
 * 0.05 to 4, and γ of either sign with one channel at zero;
 * β is mostly positive, so that no net of ReLUs dies altogether.
 */
export function randomise(model: tfl.LayersModel, seed: number): void {
  const random = seeded(seed);
  for (const layer of weightedLayers(model)) {
    tf.tidy(() =>
      layer.setWeights(
        layer.weights.map(({ originalName, shape }) => {
          const size = shape as number[];
          if (originalName.endsWith('moving_variance')) return randomTensor(size, random, 0.05, 4);
          if (originalName.endsWith('moving_mean')) return randomTensor(size, random, 0.1, 0.9);
          if (originalName.endsWith('gamma')) {
            const gamma = randomTensor(size, random, 0.5, 1.5).dataSync();
            return tf.tensor(
              gamma.map((value, i) => (gamma.length > 2 && i === 1 ? 0 : i % 3 === 2 ? -value : value)),
              size,
            );
          }
          if (originalName.endsWith('beta')) return randomTensor(size, random, -0.2, 0.8);
          const span = Math.sqrt(3 / Math.max(1, fanInOf(size)));
          return randomTensor(size, random, -span, span);
        }),
      ),
    );
  }
}

function fanInOf(shape: number[]): number {
  return shape.slice(0, -1).reduce((a, b) => a * b, 1);
}

/**
 * How far apart two float32 evaluations of one net may be, relative to its largest output.
 *
 * To first order a dot product of n terms is off by at most (n − 1) u of the sum of its absolute terms, u = 2⁻²⁴; fold,
 * bias, normalisation and activation add up to 8 roundings more. Each weighted layer adds its share to the error that
 * comes in, and passes that on in proportion to its output. So: u · Σ over layers (longest sum + 8). Real errors grow
 * with √n, which leaves the rest as room for sums whose terms cancel. A wrong fold is off by 1e-2 or more.
 */
export function rounding(model: tfl.LayersModel): number {
  let sums = 0;
  for (const layer of weightedLayers(model)) {
    if (layer.getClassName() === 'BatchNormalization') continue;
    for (const { shape } of layer.weights) {
      // Transposed kernels have their inputs last: take the longer of both readings.
      const size = shape as number[];
      if (size.length > 1)
        sums += Math.max(fanInOf(size), fanInOf([...size.slice(0, -2), size[size.length - 1], 1])) + 8;
    }
  }
  return Math.max(sums, 16) * 2 ** -24;
}

export function toList<T>(value: T | T[]): T[] {
  return Array.isArray(value) ? value : [value];
}

const numbers = (t: tf.Tensor): number[] => Array.from(t.dataSync());

/** Inputs for a model, unknown sizes taken as `batch`. */
export function inputsFor(model: tfl.LayersModel, seed: number, batch = 3): tf.Tensor[] {
  const random = seeded(seed);
  return model.inputs.map(({ shape }) =>
    randomTensor(
      shape.map((length) => length ?? batch),
      random,
    ),
  );
}

/** Targets for training it. */
export function targetsFor(model: tfl.LayersModel, seed: number, batch = 3): tf.Tensor[] {
  const random = seeded(seed);
  return model.outputs.map(({ shape }) =>
    randomTensor(
      shape.map((length) => length ?? batch),
      random,
    ),
  );
}

/** All outputs of `predict`, as numbers; leaves no tensor behind. */
export function predictions(model: tfl.LayersModel, x: tf.Tensor[]): number[][] {
  return tf.tidy(() => toList(model.predict(x.length === 1 ? x[0] : x, { batchSize: 64 })).map(numbers));
}

/** The same by `apply`, in training or not. */
export function applied(model: tfl.LayersModel, x: tf.Tensor[], training: boolean): number[][] {
  return tf.tidy(() =>
    toList(model.apply(x.length === 1 ? x[0] : x, { training }) as tf.Tensor | tf.Tensor[]).map(numbers),
  );
}

/** Every weight by its name and place, moving statistics included. */
export function weightValues(model: tfl.LayersModel): Record<string, number[]> {
  const values: Record<string, number[]> = {};
  weightedLayers(model).forEach((layer, i) => {
    layer.weights.forEach((weight) => {
      values[`${i} ${weight.originalName}`] = numbers(weight.read());
    });
  });
  return values;
}

export function movingStatistics(model: tfl.LayersModel): Record<string, number[]> {
  return Object.fromEntries(Object.entries(weightValues(model)).filter(([name]) => name.includes('moving_')));
}

export function setWeightValues(model: tfl.LayersModel, values: Record<string, number[]>): void {
  weightedLayers(model).forEach((layer, i) => {
    tf.tidy(() =>
      layer.setWeights(layer.weights.map((w) => tf.tensor(values[`${i} ${w.originalName}`], w.shape as number[]))),
    );
  });
}

/** The largest difference of two lists of arrays, each relative to the largest entry of `expected`'s array. */
export function largestDifference(found: number[][], expected: number[][]): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  expected.forEach((values, i) => {
    if (found[i].length !== values.length) worst = Number.POSITIVE_INFINITY;
    const scale = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-3);
    values.forEach((value, j) => {
      const difference = Math.abs(found[i][j] - value) / scale;
      if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    });
  });
  return worst;
}

/**
 * Everything that a mode may have changed, object by object: the property names of every layer and symbolic tensor, what
 * each symbolic tensor and each node is wired to, who computes a layer, the number of tensors alive.
 */
export function snapshot(model: tfl.LayersModel): { label: string; value: unknown }[] {
  const entries: { label: string; value: unknown }[] = [];
  const put = (label: string, value: unknown) => entries.push({ label, value });
  put('topology', JSON.stringify(model.toJSON(null, false)));
  put('tensors', tf.memory().numTensors);
  put('variables', Object.keys((tf.engine() as unknown as { registeredVariables: object }).registeredVariables).length);
  for (const layer of [model as unknown as Layer, ...allLayers(model)]) {
    put(`${layer.name}: properties`, Reflect.ownKeys(layer).map(String).join());
    put(`${layer.name}: call`, layer.call);
    put(`${layer.name}: apply`, layer.apply);
    put(`${layer.name}: weights`, layer.weights.map(({ name }) => name).join());
    (layer.inboundNodes as unknown as Node[]).forEach((node, n) => {
      const tensors = [...node.inputTensors, ...node.outputTensors];
      put(`${layer.name} node ${n}: properties`, Reflect.ownKeys(node).map(String).join());
      tensors.forEach((tensor, t) => {
        const label = `${layer.name} node ${n} tensor ${t} (${tensor.name})`;
        put(label, tensor);
        put(`${label}: properties`, Reflect.ownKeys(tensor).map(String).join());
        put(`${label}: source`, tensor.sourceLayer);
        put(`${label}: list of inputs`, tensor.inputs);
        tensor.inputs.forEach((input, i) => {
          put(`${label}: input ${i}`, input);
        });
      });
    });
  }
  return entries;
}

/** What differs between two snapshots; nothing, if all is well. */
export function changes(before: ReturnType<typeof snapshot>, after: ReturnType<typeof snapshot>): string[] {
  const length = Math.max(before.length, after.length);
  return Array.from({ length }, (_, i) => i)
    .filter((i) => before[i]?.label !== after[i]?.label || !Object.is(before[i]?.value, after[i]?.value))
    .map((i) => before[i]?.label ?? after[i].label);
}

/** What `model.save` hands to a handler. */
export async function savedArtifacts(model: tfl.LayersModel): Promise<tf.io.ModelArtifacts> {
  let saved: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) };
    }),
  );
  return saved as tf.io.ModelArtifacts;
}

/** The names of the kernels that ran, sorted, as often as they ran. */
export async function kernelsOf(run: () => unknown): Promise<string[]> {
  const { kernels } = await tf.profile(async () => {
    await run();
    return tf.scalar(0);
  });
  return kernels.map(({ name }) => name).sort();
}
