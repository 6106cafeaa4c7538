/** Saved tfjs models that are damaged, or made to do harm: one sentence naming file and place, and nothing else. */
import fs from 'node:fs';
import path from 'node:path';
import type { TuneModeErrorCode } from 'tfjs-tune-mode';
import { useBackend } from '../../helpers/backends';
import { temporaryFolder } from '../node/temporary-folder';
import { attempt, refused } from './attempt';
import { editJson, type Json, layerIn, specIn, writeLayers } from './small-files';

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));

type Row = [name: string, damage: (folder: string) => void, code: TuneModeErrorCode, says: RegExp];

const json = (edit: (json: Json) => void) => (folder: string) => editJson(folder, edit);
const shard = (name: string, edit: (bytes: Buffer) => Uint8Array) => (folder: string) => {
  const file = path.join(folder, name);
  fs.writeFileSync(file, edit(fs.readFileSync(file)));
};
const text = (content: string) => (folder: string) => fs.writeFileSync(path.join(folder, 'model.json'), content);
const FIRST = 'group1-shard1of2.bin';

function floats(bytes: Buffer, value: number): Buffer {
  bytes.writeFloatLE(value, 4);
  return bytes;
}

const FILES: Row[] = [
  ['an empty model.json', text(''), 'invalid-model-file', /model\.json' is empty/],
  [
    'no JSON',
    text('{"modelTopology": {,}}'),
    'invalid-model-file',
    /model\.json' is not valid JSON \(line 1, column 20/,
  ],
  ['a list', text('[]'), 'invalid-model-file', /model\.json' is no model that can be read here/],
  ['no topology', text('{"weightsManifest":[]}'), 'invalid-model-file', /it has no 'modelTopology'/],
  ['brackets of 1e6 levels', text('{"a":'.repeat(1e6)), 'invalid-model-file', /nested too deep/],
  [
    'JSON of 100 MB',
    text(`{"a":"${' '.repeat(100 * 2 ** 20)}"}`),
    'invalid-model-file',
    /has 100 MB of JSON; expected/,
  ],
  ['bytes of something else', text('\u0000\u0001\ufffdPNG'), 'invalid-model-file', /no model that can be read/],
  ['no weights', json((it) => delete it.weightsManifest), 'invalid-model-file', /has no weights/],
  [
    'model.json that is a folder',
    (folder) => {
      fs.rmSync(path.join(folder, 'model.json'));
      fs.mkdirSync(path.join(folder, 'model.json'));
    },
    'not-found',
    /has no model\.json/,
  ],
  [
    'a missing shard',
    (folder) => fs.rmSync(path.join(folder, FIRST)),
    'invalid-model-file',
    /shard1of2\.bin', named in/,
  ],
  [
    'a shard cut off',
    shard(FIRST, (bytes) => bytes.subarray(1)),
    'invalid-model-file',
    /group 0 need 448 bytes, but 447/,
  ],
  ['an empty shard', shard(FIRST, () => Buffer.alloc(0)), 'invalid-model-file', /'group1-shard1of2\.bin' has 0/],
  ['a shard too long', shard(FIRST, (b) => Buffer.concat([b, b])), 'invalid-model-file', /are too long/],
  ['NaN', shard(FIRST, (b) => floats(b, Number.NaN)), 'invalid-model-file', /'conv\/kernel' has NaN at position 1/],
  [
    'infinity',
    shard(FIRST, (b) => floats(b, -1 / 0)),
    'invalid-model-file',
    /'conv\/kernel' has -Infinity at position 1/,
  ],
];

const PATHS: Row[] = [
  '../secret.bin',
  'a/../../secret.bin',
  '/etc/passwd',
  'C:\\secret.bin',
  '\\\\host\\secret',
  'file:///etc/passwd',
  'https://example.org/x.bin',
  'a\\..\\..\\secret',
  'x\u0000.bin',
  '',
].map((name) => [
  `the path ${JSON.stringify(name)}`,
  json((it) => {
    it.weightsManifest[0].paths[0] = name;
  }),
  'invalid-model-file',
  /is not inside the model's folder, so it is not read/,
]);

const manifest = (edit: (groups: Json[]) => void) => json((it) => edit(it.weightsManifest));
const spec = (name: string, change: Json) => json((it) => Object.assign(specIn(it, name), change));
const MANIFEST: Row[] = [
  [
    'a manifest that is text',
    json((it) => (it.weightsManifest = 'x')),
    'invalid-model-file',
    /must be a list of groups/,
  ],
  ['a group that is null', manifest((groups) => (groups[1] = null as never)), 'invalid-model-file', /group 1 of/],
  ['a group without paths', manifest((groups) => delete groups[0].paths), 'invalid-model-file', /group 0 of/],
  [
    'a spec that is null',
    manifest((groups) => (groups[0].weights[0] = null)),
    'invalid-model-file',
    /'name' is missing/,
  ],
  ['a shape of text', spec('bn/beta', { shape: ['4'] }), 'invalid-model-file', /weight 'bn\/beta': 'shape' must be/],
  ['a shape below 0', spec('bn/beta', { shape: [-4] }), 'invalid-model-file', /found \[-4\]/],
  ['a shape of 1e18', spec('bn/beta', { shape: [1e9, 1e9] }), 'invalid-model-file', /need 4000000000000000000 bytes/],
  ['a shape of 2^53', spec('bn/beta', { shape: [2 ** 53, 8] }), 'invalid-model-file', /group \d+ need/],
  ['another dtype', spec('bn/beta', { dtype: 'float99' }), 'invalid-model-file', /unknown dtype "float99"/],
  ['int32', spec('bn/beta', { dtype: 'int32' }), 'invalid-model-file', /'bn\/beta' is of dtype int32/],
  ['strings', spec('bn/beta', { dtype: 'string' }), 'unsupported', /'bn\/beta' is of dtype string/],
  ['strings without end', spec('bn/beta', { dtype: 'string', shape: [1e9] }), 'unsupported', /dtype string/],
  ['complex numbers', spec('bn/beta', { dtype: 'complex64', shape: [2] }), 'unsupported', /dtype complex64/],
  ['a dtype of Object', spec('bn/beta', { dtype: 'toString' }), 'invalid-model-file', /unknown dtype "toString"/],
  [
    'a quantisation that is null',
    spec('bn/beta', { quantization: null }),
    'invalid-model-file',
    /unknown quantization/,
  ],
  [
    'one of Object',
    spec('bn/beta', { quantization: { dtype: 'toString' } }),
    'invalid-model-file',
    /unknown quantization/,
  ],
  [
    'quantised bools',
    spec('bn/beta', { dtype: 'bool', shape: [16], quantization: { dtype: 'uint8', min: 0, scale: 1 } }),
    'invalid-model-file',
    /'bn\/beta'/,
  ],
  [
    'int32 as float16',
    spec('bn/beta', { dtype: 'int32', shape: [8], quantization: { dtype: 'float16' } }),
    'invalid-model-file',
    /'bn\/beta'/,
  ],
  [
    'a scale that overflows',
    spec('bn/beta', { shape: [16], quantization: { dtype: 'uint8', min: 1e300, scale: 1e300 } }),
    'invalid-model-file',
    /'bn\/beta'/,
  ],
  ['a weight twice', manifest((groups) => (groups[1].weights[0].name = 'conv/kernel')), 'invalid-model-file', /twice/],
  [
    'a weight too many',
    manifest((groups) => (groups[1].weights[0].name = 'x')),
    'invalid-model-file',
    /no layer takes 'x'/,
  ],
  ['a weight too few', manifest((groups) => groups.pop()), 'invalid-model-file', /'bn2\/moving_variance' is missing/],
  [
    'no weights at all',
    json((it) => (it.weightsManifest = [])),
    'invalid-model-file',
    /'conv\/kernel' is missing; .*; and 8 more/,
  ],
  [
    'another shape',
    spec('head/kernel', { shape: [3, 64] }),
    'invalid-model-file',
    /'head\/kernel' is \[3, 64\], and its layer needs \[64, 3\]/,
  ],
];

const layer = (name: string, change: Json) => json((it) => Object.assign(layerIn(it, name).config, change));
const nodes = (name: string, value: unknown) => json((it) => (layerIn(it, name).inbound_nodes = value));
const model = (change: Json) =>
  json((it) => Object.assign((it.modelTopology.model_config ?? it.modelTopology).config, change));
const TOPOLOGY: Row[] = [
  ['a topology that is a list', json((it) => (it.modelTopology = [])), 'invalid-model-file', /model\.json'/],
  ['a topology that is empty', json((it) => (it.modelTopology = {})), 'invalid-model-file', /model\.json'/],
  ['layers that are text', model({ layers: 'x' }), 'invalid-model-file', /expected a list/],
  ['no layers', model({ layers: [] }), 'invalid-model-file', /no layers/],
  [
    'a layer that is null',
    json((it) => layerIn(it, 'conv') && it.modelTopology.config.layers.splice(1, 1, null)),
    'invalid-model-file',
    /layers\[1\]/,
  ],
  ['a cycle', nodes('conv', [[['relu', 0, 0, {}]]]), 'invalid-model-file', /runs in a circle: 'conv', 'bn', 'relu'/],
  ['a layer that takes itself', nodes('bn', [[['bn', 0, 0, {}]]]), 'invalid-model-file', /runs in a circle: 'bn'/],
  ['a layer that takes nobody', nodes('bn', [[['nobody', 0, 0, {}]]]), 'invalid-model-file', /'nobody' is no layer/],
  [
    'a call that is not there',
    nodes('bn', [[['conv', 7, 0, {}]]]),
    'invalid-model-file',
    /is call 7, but there are only 1/,
  ],
  ['an output that is not there', nodes('bn', [[['conv', 0, 9, {}]]]), 'invalid-model-file', /is output 9/],
  ['nodes that are text', nodes('bn', 'x'), 'invalid-model-file', /layer '(base\/)?bn'/],
  ['no outputs', model({ output_layers: [] }), 'invalid-model-file', /no inputs or no outputs/],
  [
    'an unknown layer',
    json((it) => (layerIn(it, 'bn').class_name = 'Sorcery')),
    'unsupported',
    /'(base\/)?bn' \(Sorcery\)/,
  ],
  [
    'a layer class of Object',
    json((it) => (layerIn(it, 'bn').class_name = 'toString')),
    'unsupported',
    /'(base\/)?bn' \(toString\)/,
  ],
  [
    'two layers of one name',
    json((it) => (layerIn(it, 'bn2').config.name = layerIn(it, 'bn').name)),
    'invalid-model-file',
    /bn/,
  ],
  [
    'units of 1e6 behind Flatten',
    layer('head', { units: 1e6 }),
    'invalid-model-file',
    /asks for a weight of shape \[64, 1000000\]/,
  ],
  ['units of 1e12', layer('head', { units: 1e12 }), 'invalid-model-file', /layer 'head': units = 1000000000000/],
  [
    'filters of 1e6',
    layer('conv', { filters: 1e6 }),
    'invalid-model-file',
    /asks for a weight of shape \[3, 3, 3, 1000000\]/,
  ],
  ['kernels of 1e4 × 1e4', layer('conv', { kernel_size: [1e4, 1e4] }), 'invalid-model-file', /weight/],
  ['kernels of 1e6 × 1e6', layer('conv', { kernel_size: [1e6, 1e6] }), 'invalid-model-file', /layer '(base\/)?conv'/],
  [
    'a kernel of text',
    layer('conv', { kernel_size: 'x' }),
    'invalid-model-file',
    /layer '(base\/)?conv': kernel_size = 'x'/,
  ],
  ['a kernel larger than its input', layer('conv', { kernel_size: [9, 9] }), 'invalid-model-file', /model\.json'/],
  ['strides of 0', layer('conv', { strides: [0, 0] }), 'invalid-model-file', /layer '(base\/)?conv': strides/],
  [
    'an input of 1e9 × 1e9',
    layer('pictures', { batch_input_shape: [null, 1e9, 1e9, 3] }),
    'invalid-model-file',
    /model\.json'/,
  ],
  [
    'a batch of 1e9',
    layer('pictures', { batch_input_shape: [1e9, 8, 8, 3] }),
    'invalid-model-file',
    /model\.json'.*too large/,
  ],
  [
    'an input below 0',
    layer('pictures', { batch_input_shape: [null, -8, 8, 3] }),
    'invalid-model-file',
    /layer 'pictures'/,
  ],
  [
    'an input of fractions',
    layer('pictures', { batch_input_shape: [null, 8.5, 8, 3] }),
    'invalid-model-file',
    /layer 'pictures'/,
  ],
];

function replaceRelu(class_name: string, config: Json) {
  return json((it) => {
    const found = layerIn(it, 'relu');
    found.class_name = class_name;
    found.config = { name: 'relu', trainable: true, ...config };
  });
}
/** As the head takes the mean, what comes before it may be of any size. */
function pooled(folder: string): void {
  editJson(folder, (it) => {
    const flat = layerIn(it, 'flat');
    flat.class_name = 'GlobalAveragePooling2D';
    flat.config = { name: 'flat' };
    const spec = specIn(it, 'head/kernel');
    spec.shape = [4, 3];
    const [first, second] = it.weightsManifest.find((group: Json) => group.weights.includes(spec)).paths;
    fs.writeFileSync(path.join(folder, first), Buffer.alloc(48));
    fs.writeFileSync(path.join(folder, second), '');
  });
}
const pads = [
  [1e5, 1e5],
  [1e5, 1e5],
];
const SIZES: [name: string, damage: (folder: string) => void, says: RegExp][] = [
  [
    'an upsampling of 1e5 × 1e5',
    replaceRelu('UpSampling2D', { size: [1e5, 1e5] }),
    /layer 'relu' gives \[\d, 600000, 600000, 4\]/,
  ],
  ['a padding of 1e5', replaceRelu('ZeroPadding2D', { padding: pads }), /layer 'relu' gives \[\d, 200006, 200006, 4\]/],
  [
    'an input of 1e4 × 1e4',
    layer('pictures', { batch_input_shape: [null, 1e4, 1e4, 3] }),
    /which is too large to be tried/,
  ],
  ['a batch of 1e6', layer('pictures', { batch_input_shape: [1e6, 8, 8, 3] }), /which is too large to be tried/],
];

describe.each(['plain', 'nested'] as const)('sizes that no weight tells of, %s', (form) => {
  test.each(SIZES)('%s', async (_name, damage, says) => {
    writeLayers(at('in'), { nested: form === 'nested' });
    pooled(at('in'));
    expect((await attempt(at('in'), at('in'), at('sound'))).report).toBeDefined();
    damage(at('in'));
    const error = await refused(at(), at('in'), at('out'));
    expect([error.code, error.message]).toEqual(['invalid-model-file', expect.stringMatching(says)]);
    expect(error.message).toContain(at('in'));
  });
});

test('names of any length, and such as would steer a terminal', async () => {
  for (const name of ['x'.repeat(1e5), 'a\u001b[2J\nb']) {
    writeLayers(at('in'));
    editJson(at('in'), (it) => (specIn(it, 'bn/beta').name = name));
    expect((await refused(at(), at('in'), at('out'))).message).toMatch(/no layer takes '(x{100}…|a \[2J b)'/);
  }
});

test('weights in many files are not all named', async () => {
  writeLayers(at('in'));
  editJson(at('in'), (it) => (it.weightsManifest[0].paths = Array(5000).fill('group1-shard1of2.bin')));
  expect((await refused(at(), at('in'), at('out'))).message).toMatch(/and 4995 more\)/);
});

describe.each(['plain', 'nested'] as const)('a layers model, %s', (form) => {
  const skipped = form === 'nested' ? ['a layer that is null'] : [];
  const rows = [...FILES, ...PATHS, ...MANIFEST, ...TOPOLOGY].filter(([name]) => !skipped.includes(name));
  test.each(rows)('%s', async (_name, damage, code, says) => {
    writeLayers(at('in'), { nested: form === 'nested' });
    damage(at('in'));
    const error = await refused(at(), at('in'), at('out'));
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(says)]);
    expect(error.message).toContain(at('in'));
  });
});
