/** Small saved models of every format, made here, to be damaged. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { strToU8, zipSync } from 'fflate';
import { kerasLayersOf, writeKerasH5 } from '../../../adapters/keras/files';
import { H5Thread } from '../../../adapters/keras/files/h5-thread';
import { toKerasConfig } from '../../../adapters/keras/topology';
import { useBackend } from '../../helpers/backends';
import { randomise } from '../../helpers/models';
import { GraphBuilder } from '../graph-model/graphs';

// biome-ignore lint/suspicious/noExplicitAny: tests reach deep into JSON
export type Json = Record<string, any>;

/** conv, BN, depthwise conv, BN, dense; or the same as a model in a model. */
export function smallModel(nested = false): tfl.LayersModel {
  const input = tfl.input({ shape: [8, 8, 3], name: 'pictures' });
  const inner = (x: tfl.SymbolicTensor) => {
    const conv = tfl.layers.conv2d({ filters: 4, kernelSize: 3, useBias: false, name: 'conv' }).apply(x);
    const bn = tfl.layers.batchNormalization({ name: 'bn' }).apply(conv);
    const relu = tfl.layers.reLU({ name: 'relu' }).apply(bn);
    const deep = tfl.layers.depthwiseConv2d({ kernelSize: 3, name: 'deep' }).apply(relu);
    return tfl.layers.batchNormalization({ name: 'bn2' }).apply(deep) as tfl.SymbolicTensor;
  };
  let x = input;
  if (nested) {
    const own = tfl.input({ shape: [8, 8, 3], name: 'own' });
    x = tfl.model({ inputs: own, outputs: inner(own), name: 'base' }).apply(input) as tfl.SymbolicTensor;
  } else x = inner(input);
  const flat = tfl.layers.flatten({ name: 'flat' } as never).apply(x);
  const dense = tfl.layers.dense({ units: 3, activation: 'softmax', name: 'head' }).apply(flat);
  const model = tfl.model({ inputs: input, outputs: dense as tfl.SymbolicTensor, name: 'small' });
  randomise(model, 1);
  return model;
}

/** One group for each weight but the first two, which share one; each group in two files, where that is possible. */
export function writeLayers(folder: string, { nested = false, quantised = false } = {}): void {
  const model = smallModel(nested);
  fs.mkdirSync(folder, { recursive: true });
  const modelTopology = model.toJSON(undefined, false) as object;
  const groups: { paths: string[]; weights: Json[] }[] = [];
  const parts = [model.weights.slice(0, 2), ...model.weights.slice(2).map((weight) => [weight])];
  parts.forEach((weights, index) => {
    const encoded = weights.map((weight) => encode(weight, quantised));
    const bytes = Buffer.concat(encoded.map((each) => each.bytes));
    const cut = Math.floor(bytes.length / 3);
    const paths = [`group${index + 1}-shard1of2.bin`, `group${index + 1}-shard2of2.bin`];
    fs.writeFileSync(path.join(folder, paths[0]), bytes.subarray(0, cut));
    fs.writeFileSync(path.join(folder, paths[1]), bytes.subarray(cut));
    groups.push({ paths, weights: encoded.map(({ spec }) => spec) });
  });
  const json = { format: 'layers-model', generatedBy: 'TensorFlow.js tfjs-layers v4.22.0', convertedBy: null };
  fs.writeFileSync(
    path.join(folder, 'model.json'),
    JSON.stringify({ ...json, modelTopology, weightsManifest: groups }),
  );
  model.dispose();
}

function encode(weight: tfl.LayersModel['weights'][number], quantised: boolean): { spec: Json; bytes: Buffer } {
  const values = weight.read().dataSync() as Float32Array;
  const spec = { name: weight.originalName, shape: weight.shape as number[], dtype: 'float32' };
  if (!quantised || weight.shape.length < 2) return { spec, bytes: Buffer.from(new Float32Array(values).buffer) };
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const scale = (max - min) / 255;
  const levels = Uint8Array.from(values, (value) => Math.round((value - min) / scale));
  return {
    spec: { ...spec, quantization: { dtype: 'uint8', min, scale, original_dtype: 'float32' } },
    bytes: Buffer.from(levels),
  };
}

