import fs from 'node:fs';
import path from 'node:path';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { loadPictureFolder, type PictureDataset } from '../../../adapters/node';
import { drawJpeg, drawPng } from './picture-bytes';
import { temporaryFolder, writeFiles } from './temporary-folder';

const at = temporaryFolder();
let warn: jest.SpyInstance;

beforeAll(async () => {
  await tf.setBackend('cpu');
});
beforeEach(() => {
  warn = jest.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(() => {
  warn.mockRestore();
});

/** Pictures of one flat colour, whose red channel says which one it is. */
const shade = (value: number) => drawPng(6, 6, () => [value, 0, 0]);

/** `counts` pictures for each class; returns the folder. */
function drawFolder(counts: Record<string, number>, prefix = ''): string {
  for (const [name, count] of Object.entries(counts)) {
    for (let i = 0; i < count; i++) writeFiles(at(prefix, name), { [`${String(i).padStart(3, '0')}.png`]: shade(i) });
  }
  return at(prefix);
}

/** One epoch's files as 'class/name', batch by batch. */
async function readEpoch(dataset: PictureDataset): Promise<string[][]> {
  const batches: string[][] = [];
  for await (const { xs, ys, files } of dataset) {
    expect(xs.shape[0]).toBe(files.length);
    expect(ys.shape).toEqual([files.length, dataset.classNames.length]);
    tf.dispose([xs, ys]);
    batches.push(files.map((file) => path.relative(at(), file)));
  }
  return batches;
}

const names = (dataset: PictureDataset) => dataset.pictures.map(({ file }) => path.relative(at(), file));
const small = { imageSize: 4, batchSize: 4 };

describe('the folder', () => {
  test('gives class names in order, pictures by their extension, and ignores the rest', async () => {
    writeFiles(at(), {
      'Zebra/a.JPG': drawJpeg(8, 8, () => [9, 9, 9]),
      'ant/b.jpeg': drawJpeg(8, 8, () => [9, 9, 9]),
      'ant/c.PNG': shade(1),
      'ant/notes.txt': 'no picture',
      'ant/.hidden.png': 'no picture',
      'ant/deeper/d.png': shade(1),
      '.cache/x.png': shade(1),
      '__MACOSX/x.png': shade(1),
      'loose.png': shade(1),
    });
    const { classNames, train, val, skipped } = await loadPictureFolder(at(), { ...small, validationSplit: 0 });
    expect(classNames).toEqual(['Zebra', 'ant']); // by code units, not by the machine's language
    expect(names(train)).toEqual(['Zebra/a.JPG', 'ant/b.jpeg', 'ant/c.PNG']);
    expect(train.pictures.map(({ label }) => label)).toEqual([0, 1, 1]);
    expect(val.pictures).toEqual([]);
    expect([train.size, val.size]).toEqual([1, 0]);
    expect(await readEpoch(val)).toEqual([]);
    expect(skipped).toEqual([]);
  });

  test('follows links, and does not mind dangling ones', async () => {
    drawFolder({ a: 2, b: 2 }, 'real');
    fs.mkdirSync(at('linked'));
    fs.symlinkSync(at('real/a'), at('linked/a'));
    fs.symlinkSync(at('real/b'), at('linked/b'));
    fs.symlinkSync(at('nowhere'), at('linked/c'));
    const { classNames, train } = await loadPictureFolder(at('linked'), { validationSplit: 0 });
    expect(classNames).toEqual(['a', 'b']);
    expect(train.pictures).toHaveLength(4);
  });

  test('splits every class on its own: disjoint, complete, seeded', async () => {
    const folder = drawFolder({ a: 20, b: 10, c: 3, d: 1 });
    const { train, val } = await loadPictureFolder(folder, { validationSplit: 0.3 });
    const count = (dataset: PictureDataset) =>
      [0, 1, 2, 3].map((k) => dataset.pictures.filter(({ label }) => label === k).length);
    expect(count(val)).toEqual([6, 3, 1, 0]); // a single picture is trained on
    expect(count(train)).toEqual([14, 7, 2, 1]);
    expect(new Set([...names(train), ...names(val)]).size).toBe(34);

    const again = await loadPictureFolder(folder, { validationSplit: 0.3, seed: 0 });
    expect(names(again.val)).toEqual(names(val));
    const other = await loadPictureFolder(folder, { validationSplit: 0.3, seed: 1 });
    expect(names(other.val)).not.toEqual(names(val));
  });

  test('a new class leaves the split of the others as it was', async () => {
    const folder = drawFolder({ b: 10, c: 10 });
    const before = names((await loadPictureFolder(folder)).val);
    drawFolder({ a: 10 });
    const after = names((await loadPictureFolder(folder)).val).filter((name) => !name.startsWith('a'));
    expect(after).toEqual(before);
  });

  test('a split near 0 or 1 still leaves each side a picture', async () => {
    const folder = drawFolder({ a: 3, b: 3 });
    const few = await loadPictureFolder(folder, { validationSplit: 0.01 });
    expect([few.train.pictures.length, few.val.pictures.length]).toEqual([4, 2]);
    const many = await loadPictureFolder(folder, { validationSplit: 0.99 });
    expect([many.train.pictures.length, many.val.pictures.length]).toEqual([2, 4]);
  });

  test('train/ and val/ are the split, whatever lies beside them', async () => {
    drawFolder({ a: 3, b: 2 }, 'train');
    drawFolder({ b: 1 }, 'val'); // a class may be missing here
    drawFolder({ a: 5 }, 'test');
    const { classNames, train, val } = await loadPictureFolder(at(), { ...small, validationSplit: 0.5 });
    expect(classNames).toEqual(['a', 'b']);
    expect(train.pictures).toHaveLength(5);
    expect(names(val)).toEqual(['val/b/000.png']);
    const { value } = await (await val.iterator()).next();
    expect([...(await value!.ys.data())]).toEqual([0, 1]);
    tf.dispose([value!.xs, value!.ys]);
  });

  test.each<[string, () => void, string, RegExp]>([
    ['a missing folder', () => {}, 'not-found', /There is no folder '.*nowhere'/],
    [
      'a file',
      () => writeFiles(at(), { nowhere: '' }),
      'invalid-data',
      /is a file, not a folder. Expected 'folder\/<class>/,
    ],
    [
      'no class',
      () => writeFiles(at('nowhere'), { 'a.png': '' }),
      'invalid-data',
      /no class folder. Expected 'folder\/<class>/,
    ],
    ['one class', () => drawFolder({ a: 2 }, 'nowhere'), 'invalid-data', /only one class folder, 'a'. Expected/],
    [
      'classes without pictures',
      () => writeFiles(at('nowhere'), { 'a/1.png': '', 'b/1.txt': '', 'c/1.gif': '' }),
      'invalid-data',
      /No pictures in 'b', 'c' of .*Expected/,
    ],
    [
      'train/ without val/',
      () => drawFolder({ 'train/a': 1, 'test/a': 1 }, 'nowhere'),
      'invalid-data',
      /No pictures in 'test', 'train'.*'folder\/train\/<class>/,
    ],
    [
      'a class that is not trained',
      () => drawFolder({ 'train/a': 1, 'train/b': 1, 'val/a': 1, 'val/B': 1 }, 'nowhere'),
      'invalid-data',
      /has 'B', which '.*train' does not have/,
    ],
  ])('%s is refused', async (_, prepare, code, message) => {
    prepare();
    const loading = loadPictureFolder(at('nowhere'));
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toMatchObject({ name: 'TuneModeError', code });
  });

  test.each<[object, RegExp]>([
    [{ batchsize: 3 }, /unknown option 'batchsize'. Valid options: .*'batchSize'/],
    [{ batchSize: 0 }, /'batchSize' must be a whole number, at least 1; found 0/],
    [{ batchSize: 2.5 }, /'batchSize'/],
    [{ validationSplit: 1 }, /'validationSplit' must be a number from 0 up to/],
    [{ validationSplit: '0.2' }, /'validationSplit'.*found "0.2"/],
    [{ seed: -1 }, /'seed' must be a whole number/],
    [{ seed: 0.5 }, /'seed'/],
    [{ onSkip: 'log' }, /'onSkip' must be a function/],
    [{ imageSize: [224, 0] }, /'imageSize'/],
  ])('options %j are refused', async (options, message) => {
    const loading = loadPictureFolder(drawFolder({ a: 1, b: 1 }), options);
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toMatchObject({ code: 'invalid-option' });
  });
});

describe('the stream', () => {
  test('gives float32 batches in the input range, with the labels of their files', async () => {
    const folder = drawFolder({ a: 5, b: 4 });
    const { train } = await loadPictureFolder(folder, {
      imageSize: [2, 3],
      batchSize: 4,
      validationSplit: 0,
      inputRange: [0, 255],
    });
    expect(train.size).toBe(3);
    const sizes: number[] = [];
    for await (const { xs, ys, files } of train) {
      expect([xs.dtype, ys.dtype]).toEqual(['float32', 'float32']);
      expect(xs.shape).toEqual([files.length, 2, 3, 3]);
      const pixels = await xs.data();
      const labels = await ys.data();
      files.forEach((file, i) => {
        const [name, number] = path.relative(at(), file).split(path.sep);
        expect(pixels[i * 18]).toBeCloseTo(Number.parseInt(number, 10), 4);
        expect([...labels.slice(i * 2, i * 2 + 2)]).toEqual(name === 'a' ? [1, 0] : [0, 1]);
      });
      sizes.push(files.length);
      tf.dispose([xs, ys]);
    }
    expect(sizes).toEqual([4, 4, 1]);
  });

  test('has the same order for the same seed, and another one in every epoch and for every seed', async () => {
    const folder = drawFolder({ a: 12, b: 12 });
    const run = async (seed: number) => {
      const { train, val } = await loadPictureFolder(folder, { ...small, seed });
      return {
        first: await readEpoch(train),
        second: await readEpoch(train),
        val: [await readEpoch(val), await readEpoch(val)],
      };
    };
    const one = await run(5);
    expect(await run(5)).toEqual(one);
    expect(one.second).not.toEqual(one.first);
    expect(one.second.flat().sort()).toEqual(one.first.flat().sort());
    expect(one.first.flat()).not.toEqual(one.first.flat().sort());
    expect(one.val[1]).toEqual(one.val[0]);
    expect((await run(6)).first).not.toEqual(one.first);
  });

  test('goes on at a given epoch after a stop', async () => {
    const folder = drawFolder({ a: 8, b: 8 });
    const { train } = await loadPictureFolder(folder, small);
    const epochs = [await readEpoch(train), await readEpoch(train), await readEpoch(train)];
    const resumed = (await loadPictureFolder(folder, small)).train;
    resumed.epoch = 2;
    expect(await readEpoch(resumed)).toEqual(epochs[2]);
  });

  test('makes no tensor before it is asked, and leaks none when it is left', async () => {
    const { train } = await loadPictureFolder(drawFolder({ a: 8, b: 8 }), { ...small, validationSplit: 0 });
    const before = tf.memory().numTensors;
    const iterator = await train.iterator();
    expect(tf.memory().numTensors).toBe(before);
    const { value } = await iterator.next();
    expect(tf.memory().numTensors).toBe(before + 2);
    tf.dispose([value!.xs, value!.ys]);
    await iterator.return();
    expect((await iterator.next()).done).toBe(true);
    for await (const { xs, ys } of train) {
      tf.dispose([xs, ys]);
      break;
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  test('answers calls that do not wait for each other in order', async () => {
    const { val } = await loadPictureFolder(drawFolder({ a: 9, b: 9 }), { ...small, validationSplit: 0.5 });
    const expected = await readEpoch(val);
    const iterator = await val.iterator();
    const results = await Promise.all([iterator.next(), iterator.next(), iterator.next(), iterator.next()]);
    const files = results.map(({ value }) => value?.files.map((file) => path.relative(at(), file)));
    expect(files).toEqual([...expected, undefined]);
    for (const { value } of results) if (value) tf.dispose([value.xs, value.ys]);
  });
});

describe('unreadable pictures', () => {
  /** 6 good ones in each class, and three bad ones. */
  function drawWithBadOnes(): string {
    drawFolder({ a: 6, b: 6 });
    writeFiles(at('a'), {
      'cut.jpg': drawJpeg(9, 9, () => [1, 2, 3]).subarray(0, 300),
      'page.png': '<html>404</html>',
    });
    writeFiles(at('b'), { 'empty.jpeg': '' });
    return at();
  }

  test('are named once, left out, listed and counted; batches stay full', async () => {
    const { train, skipped } = await loadPictureFolder(drawWithBadOnes(), { ...small, validationSplit: 0 });
    const sizes = (await readEpoch(train)).map((batch) => batch.length);
    expect(sizes).toEqual([4, 4, 4]);
    expect(skipped.map(({ file }) => path.relative(at(), file)).sort()).toEqual([
      'a/cut.jpg',
      'a/page.png',
      'b/empty.jpeg',
    ]);
    expect(skipped.find(({ file }) => file.endsWith('page.png'))?.reason).toMatch(/it is a text file/);
    const messages = warn.mock.calls.map(([message]) => message as string);
    expect(messages.filter((message) => /^Skipped '.*page\.png': it is a text file/.test(message))).toHaveLength(1);
    expect(messages).toContain('3 of 15 pictures could not be read and were skipped.');

    warn.mockClear();
    await readEpoch(train);
    expect(warn).not.toHaveBeenCalled();
    expect(train.size).toBe(3);
  });

  test('go to onSkip instead of the console', async () => {
    const onSkip = jest.fn();
    const { train, skipped } = await loadPictureFolder(drawWithBadOnes(), { ...small, validationSplit: 0, onSkip });
    await readEpoch(train);
    await readEpoch(train);
    expect(onSkip.mock.calls.map(([one]) => one)).toEqual(skipped);
    expect(warn).not.toHaveBeenCalled();
  });

  test('do not change the order of the others, in which epoch ever they are found', async () => {
    const { train } = await loadPictureFolder(drawWithBadOnes(), { ...small, validationSplit: 0 });
    const epochs = [await readEpoch(train), await readEpoch(train)];
    const fresh = (await loadPictureFolder(at(), { ...small, validationSplit: 0 })).train;
    fresh.epoch = 1;
    expect((await readEpoch(fresh)).flat()).toEqual(epochs[1].flat());
  });

  test('a picture that vanishes is one of them', async () => {
    const { train, skipped } = await loadPictureFolder(drawFolder({ a: 3, b: 3 }), { ...small, validationSplit: 0 });
    fs.rmSync(at('a/001.png'));
    expect((await readEpoch(train)).flat()).toHaveLength(5);
    expect(skipped).toEqual([{ file: at('a/001.png'), reason: 'the file cannot be read (ENOENT)' }]);
  });

  test('nothing but unreadable pictures is an error', async () => {
    writeFiles(at(), { 'a/1.jpg': 'x', 'b/1.jpg': 'y' });
    const { train } = await loadPictureFolder(at(), small);
    for (let epoch = 0; epoch < 2; epoch++) {
      await expect(readEpoch(train)).rejects.toThrow(
        /None of the 2 pictures could be read; the first one, '.*1\.jpg': it is neither/,
      );
    }
  });

  test('an error thrown by onSkip reaches the caller', async () => {
    const onSkip = () => {
      throw new Error('stop here');
    };
    const { train } = await loadPictureFolder(drawWithBadOnes(), { ...small, validationSplit: 0, onSkip });
    const before = tf.memory().numTensors;
    await expect(readEpoch(train)).rejects.toThrow('stop here');
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('with tfjs-layers', () => {
  function classifier(): layers.Sequential {
    const model = layers.sequential({
      layers: [
        layers.layers.flatten({ inputShape: [4, 4, 3] }),
        layers.layers.dense({ units: 2, activation: 'softmax', kernelInitializer: 'zeros' }),
      ],
    });
    model.compile({ optimizer: 'adam', loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
    return model;
  }

  test('fitDataset and evaluateDataset take the data sets, leak nothing, and see a new order each epoch from the first on', async () => {
    for (const [name, level] of [
      ['dark', 20],
      ['light', 230],
    ] as const) {
      for (let i = 0; i < 10; i++)
        writeFiles(at(name), { [`${i}.png`]: drawPng(5, 7, () => [level + i, level, level]) });
    }
    const { train, val } = await loadPictureFolder(at(), small);
    const model = classifier();
    await model.fitDataset(train, { epochs: 1, verbose: 0, validationData: val }); // makes the optimizer's tensors
    expect(train.epoch).toBe(1); // fitDataset asks for two iterators and reads one
    const before = tf.memory().numTensors;
    const history = await model.fitDataset(train, { epochs: 8, verbose: 0, validationData: val });
    expect(train.epoch).toBe(9);
    expect(history.history.val_acc.at(-1)).toBe(1);
    const [loss, accuracy] = (await model.evaluateDataset(val, {})) as tf.Scalar[];
    expect(accuracy.dataSync()[0]).toBe(1);
    tf.dispose([loss, accuracy]);
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  test('stopping in the middle of an epoch leaks nothing', async () => {
    const { train } = await loadPictureFolder(drawFolder({ a: 8, b: 8 }), small);
    const model = classifier();
    await model.fitDataset(train, { epochs: 1, verbose: 0 });
    const before = tf.memory().numTensors;
    const callbacks = {
      onBatchEnd: async () => {
        model.stopTraining = true;
      },
    };
    await model.fitDataset(train, { epochs: 3, verbose: 0, callbacks });
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });
});
