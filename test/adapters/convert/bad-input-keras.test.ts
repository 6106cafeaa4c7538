/** Keras files that are damaged, or made to do harm. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { strToU8, zipSync } from 'fflate';
import type { TuneModeErrorCode } from 'tfjs-tune-mode';
import { temporaryFolder } from '../node/temporary-folder';
import { attempt, contentOf, refused } from './attempt';
import { type Json, type KerasParts, keras3Config, smallModel, useKerasParts, zipped } from './small-files';

const at = temporaryFolder();
const parts = useKerasParts(at);

test('undamaged they are converted', async () => {
  fs.writeFileSync(at('a.h5'), parts().whole);
  expect((await attempt(at(), at('a.h5'), at('out-a'))).report?.verification?.passed).toBe(true);
  fs.writeFileSync(at('b.keras'), zipped(parts().entries));
  expect((await attempt(at(), at('b.keras'), at('out-b'))).report?.verification?.passed).toBe(true);
  expect(fs.readdirSync(at('tmp'))).toEqual([]);
});

type Row = [name: string, bytes: () => Uint8Array, code: TuneModeErrorCode, says: RegExp];
const latin = (edit: (text: string) => string) => () => Buffer.from(edit(parts().whole.toString('latin1')), 'latin1');
const H5: Row[] = [
  ['nothing', () => Buffer.alloc(0), 'invalid-model-file', /model\.h5' is empty/],
  ['its signature alone', () => parts().whole.subarray(0, 8), 'invalid-model-file', /HDF5 cannot|file as a whole/],
  ['half of it', () => parts().whole.subarray(0, parts().whole.length >> 1), 'invalid-model-file', /model\.h5'/],
  ['all but its last byte', () => parts().whole.subarray(0, -1), 'invalid-model-file', /model\.h5'/],
  [
    'a layer that is called otherwise',
    latin((text) => text.replaceAll('bn2', 'bnX')),
    'invalid-model-file',
    /model\.h5': HDF5 cannot/,
  ],
  [
    'a topology that is no JSON',
    latin((text) => text.replace('{"class_name"', '["class_name"')),
    'invalid-model-file',
    /'model_config' is not valid JSON/,
  ],
  [
    'a topology of other sizes',
    latin((text) => text.replace('"filters":4', '"filters":5')),
    'invalid-model-file',
    /conv/,
  ],
];
const rezip = (change: Partial<KerasParts['entries']>) => () => zipped({ ...parts().entries, ...change });
const config = (edit: (json: Json) => void) => () => {
  const json = keras3Config();
  edit(json);
  return zipped({ ...parts().entries, config: strToU8(JSON.stringify(json)) });
};
const layerOf = (json: Json, name: string) => json.config.layers.find((layer: Json) => layer.name === name);
const KERAS: Row[] = [
  ['a zip cut off', () => zipped(parts().entries).subarray(0, -30), 'invalid-model-file', /no readable zip/],
  [
    'no weights',
    () => zipSync({ 'config.json': parts().entries.config }),
    'invalid-model-file',
    /without the entry 'model\.weights\.h5'/,
  ],
  [
    'a zip bomb',
    () => zipSync({ 'config.json': parts().entries.config, 'model.weights.h5': new Uint8Array(100 << 20) }),
    'invalid-model-file',
    /as no weights do/,
  ],
  [
    'a config of 33 MB',
    rezip({ config: new Uint8Array(33 << 20).fill(32) }) as () => Uint8Array,
    'invalid-model-file',
    /more than the/,
  ],
  [
    'weights that are no HDF5',
    () => zipped({ ...parts().entries, weights: strToU8('x'.repeat(999)) }),
    'invalid-model-file',
    /is no HDF5 file/,
  ],
  [
    'a config that is a list',
    () => zipped({ ...parts().entries, config: strToU8('[]') }),
    'invalid-model-file',
    /no layers/,
  ],
  [
    'a config that is null',
    () => zipped({ ...parts().entries, config: strToU8('null') }),
    'invalid-model-file',
    /found null/,
  ],
  [
    'a version that is a number',
    () => zipped({ ...parts().entries, metadata: strToU8('{"keras_version":3}') }),
    'invalid-model-file',
    /./,
  ],
  [
    'a cycle',
    config((it) => (layerOf(it, 'conv2d').inbound_nodes[0].args[0].config.keras_history[0] = 're_lu')),
    'invalid-model-file',
    /runs in a circle/,
  ],
  [
    'filters of 1e6',
    config((it) => (layerOf(it, 'conv2d').config.filters = 1e6)),
    'invalid-model-file',
    /'conv2d' asks for a weight/,
  ],
  ['another size', config((it) => (layerOf(it, 'dense').config.units = 5)), 'invalid-model-file', /dense/],
  [
    'an Embedding of 2^31 words',
    config((it) => {
      layerOf(it, 'pictures').config.batch_shape = [null, 9];
      Object.assign(layerOf(it, 'conv2d'), { class_name: 'Embedding' });
      layerOf(it, 'conv2d').config = { name: 'conv2d', input_dim: 2 ** 31 - 1, output_dim: 8 };
    }),
    'invalid-model-file',
    /Embedding with a weight of \d+ numbers/,
  ],
  [
    'a layer of somebody',
    config((it) => Object.assign(layerOf(it, 'conv2d'), { class_name: 'Mine', registered_name: 'p>Mine' })),
    'unsupported',
    /'conv2d' \(Mine\)/,
  ],
];

test.each(H5)('an .h5 of %s', async (_name, bytes, code, says) => {
  fs.writeFileSync(at('model.h5'), bytes());
  await check(at('model.h5'), code, says);
});

test.each(KERAS)('a .keras with %s', async (name, bytes, code, says) => {
  fs.writeFileSync(at('model.keras'), bytes());
  if (name === 'a version that is a number') {
    expect((await attempt(at(), at('model.keras'), at('out'))).report).toBeDefined();
    return;
  }
  await check(at('model.keras'), code, says);
});

function otherTopology(): string {
  const model = smallModel();
  model.dispose();
  return JSON.stringify(model.toJSON(undefined, false));
}

async function check(file: string, code: TuneModeErrorCode, says: RegExp) {
  const error = await refused(at(), file, at('out'));
  expect([error.code, error.message]).toEqual([code, expect.stringMatching(says)]);
  expect(error.message).toContain(path.basename(file));
  expect(fs.readdirSync(at('tmp'))).toEqual([]);
}

test('a file with weights alone wants a topology, and refuses a wrong one', async () => {
  fs.writeFileSync(at('a.weights.h5'), parts().entries.weights);
  expect((await refused(at(), at('a.weights.h5'), at('out'))).message).toMatch(/holds weights alone.*--topology/);
  const topologies: [string, string | undefined, RegExp][] = [
    ['none.json', undefined, /There is no '.*none\.json'/],
    ['empty.json', '', /'.*empty\.json' is empty/],
    ['list.json', '[]', /'.*list\.json' is no tfjs model/],
    ['other.json', otherTopology(), /missing|one too many/],
    ['text.json', '"x"', /'.*text\.json' is no tfjs model/],
  ];
  for (const [name, text, says] of topologies) {
    if (text !== undefined) fs.writeFileSync(at(name), text);
    const { message } = await refused(at(), at('a.weights.h5'), at('out'), { topology: at(name) });
    expect(message).toMatch(says);
  }
  execFileSync('mkfifo', [at('pipe.json')]);
  const pipe = await refused(at(), at('a.weights.h5'), at('out'), { topology: at('pipe.json') });
  expect(pipe.message).toMatch(/pipe\.json' is neither a file nor a folder/);
  fs.writeFileSync(at('good.json'), Buffer.from(parts().entries.config));
  const good = await attempt(at(), at('a.weights.h5'), at('out'), { topology: at('good.json') });
  expect(good.report?.verification?.passed).toBe(true);
  expect(Object.keys(contentOf(at('tmp')))).toEqual([]);
});
