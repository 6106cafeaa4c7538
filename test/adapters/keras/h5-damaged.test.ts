/** Files that are damaged, or made to do harm: a refusal that can be read, and nothing else. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { kerasLayersOf, openKeras, writeKerasH5 } from '../../../adapters/keras/files';
import { TuneModeError } from '../../../src/errors';
import { convModel } from './h5-models';
import { describeWithH5py, makeFolder, runPython, temporaryFolders } from './h5-python';

const folder = makeFolder();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Opens, matches and reads everything; what it throws, or the numbers. */
async function readAll(file: string, model: tf.LayersModel): Promise<unknown[] | unknown> {
  try {
    const opened = await openKeras(file);
    try {
      return opened.match(model).map((weight) => weight.read());
    } finally {
      await opened.close();
    }
  } catch (error) {
    return error;
  }
}

/** Ours, naming the file, without HDF5's own noise. */
function expectRefusal(error: unknown, name: string): void {
  expect(error).toBeInstanceOf(TuneModeError);
  const { code, message } = error as TuneModeError;
  expect(code).toBe('invalid-model-file');
  expect(message).toContain(name);
  expect(message.length).toBeLessThan(600);
  expect(message).not.toMatch(/undefined|NaN|\[object|HDF5-DIAG|\bat 0x/);
}

describeWithH5py('wrong in one thing', () => {
  beforeAll(() => {
    runPython('write_keras.py', folder);
  });

  test.each([
    ['wrong-layer-dataset.h5', "expected a group at 'model_weights/dense/kernel:0', found numbers"],
    ['wrong-names-numbers.h5', "the attribute 'weight_names' of 'model_weights/dense' holds something else than text"],
    ['wrong-weight-text.h5', "the weight 'model_weights/dense/kernel:0' is stored as text"],
    ['wrong-weight-group.h5', "expected a weight at 'model_weights/dense/kernel:0', found a group"],
    ['wrong-weight-compound.h5', 'is stored as compound of 8 bytes'],
    ['wrong-missing.h5', "expected a weight at 'model_weights/dense/nothing:0', found nothing"],
    ['wrong-huge.h5', 'cannot hold them'],
    ['wrong-huge-gzip.h5', 'claims 4294967296 bytes, its file of 8276 bytes cannot hold them'],
    ['wrong-empty.h5', "the weight 'model_weights/dense/kernel:0' is empty"],
    ['wrong-soft-link.h5', "is a link to '/model_weights/dense/bias:0'"],
    ['wrong-external-link.h5', "is a link to 'elsewhere.h5'"],
    ['wrong-external-storage.h5', 'lies in another file'],
    ['wrong-virtual.h5', 'put together of other datasets'],
    ['wrong-int64.h5', 'has the integer 1099511627776, which is beyond'],
    ['wrong-json.h5', "its attribute 'model_config' is not valid JSON (line 1, column 7)"],
    ['wrong-deep.h5', 'nested deeper than 300 levels'],
    ['wrong-config-number.h5', "the attribute 'model_config' of '/' holds something else than text"],
    ['wrong-cycle.weights.h5', 'its groups are nested deeper than 40 levels'],
    ['wrong-nothing.h5', "it has no attribute 'layer_names'"],
    ['lzf.h5', "is compressed with 'lzf'; expected gzip or nothing"],
  ])('%s', async (name, says) => {
    const before = tf.memory().numTensors;
    const weights = [w('kernel', name === 'wrong-int64.h5' ? [2] : [4, 3]), w('bias', [3])];
    const dense = {
      name: 'dense',
      getClassName: () => 'Dense',
      _trainableWeights: weights,
      _nonTrainableWeights: [],
    };
    const model = { layers: [dense], weights };
    const error = await readAll(path.join(folder, name), model as unknown as tf.LayersModel);
    expectRefusal(error, name);
    expect((error as Error).message).toContain(says);
    expect(tf.memory().numTensors).toBe(before);
  });

  const w = (originalName: string, shape: number[]) => ({ originalName, shape });
});

describe('damage anywhere', () => {
  let whole: Buffer;
  let model: tf.LayersModel;
  let right: unknown[];
  let folders: string[];

  beforeAll(async () => {
    model = convModel();
    await writeKerasH5(path.join(folder, 'whole.h5'), {
      config: { some: 'config' },
      kerasVersion: '2.15.0',
      layers: kerasLayersOf(model),
    });
    whole = fs.readFileSync(path.join(folder, 'whole.h5'));
    // h5py's older format has no check sums of its own; without h5py there is none.
    const older = path.join(folder, 'keras2.h5');
    fs.copyFileSync(fs.existsSync(older) ? older : path.join(folder, 'whole.h5'), path.join(folder, 'older.h5'));
    right = model.weights.map((weight) => weight.read().dataSync());
    folders = temporaryFolders();
  });
  afterAll(() => model.dispose());

  test('cut off at any length', async () => {
    const before = tf.memory().numTensors;
    const lengths = [
      0,
      1,
      7,
      8,
      9,
      95,
      96,
      97,
      512,
      ...Array.from({ length: 12 }, (_, i) => Math.floor((whole.length * (i + 1)) / 13)),
      whole.length - 1,
    ];
    for (const length of lengths) {
      const file = path.join(folder, `cut-${length}.h5`);
      fs.writeFileSync(file, whole.subarray(0, length));
      expectRefusal(await readAll(file, model), `cut-${length}.h5`);
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each(['whole.h5', 'older.h5'])(
    'bytes of %s flipped: refused, or as many numbers as there should be',
    async (name) => {
      const random = seeded(42);
      const before = tf.memory().numTensors;
      const original = fs.readFileSync(path.join(folder, name));
      const outcome = { refused: 0, right: 0, otherNumbers: 0 };
      for (let i = 0; i < 50; i++) {
        const bytes = Buffer.from(original);
        // Where HDF5 has its own structures rather than zeros, for the most part.
        for (let k = 0, flips = 1 + (i % 3); k < flips; ) {
          const at = Math.floor(random() * bytes.length);
          if (bytes[at] === 0 && random() < 0.9) continue;
          bytes[at] ^= 1 << Math.floor(random() * 8);
          k++;
        }
        const file = path.join(folder, `flip-${i}.h5`);
        fs.writeFileSync(file, bytes);
        const result = await readAll(file, model);
        if (Array.isArray(result)) {
          expect(result.map(({ length }) => length)).toEqual(right.map((values) => (values as Float32Array).length));
          const same = result.every((values, k) => bits(values).equals(bits(right[k] as Float32Array)));
          outcome[same ? 'right' : 'otherNumbers']++;
        } else {
          expectRefusal(result, `flip-${i}.h5`);
          outcome.refused++;
        }
        fs.rmSync(file);
      }
      expect(outcome.refused).toBeGreaterThan(5);
      expect(outcome.right + outcome.otherNumbers).toBeGreaterThan(5);
      expect(tf.memory().numTensors).toBe(before);
      expect(temporaryFolders()).toEqual(folders);
    },
    400_000,
  );

  test('a later file is read as ever', async () => {
    const file = path.join(folder, 'noise.h5');
    fs.writeFileSync(file, Buffer.concat([whole.subarray(0, 200), Buffer.alloc(whole.length - 200, 0xff)]));
    expectRefusal(await readAll(file, model), 'noise.h5');
    expect(await readAll(path.join(folder, 'whole.h5'), model)).toEqual(right);
  });

  test('nothing on stderr, and whoever forgets to close is not kept waiting', () => {
    const script = path.join(folder, 'open.mts');
    const module = path.resolve(__dirname, '../../../adapters/keras/files/index.ts');
    const file = path.join(folder, 'whole.h5');
    const damaged = path.join(folder, 'short.h5');
    fs.writeFileSync(damaged, whole.subarray(0, 3000));
    fs.writeFileSync(
      script,
      `import { openKeras } from ${JSON.stringify(module)};
      await openKeras(${JSON.stringify(damaged)}).catch((error) => console.log(error.code));
      console.log((await openKeras(${JSON.stringify(file)})).format);`,
    );
    const tsx = path.resolve(__dirname, '../../../node_modules/tsx/dist/cli.mjs');
    const { status, stdout, stderr } = spawnSync(process.execPath, [tsx, script], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'invalid-model-file\nkeras-h5\n', stderr: '' });
  });

  test('what opens a file leaves no folder and no open file', async () => {
    const open = () => (process.platform === 'linux' ? fs.readdirSync('/proc/self/fd').length : 0);
    await readAll(path.join(folder, 'whole.h5'), model);
    const before = open();
    for (let i = 0; i < 3; i++) await readAll(path.join(folder, 'whole.h5'), model);
    expect(open()).toBeLessThanOrEqual(before + 1);
    expect(temporaryFolders()).toEqual(folders);
    expect(fs.readdirSync(os.tmpdir()).filter((name) => name.startsWith('tmpfile'))).toEqual([]);
  });
});

function bits(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
