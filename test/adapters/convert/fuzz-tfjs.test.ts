/** tfjs models with damage at random places in their JSON and in their weight files. */
import fs from 'node:fs';
import path from 'node:path';
import { useBackend } from '../../helpers/backends';
import { temporaryFolder } from '../node/temporary-folder';
import { byteDamage, damageBytes, damageJson, each, jsonDamage, survives } from './damage';
import { keras3Config, writeGraph, writeLayers } from './small-files';

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));
// tfjs-layers tells of outputs that are there twice.
beforeEach(() => void jest.spyOn(console, 'warn').mockImplementation(() => {}));

/** A LayersModel whose topology is Keras 3's. */
function writeKeras3(folder: string): void {
  const weights = [
    ['conv2d/kernel', [3, 3, 3, 4]],
    ['conv2d/bias', [4]],
    ...['gamma', 'beta', 'moving_mean', 'moving_variance'].map((name) => [`batch_normalization/${name}`, [4]]),
    ['dense/kernel', [4, 3]],
    ['dense/bias', [3]],
  ].map(([name, shape]) => ({ name, shape: shape as number[], dtype: 'float32' }));
  const length = weights.reduce((sum, { shape }) => sum + shape.reduce((product, each) => product * each, 1), 0);
  fs.mkdirSync(folder);
  fs.writeFileSync(
    path.join(folder, 'w.bin'),
    new Uint8Array(Float32Array.from({ length }, (_, i) => 0.1 + (i % 7) / 7).buffer),
  );
  const modelTopology = { keras_version: '3.9.2', backend: 'tensorflow', model_config: keras3Config() };
  const weightsManifest = [{ paths: ['w.bin'], weights }];
  fs.writeFileSync(
    path.join(folder, 'model.json'),
    JSON.stringify({ format: 'layers-model', modelTopology, weightsManifest }),
  );
}

type To = 'layers' | 'graph';
const SOURCES: [name: string, write: (folder: string) => void, to: To][] = [
  ['a LayersModel', (folder) => writeLayers(folder, { nested: false }), 'layers'],
  ['models in models', (folder) => writeLayers(folder, { nested: true }), 'layers'],
  ['quantised weights', (folder) => writeLayers(folder, { quantised: true }), 'layers'],
  ['a topology of Keras 3', writeKeras3, 'layers'],
  ['a GraphModel', (folder) => writeGraph(folder), 'layers'],
  ['a GraphModel that stays one', (folder) => writeGraph(folder), 'graph'],
];

/** Of those that are converted to layers, some are deployed, and some not verified. */
const optionsOf = (to: To, index: number) => ({
  to,
  verify: index % 3 !== 2,
  mode: index % 2 === 0 ? ('tune' as const) : ('deploy' as const),
});

describe.each(SOURCES)('%s', (_name, write, to) => {
  test('with another JSON', async () => {
    write(at('in'));
    const file = at('in', 'model.json');
    const text = fs.readFileSync(file, 'utf8');
    const counts = await each(jsonDamage, 260, async (damage, index) => {
      const json = JSON.parse(text);
      damageJson(json, damage);
      fs.writeFileSync(file, JSON.stringify(json));
      return survives(at(), at('in'), optionsOf(to, index));
    });
    // Neither is so wide that all is refused, nor so narrow that nothing is.
    expect(counts.converted).toBeGreaterThan(10);
    expect(counts.refused).toBeGreaterThan(100);
  });

  test('with another text', async () => {
    write(at('in'));
    const file = at('in', 'model.json');
    const bytes = fs.readFileSync(file);
    const counts = await each(byteDamage, 60, async (damage, index) => {
      fs.writeFileSync(file, damageBytes(bytes, damage));
      return survives(at(), at('in'), optionsOf(to, index));
    });
    expect(counts.refused).toBeGreaterThan(20);
  });

  test('with other weight files', async () => {
    write(at('in'));
    const names = fs.readdirSync(at('in')).filter((name) => name !== 'model.json');
    const whole = new Map(names.map((name) => [name, fs.readFileSync(at('in', name))]));
    const counts = await each(byteDamage, 40, async (damage, index) => {
      const name = names[index % names.length];
      const bytes = whole.get(name) as Buffer;
      fs.writeFileSync(at('in', name), damageBytes(bytes, damage));
      try {
        return await survives(at(), at('in'), optionsOf(to, index));
      } finally {
        fs.writeFileSync(at('in', name), bytes);
      }
    });
    expect(counts.refused).toBeGreaterThan(10);
  });
});
