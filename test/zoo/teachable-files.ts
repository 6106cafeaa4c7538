/** An export of Teachable Machine, as files, and pictures for it. */
import * as tf from '@tensorflow/tfjs-core';
import type { PictureInput, TeachableMachine } from 'tfjs-tune-mode/zoo';
import { temporaryFolder, writeFiles } from '../adapters/node/temporary-folder';
import { disposeLayers } from '../fine-tune/toy';
import { useBackend } from '../helpers/backends';
import { seeded } from '../helpers/models';
import { filesOf, type ModelFiles, teachable } from './models';

export const METADATA = {
  tfjsVersion: '1.3.1',
  tmVersion: '2.4.7',
  packageVersion: '0.8.5',
  packageName: '@teachablemachine/image',
  timeStamp: '2020-05-20T11:28:36.478Z',
  userMetadata: { note: 'mine' },
  modelName: 'fruit',
  labels: ['apple', 'pear', 'plum'],
  imageSize: 16,
};

/** Call at the top of a test file: a folder for each test, which must leave as many tensors as it found. */
export function teachableExport() {
  const folder = temporaryFolder();
  let files: ModelFiles;
  let tensors: number;

  beforeAll(async () => {
    await useBackend('cpu');
    const model = teachable(3);
    files = { ...(await filesOf(model)), 'metadata.json': JSON.stringify(METADATA) };
    disposeLayers(model);
  });
  beforeEach(() => {
    tensors = tf.memory().numTensors;
  });
  afterEach(() => {
    expect(tf.memory().numTensors).toBe(tensors);
  });

  /** Writes it into a folder, with other files in the place of its own. */
  const local = (changed: ModelFiles = {}, name = 'fruit'): string => {
    writeFiles(folder(name), { ...files, ...changed });
    return folder(name);
  };
  return { folder, local, files: () => files };
}

/** Numbers of 0…255. */
export function picture(height: number, width: number, channels = 3, seed = 1): tf.Tensor3D {
  const random = seeded(seed);
  const values = Array.from({ length: height * width * channels }, () => Math.floor(256 * random()));
  return tf.tensor3d(values, [height, width, channels], 'int32');
}

export async function probabilities(machine: TeachableMachine, image: PictureInput): Promise<Record<string, number>> {
  return Object.fromEntries((await machine.predict(image)).map((each) => [each.className, each.probability]));
}