/** A Keras .h5 of `smallModel`. */
export async function writeH5(file: string, nested = false): Promise<void> {
  const model = smallModel(nested);
  const config = toKerasConfig(file, model.toJSON(undefined, false) as unknown as object);
  await writeKerasH5(file, { config, kerasVersion: '2.15.0', layers: kerasLayersOf(model) });
  model.dispose();
}

/** The entries of a .keras file: a conv, a BN and a dense layer as Keras 3 writes them. */
export async function kerasEntries(folder: string): Promise<Record<'config' | 'metadata' | 'weights', Uint8Array>> {
  const file = path.join(folder, 'model.weights.h5');
  const thread = await H5Thread.start(file);
  const call = (op: string, args: unknown[]) => thread.call(op, args, ({ told }) => new Error(told) as never);
  call('open', [4]);
  const made = new Set(['']);
  const group = (at: string) => {
    if (made.has(at)) return;
    group(at.slice(0, at.lastIndexOf('/')));
    call('group', [at]);
    made.add(at);
  };
  const put = (layer: string, shapes: number[][]) => {
    group(`/layers/${layer}/vars`);
    shapes.forEach((shape, index) => {
      const size = shape.reduce((product, each) => product * each, 1);
      const values = Float32Array.from({ length: size }, (_, i) => 0.1 + ((i * 7) % 11) / 11);
      call('dataset', [`/layers/${layer}/vars/${index}`, 1, 4, shape]);
      call('write', [`/layers/${layer}/vars/${index}`, shape.map(() => 0), shape, values.buffer]);
    });
  };
  put('conv2d', [[3, 3, 3, 4], [4]]);
  put('batch_normalization', [[4], [4], [4], [4]]);
  put('dense', [[4, 3], [3]]);
  call('close', []);
  await thread.close();
  const weights = new Uint8Array(fs.readFileSync(file));
  fs.rmSync(file);
  const metadata = { keras_version: '3.9.2', date_saved: '2025-01-01@00:00:00' };
  return { config: strToU8(JSON.stringify(keras3Config())), metadata: strToU8(JSON.stringify(metadata)), weights };
}

export function zipped({ config, metadata, weights }: Awaited<ReturnType<typeof kerasEntries>>): Uint8Array {
  return zipSync(
    { 'metadata.json': metadata, 'config.json': config, 'model.weights.h5': weights },
    { level: 6, mtime: '2025-01-01' },
  );
}

/** A topology as Keras 3 writes it. */
export function keras3Config(): Json {
  const policy = { module: 'keras', class_name: 'DTypePolicy', config: { name: 'float32' }, registered_name: null };
  const layer = (class_name: string, config: Json, from?: string) => ({
    module: 'keras.layers',
    class_name,
    config: { trainable: true, dtype: policy, ...config },
    registered_name: null,
    name: config.name,
    inbound_nodes:
      from === undefined
        ? []
        : [
            {
              args: [
                {
                  class_name: '__keras_tensor__',
                  config: { shape: [null, 8, 8, 3], dtype: 'float32', keras_history: [from, 0, 0] },
                },
              ],
              kwargs: {},
            },
          ],
  });
  const layers = [
    layer('InputLayer', { batch_shape: [null, 8, 8, 3], dtype: 'float32', sparse: false, name: 'pictures' }),
    layer('Conv2D', { name: 'conv2d', filters: 4, kernel_size: [3, 3], strides: [1, 1], padding: 'same' }, 'pictures'),
    layer('BatchNormalization', { name: 'batch_normalization', axis: -1, epsilon: 0.001, momentum: 0.99 }, 'conv2d'),
    layer('ReLU', { name: 're_lu', negative_slope: 0, threshold: 0 }, 'batch_normalization'),
    layer('GlobalAveragePooling2D', { name: 'pool', data_format: 'channels_last', keepdims: false }, 're_lu'),
    layer('Dense', { name: 'dense', units: 3, activation: 'softmax', use_bias: true }, 'pool'),
  ];
  return {
    module: 'keras.src.models.functional',
    class_name: 'Functional',
    config: {
      name: 'functional',
      trainable: true,
      layers,
      input_layers: [['pictures', 0, 0]],
      output_layers: [['dense', 0, 0]],
    },
    registered_name: 'Functional',
  };
}

