import fs from 'node:fs';
import type { io } from '@tensorflow/tfjs-core';

/** Artifacts of a made-up model: `count` float32 weights that all have the value `value`, which is in the topology too. */
export function madeUpModel(value: number, count = 10): io.ModelArtifacts {
  return {
    modelTopology: { class_name: 'Made up', config: { value } },
    format: 'layers-model',
    generatedBy: 'a test',
    convertedBy: null,
    weightSpecs: [{ name: 'w', shape: [count], dtype: 'float32' }],
    weightData: new Float32Array(count).fill(value).buffer,
  };
}

/** The value of a made-up model, after checking that topology and all weights agree on it. */
export function checkedValue(artifacts: io.ModelArtifacts): number {
  const { value } = (artifacts.modelTopology as { config: { value: number } }).config;
  const weights = new Float32Array(artifacts.weightData as ArrayBuffer);
  if (weights.length === 0 || !weights.every((weight) => weight === value)) {
    throw new Error(`A mixed model: the topology says ${value}, the weights begin with ${weights[0]}.`);
  }
  return value;
}

/** Names of all files and folders inside, hidden ones too. */
export const listing = (folder: string): string[] => (fs.existsSync(folder) ? fs.readdirSync(folder).sort() : []);
