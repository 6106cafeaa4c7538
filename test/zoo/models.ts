/** Small models as files on a server. */
import fs from 'node:fs';
import path from 'node:path';
import type { io } from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { concatenated } from '../../adapters/node/shards';
import { tinyNet } from '../fine-tune/toy';
import { randomise, savedArtifacts } from '../helpers/models';
import type { Page } from './server';

export type ModelFiles = Record<string, string | Uint8Array>;

/** model.json and three shards of a model, whose weights are in two groups. */
export async function filesOf(model: tfl.LayersModel): Promise<ModelFiles> {
  const { weightData, weightSpecs = [], ...rest } = await savedArtifacts(model);
  const bytes = concatenated(weightData!);
  const middle = weightSpecs.length >> 1;
  const first = weightSpecs.slice(0, middle).reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
  const weightsManifest = [
    { paths: ['a1.bin', 'a2.bin'], weights: weightSpecs.slice(0, middle) },
    { paths: ['sub/b.bin'], weights: weightSpecs.slice(middle) },
  ];
  return {
    'model.json': JSON.stringify({ ...rest, weightsManifest }),
    'a1.bin': bytes.slice(0, 10),
    'a2.bin': bytes.slice(10, first),
    'sub/b.bin': bytes.slice(first),
  };
}

/** model.json and two shards of a graph. */
export function graphFiles({ weightData, weightSpecs: weights, ...rest }: io.ModelArtifacts): ModelFiles {
  const bytes = concatenated(weightData!);
  const middle = bytes.length >> 1;
  const weightsManifest = [{ paths: ['1of2.bin', '2of2.bin'], weights }];
  return {
    'model.json': JSON.stringify({ format: 'graph-model', ...rest, weightsManifest }),
    '1of2.bin': bytes.slice(0, middle),
    '2of2.bin': bytes.slice(middle),
  };
}

/** A net with two ConvBN blocks, 8×8×3 → 2 classes, as files. */
export async function tinyFiles(seed = 1): Promise<ModelFiles> {
  const model = tinyNet(seed);
  const files = await filesOf(model);
  model.dispose();
  return files;
}

/** The files under a folder of a server. */
export function under(folder: string, files: ModelFiles, query = ''): Record<string, Page> {
  return Object.fromEntries(Object.entries(files).map(([name, content]) => [`${folder}/${name}${query}`, content]));
}

/** A folder with a real model, as files. */
export function readFolder(folder: string): ModelFiles {
  const names = fs.readdirSync(folder).filter((name) => name !== 'SOURCE.json');
  return Object.fromEntries(names.map((name) => [name, new Uint8Array(fs.readFileSync(path.join(folder, name)))]));
}

/** All files below a folder, with '/' between their parts. */
export function listed(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())
    .map((name) => name.split(path.sep).join('/'))
    .sort();
}

/** Nested as Teachable Machine nests them: Sequential[Model, pooling] in Sequential, beside Sequential[Dense, Dense]. */
export function teachable(classes: number, { size = 16, channels = 3, seed = 1 } = {}): tfl.Sequential {
  const L = tfl.layers;
  const inputs = tfl.input({ shape: [size, size, channels] });
  const chain = [
    L.conv2d({ filters: 8, kernelSize: 3, strides: 2, padding: 'same', useBias: false }),
    L.batchNormalization(),
    L.reLU({ maxValue: 6 }),
    L.conv2d({ filters: 12, kernelSize: 1, useBias: false }),
    L.batchNormalization(),
    L.reLU({ maxValue: 6 }),
  ];
  const outputs = chain.reduce((x, layer) => layer.apply(x) as tfl.SymbolicTensor, inputs);
  const features = tfl.sequential({
    layers: [tfl.model({ inputs, outputs }) as unknown as tfl.layers.Layer, L.globalAveragePooling2d({})],
  });
  const head = tfl.sequential({
    layers: [
      L.dense({ inputShape: [12], units: 10, activation: 'relu' }),
      L.dense({ units: classes, activation: 'softmax', useBias: false }),
    ],
  });
  const model = tfl.sequential();
  model.add(features);
  model.add(head);
  randomise(model, seed);
  return model;
}

export const weightBytes = ({ weightData }: io.ModelArtifacts): Uint8Array => concatenated(weightData!);
