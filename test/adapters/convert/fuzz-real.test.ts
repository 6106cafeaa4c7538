/** Real models with damage at random places. */
import fs from 'node:fs';
import path from 'node:path';
import { useBackend } from '../../helpers/backends';
import { describeShared } from '../../helpers/shared';
import { temporaryFolder } from '../node/temporary-folder';
import { byteDamage, damageBytes, damageJson, each, jsonDamage, survives } from './damage';

describeShared('real models', (shared) => {
  const at = temporaryFolder();
  beforeAll(() => useBackend('wasm'));
  beforeEach(() => void jest.spyOn(console, 'warn').mockImplementation(() => {}));

  test.each([
    ['layers_mobilenet_v1_025_224', 'layers'],
    ['layers_catmood_mobilenetv2_keras3', 'layers'],
    ['layers_emosense_separable', 'layers'],
    ['layers_crepe_tiny', 'layers'],
    ['graph_mobilenet_v1_025_224', 'graph'],
    ['graph_alphabet_conv_mul_add', 'layers'],
  ] as const)('%s', async (name, to) => {
    const source = path.join(shared, 'models', name);
    fs.mkdirSync(at('in'));
    const names = fs.readdirSync(source).filter((each) => each !== 'SOURCE.json');
    const whole = new Map(names.map((each) => [each, fs.readFileSync(path.join(source, each))]));
    for (const [each, bytes] of whole) fs.writeFileSync(at('in', each), bytes);
    const run = async (file: string, bytes: Buffer, index: number) => {
      fs.writeFileSync(at('in', file), bytes);
      try {
        return await survives(at(), at('in'), { to, verify: index % 4 === 0, mode: index % 2 ? 'deploy' : 'tune' });
      } finally {
        fs.writeFileSync(at('in', file), whole.get(file) as Buffer);
      }
    };
    const counts = [
      await each(jsonDamage, 12, (damage, index) => {
        const json = JSON.parse(String(whole.get('model.json')));
        damageJson(json, damage);
        return run('model.json', Buffer.from(JSON.stringify(json)), index);
      }),
      await each(byteDamage, 6, (damage, index) => {
        const file = names[(index * 7) % names.length];
        return run(file, damageBytes(whole.get(file) as Buffer, damage), index);
      }),
    ];
    expect(counts.reduce((sum, { refused }) => sum + refused, 0)).toBeGreaterThan(4);
  });
});
