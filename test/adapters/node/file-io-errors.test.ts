import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { fileIO } from '../../../adapters/node';
import { listing, madeUpModel } from './models';
import { temporaryFolder, writeFiles } from './temporary-folder';

const at = temporaryFolder();

const float = (shape: number[], more = {}) => ({ name: 'w', shape, dtype: 'float32', ...more });

/** A model.json with this manifest, beside weights of 40 bytes in w.bin. */
function writeModel(weightsManifest: unknown, more: Record<string, string> = {}): void {
  writeFiles(at('m'), {
    'model.json': JSON.stringify({ modelTopology: {}, weightsManifest }),
    'w.bin': Buffer.alloc(40),
    ...more,
  });
}

describe('loading must refuse', () => {
  test.each<[string, () => void, string, RegExp]>([
    ['a place that does not exist', () => {}, 'not-found', /There is no '.*m'. Expected the folder of a tfjs model/],
    ['a folder without model.json', () => fs.mkdirSync(at('m')), 'not-found', /The folder '.*m' has no model\.json/],
    [
      'a file that is no .json',
      () => writeFiles(at(), { m: 'x' }),
      'invalid-model-file',
      /is neither a folder nor a \.json file/,
    ],
    ['an empty file', () => writeFiles(at('m'), { 'model.json': '' }), 'invalid-model-file', /is empty/],
    [
      'broken JSON',
      () => writeFiles(at('m'), { 'model.json': '{\n  "modelTopology": {},\n  oops\n}' }),
      'invalid-model-file',
      /model\.json' is not valid JSON \(line 3, column 3\)/,
    ],
    [
      'a file cut off',
      () => writeFiles(at('m'), { 'model.json': '{"modelTopology": {"a": [1, 2' }),
      'invalid-model-file',
      /not valid JSON \(line 1, column 30\)/,
    ],
    ['a list', () => writeFiles(at('m'), { 'model.json': '[]' }), 'invalid-model-file', /expected a JSON object/],
    [
      'other JSON',
      () => writeFiles(at('m'), { 'model.json': '{"labels": []}' }),
      'invalid-model-file',
      /it has no 'modelTopology'/,
    ],
    ['a manifest that is no list', () => writeModel({}), 'invalid-model-file', /'weightsManifest' must be a list/],
    [
      'a group without paths',
      () => writeModel([{ weights: [] }]),
      'invalid-model-file',
      /group 0 .* needs the lists 'paths'/,
    ],
    ['a group that is null', () => writeModel([null]), 'invalid-model-file', /group 0 .* needs the lists 'paths'/],
    [
      'a weight without a shape',
      () => writeModel([{ paths: ['w.bin'], weights: [float(undefined as never)] }]),
      'invalid-model-file',
      /weight 'w': 'shape' must be/,
    ],
    [
      'a negative size',
      () => writeModel([{ paths: ['w.bin'], weights: [float([-10])] }]),
      'invalid-model-file',
      /'shape' must be a list of sizes, found \[-10\]/,
    ],
    [
      'an unknown dtype',
      () => writeModel([{ paths: ['w.bin'], weights: [float([10], { dtype: 'float64' })] }]),
      'invalid-model-file',
      /unknown dtype "float64"/,
    ],
    [
      'an unknown quantisation',
      () => writeModel([{ paths: ['w.bin'], weights: [float([10], { quantization: { dtype: 'int4' } })] }]),
      'invalid-model-file',
      /unknown quantization \{"dtype":"int4"\}/,
    ],
    [
      'a quantisation without its scale',
      () => writeModel([{ paths: ['w.bin'], weights: [float([40], { quantization: { dtype: 'uint8', min: 0 } })] }]),
      'invalid-model-file',
      /needs the numbers 'min' and 'scale'/,
    ],
    [
      'a missing shard',
      () => writeModel([{ paths: ['w.bin', 'x.bin'], weights: [float([10])] }]),
      // Not 'not-found': there is a model, and whoever asks whether there is one must not take it for none.
      'invalid-model-file',
      /The weight file '.*x\.bin', named in '.*model\.json', is missing/,
    ],
    [
      'a shard that is a folder',
      () => writeModel([{ paths: ['d'], weights: [float([10])] }], { 'd/x': '' }),
      'invalid-model-file',
      /'.*d'.* is missing/,
    ],
    [
      'a shard that is too short',
      () => writeModel([{ paths: ['w.bin'], weights: [float([11])] }]),
      'invalid-model-file',
      /the weights of group 0 need 44 bytes, but 40 were found \('w\.bin' has 40\).*cut off/,
    ],
    [
      'a shard that is too long',
      () =>
        writeModel([
          { paths: [], weights: [] },
          { paths: ['w.bin'], weights: [float([3, 3])] },
        ]),
      'invalid-model-file',
      /group 1 need 36 bytes, but 40 were found.*too long/,
    ],
    [
      'weights without a file',
      () => writeModel([{ paths: [], weights: [float([2])] }]),
      'invalid-model-file',
      /need 8 bytes, but 0 were found \(there is no file\)/,
    ],
    [
      'a size beyond all memory',
      () => writeModel([{ paths: ['w.bin'], weights: [float([1e9, 1e9])] }]),
      'invalid-model-file',
      /need 4000000000000000000 bytes/,
    ],
  ])('%s', async (_, prepare, code, message) => {
    prepare();
    const loading = fileIO(at('m')).load();
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toMatchObject({ name: 'TuneModeError', code });
  });

  test.each([
    '../secret.bin',
    'a/../../secret.bin',
    'a/..',
    '..\\secret.bin',
    '/etc/hostname',
    'C:\\secret.bin',
    'C:secret.bin',
    '\\\\host\\secret.bin',
    'file:///etc/hostname',
    'https://example.com/w.bin',
    'w.bin\0',
    '',
    7,
  ])('the weight file %j, and reads nothing outside the folder', async (file) => {
    writeFiles(at(), { 'secret.bin': Buffer.alloc(40) });
    writeModel([{ paths: [file], weights: [float([10])] }]);
    const spies = [jest.spyOn(fsPromises, 'open'), jest.spyOn(fsPromises, 'stat')];
    const loading = fileIO(at('m')).load();
    await expect(loading).rejects.toThrow(/is not inside the model's folder, so it is not read/);
    await expect(loading).rejects.toMatchObject({ code: 'invalid-model-file' });
    const touched = spies.flatMap((spy) => spy.mock.calls.map(([touchedFile]) => String(touchedFile)));
    for (const spy of spies) spy.mockRestore();
    expect([...new Set(touched)]).toEqual([at('m/model.json')]);
  });
});

describe('fileIO itself must refuse', () => {
  test.each<[unknown, RegExp]>([
    ['', /expected the path of a folder or of a \.json file; found ""/],
    [undefined, /found undefined/],
    [{ load() {} }, /found \{\}/],
    ['https://example.com/model.json', /is no file.*for 'https:\/\/' give the URL to tf\.loadLayersModel/],
    ['indexeddb://model', /is no file/],
    ['file:///%E0%A4%A', /is no valid file URL/],
  ])('%j', (place, message) => {
    expect(() => fileIO(place as string)).toThrow(message);
    expect(() => fileIO(place as string)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
  });
});

describe('saving must refuse', () => {
  test.each<[string, object, string, RegExp]>([
    ['no topology', { modelTopology: undefined }, 'unsupported', /this one has none/],
    ['a binary topology', { modelTopology: new ArrayBuffer(8) }, 'unsupported', /binary topology/],
    ['a topology in a typed array', { modelTopology: new Uint8Array(8) }, 'unsupported', /this one has none/],
    [
      'a stream of weights',
      { weightData: undefined, getWeightStream: () => new ReadableStream() },
      'unsupported',
      /given as a stream/,
    ],
    [
      'too little data',
      { weightData: new ArrayBuffer(39) },
      'invalid-data',
      /describe 40 bytes of weights, but 'weightData' has 39. Nothing was saved/,
    ],
    ['too much data', { weightData: [new ArrayBuffer(40), new ArrayBuffer(1)] }, 'invalid-data', /has 41/],
  ])('%s, and leaves no trace', async (_, change, code, message) => {
    const saving = fileIO(at('m')).save({ ...madeUpModel(1), ...change });
    await expect(saving).rejects.toThrow(message);
    await expect(saving).rejects.toMatchObject({ name: 'TuneModeError', code });
    expect(listing(at())).toEqual([]);
  });

  test('metadata that is no JSON, and leaves no trace', async () => {
    const circular: Record<string, object> = {};
    circular.self = circular;
    await expect(fileIO(at('m')).save({ ...madeUpModel(1), userDefinedMetadata: circular })).rejects.toThrow(
      /circular/,
    );
    expect(listing(at())).toEqual([]);
  });
});
