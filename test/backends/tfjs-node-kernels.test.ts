/**
 * tfjs-node and tfjs-node-gpu need a library that is not in the npm registry, so nothing can run on them here. What can be
 * held: whatever a block, its gradients and a fit call, those backends have. The cpu backend tells what that is, since it
 * has none of the kernels that this package adds to others.
 */
import fs from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../helpers/backends';
import { checkRow, rowsOn } from './rows';
import { kernels } from './tfjs-node-kernels.json';

const available = new Set(kernels);
const KINDS = path.resolve(__dirname, '../../src/kinds');

test('every kernel that runs', async () => {
  await useBackend('cpu');
  // Every kernel is called through this; `tf.profile` tells the same, and looks for NaN in every result.
  const runKernel = jest.spyOn(tf.engine(), 'runKernel');
  for (const { name } of rowsOn('cpu')) await checkRow(name, 'cpu');
  const ran = new Set(runKernel.mock.calls.map(([name]) => name));
  runKernel.mockRestore();
  const names = [...ran].filter((name) => tf.getKernel(name, 'cpu') != null);
  expect(names).toEqual(expect.arrayContaining(['FusedConv2D', 'FusedDepthwiseConv2D', '_FusedMatMul', 'Conv3D']));
  expect(names.filter((name) => !available.has(name))).toEqual([]);
});

test('every kernel that src/kinds calls by name', () => {
  const sources = fs.readdirSync(KINDS).map((file) => fs.readFileSync(path.join(KINDS, file), 'utf8'));
  const imported = sources
    .flatMap((source) => [...source.matchAll(/import \{([^}]*)\} from '@tensorflow\/tfjs-core'/g)])
    .flatMap(([, names]) => names.split(',').map((name) => name.trim()));
  const called = new Set(imported.map((name) => (tf as unknown as Record<string, unknown>)[name]));
  const names = [...called].filter((value) => typeof value === 'string');
  expect(names).toEqual(expect.arrayContaining(['Conv2DBackpropFilter', 'DepthwiseConv2dNativeBackpropInput']));
  expect(names.filter((name) => !available.has(name))).toEqual([]);
});
