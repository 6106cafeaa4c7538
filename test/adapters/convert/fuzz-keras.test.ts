/** Keras files with damage at random places: of their bytes, and of their JSON. */
import fs from 'node:fs';
import { strToU8 } from 'fflate';
import { temporaryFolder } from '../node/temporary-folder';
import { byteDamage, damageBytes, damageJson, each, jsonDamage, survives } from './damage';
import { keras3Config, useKerasParts, zipped } from './small-files';

const at = temporaryFolder();
const parts = useKerasParts(at);
beforeEach(() => {
  jest.spyOn(console, 'warn').mockImplementation(() => {});
});

const optionsOf = (index: number) => ({
  verify: index % 3 === 0,
  mode: index % 2 ? ('tune' as const) : ('deploy' as const),
});

test('an .h5 of other bytes', async () => {
  const counts = await each(byteDamage, 40, async (damage, index) => {
    fs.writeFileSync(at('model.h5'), damageBytes(parts().whole, damage));
    return survives(at(), at('model.h5'), optionsOf(index));
  });
  expect(counts.refused).toBeGreaterThan(8);
});

test('a .keras of other bytes', async () => {
  const bytes = zipped(parts().entries);
  const counts = await each(byteDamage, 120, async (damage, index) => {
    fs.writeFileSync(at('model.keras'), damageBytes(bytes, damage));
    return survives(at(), at('model.keras'), optionsOf(index));
  });
  expect(counts.refused).toBeGreaterThan(60);
});

test('a .keras with other weights in a sound zip', async () => {
  const counts = await each(byteDamage, 10, async (damage, index) => {
    fs.writeFileSync(
      at('model.keras'),
      zipped({ ...parts().entries, weights: damageBytes(parts().entries.weights, damage) }),
    );
    return survives(at(), at('model.keras'), optionsOf(index));
  });
  expect(counts.refused).toBeGreaterThan(1);
});

test('a .keras with another topology', async () => {
  const counts = await each(jsonDamage, 16, async (damage, index) => {
    const json = keras3Config();
    damageJson(json, damage);
    fs.writeFileSync(at('model.keras'), zipped({ ...parts().entries, config: strToU8(JSON.stringify(json)) }));
    return survives(at(), at('model.keras'), optionsOf(index));
  });
  expect(counts.refused).toBeGreaterThan(8);
});