/** conv · s + b, ReLU, a reshape to a constant shape, MatMul, Softmax; as TensorFlow's converter writes it. */
function smallGraph(): tf.io.ModelArtifacts {
  const g = new GraphBuilder(7);
  let x = g.placeholder('input', [1, 6, 6, 3]);
  x = g.conv('conv', x, [3, 3, 3, 4]);
  x = g.node('Mul', 'scaled', [x, g.scales('scale', 4)]);
  x = g.node('AddV2', 'shifted', [x, g.constant('shift', [4])]);
  x = g.node('Relu', 'relu', [x]);
  x = g.node('Mean', 'mean', [x, g.ints('axes', [1, 2])], { keep_dims: true });
  x = g.node('Reshape', 'flat', [x, g.ints('shape', [1, 4])]);
  x = g.node('MatMul', 'logits', [x, g.kernel('matrix', [4, 3])], { transpose_a: false, transpose_b: false });
  x = g.node('Softmax', 'softmax', [x]);
  return g.artifacts({ outputs: [x] });
}

export function writeGraph(folder: string, artifacts = smallGraph()): void {
  const { weightData, weightSpecs, ...json } = artifacts;
  const bytes = new Uint8Array(weightData as ArrayBuffer);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'group1-shard1of1.bin'), bytes);
  const weightsManifest = [{ paths: ['group1-shard1of1.bin'], weights: weightSpecs }];
  fs.writeFileSync(path.join(folder, 'model.json'), JSON.stringify({ ...json, weightsManifest }));
}

/** Changes the model.json of a folder. */
export function editJson(folder: string, edit: (json: Json) => void): void {
  const file = path.join(folder, 'model.json');
  const json = JSON.parse(fs.readFileSync(file, 'utf8'));
  edit(json);
  fs.writeFileSync(file, JSON.stringify(json));
}

/** The layer of a topology by its name, through models in models. */
export function layerIn(json: Json, name: string): Json {
  const visit = (layers: Json[]): Json | undefined => {
    for (const layer of layers) {
      const found = layer.config.name === name ? layer : layer.config.layers && visit(layer.config.layers);
      if (found) return found;
    }
    return undefined;
  };
  const topology = json.modelTopology.model_config ?? json.modelTopology;
  return visit(topology.config.layers) as Json;
}

/** The node of a graph by its name. */
export function nodeIn(json: Json, name: string): Json {
  return json.modelTopology.node.find((node: Json) => node.name === name);
}

/** The manifest's entry of a weight. */
export function specIn(json: Json, name: string): Json {
  return json.weightsManifest.flatMap((group: Json) => group.weights).find((spec: Json) => spec.name === name);
}

/** What Keras files are made of: the bytes of a whole .h5, and the entries of a .keras. */
export interface KerasParts {
  whole: Buffer;
  entries: Awaited<ReturnType<typeof kerasEntries>>;
}

/**
 * Makes the parts on the cpu backend, once for the file, and has what a test unpacks lie in a folder `tmp` of its own, which
 * must be empty afterwards; mocks end with the test. Call at the top of a test file.
 */
export function useKerasParts(at: (name: string) => string): () => KerasParts {
  let parts: KerasParts;
  beforeAll(async () => {
    await useBackend('cpu');
    parts = await kerasParts();
  });
  beforeEach(() => {
    fs.mkdirSync(at('tmp'));
    jest.spyOn(os, 'tmpdir').mockReturnValue(at('tmp'));
  });
  afterEach(() => {
    jest.restoreAllMocks();
  });
  return () => parts;
}

async function kerasParts(): Promise<KerasParts> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tune-mode-test-'));
  try {
    await writeH5(path.join(folder, 'whole.h5'));
    return { whole: fs.readFileSync(path.join(folder, 'whole.h5')), entries: await kerasEntries(folder) };
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
