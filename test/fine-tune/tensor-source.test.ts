/** Pictures that are tensors: order, batches, random changes. Everything is exact but where a tolerance is stated. */
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { drawAugmentation, NO_AUGMENTATION } from '../../src/fine-tune/augmentation';
import type { Pass } from '../../src/fine-tune/data';
import { fromTensors } from '../../src/fine-tune/tensor-source';
import { seededRandom } from '../../src/random';
import { useBackend } from '../helpers/backends';
import { oneHot, type Pictures, pictures } from './toy';

interface Read {
  xs: number[][];
  labels: number[][];
  shapes: number[][];
}

async function read(source: ReturnType<typeof fromTensors>, pass: Pass): Promise<Read> {
  const found: Read = { xs: [], labels: [], shapes: [] };
  for await (const { xs, ys } of source.batches(pass)) {
    found.shapes.push(xs.shape);
    for (const row of tf.tidy(() => tf.unstack(xs).map((x) => Array.from(x.dataSync())))) found.xs.push(row);
    found.labels.push(...((await ys.array()) as number[][]));
    tf.dispose([xs, ys]);
  }
  return found;
}

const free = ({ xs, ys }: Pictures) => tf.dispose([xs, ys]);
const rowsOf = ({ xs, ys }: Pictures) => {
  const size = xs.size / xs.shape[0];
  const values = Array.from(xs.dataSync());
  return {
    xs: Array.from({ length: xs.shape[0] }, (_, i) => values.slice(i * size, (i + 1) * size)),
    labels: ys.arraySync(),
  };
};

const PLAIN: Pass = { epoch: 0, shuffle: false, augment: false };
const SHUFFLED: Pass = { ...PLAIN, shuffle: true };
const AUGMENTED: Pass = { ...SHUFFLED, augment: true };

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([
    [10, 4, [4, 4, 2]],
    [8, 4, [4, 4]],
    [3, 16, [3]],
    [5, 1, [1, 1, 1, 1, 1]],
  ])('%i pictures in batches of %i: all of them in order, exactly as they are', async (count, batchSize, sizes) => {
    const set = pictures(count, { size: 8 });
    const source = fromTensors(set, batchSize, 0, [-1, 1]);
    const found = await read(source, PLAIN);
    expect(found.shapes).toEqual(sizes.map((size) => [size, 8, 8, 3]));
    expect(source.size).toBe(sizes.length);
    expect({ xs: found.xs, labels: found.labels }).toEqual(rowsOf(set));
    free(set);
  });

  test('shuffled: each picture once, with its own label; another order in another epoch or with another seed', async () => {
    const set = pictures(20, { size: 4, classes: 3 });
    const own = new Map(rowsOf(set).xs.map((row, i) => [String(row), String(rowsOf(set).labels[i])]));
    const orders = new Set<string>();
    for (const seed of [0, 1]) {
      for (const epoch of [0, 1, 2]) {
        const { xs, labels } = await read(fromTensors(set, 6, seed, [-1, 1]), { ...SHUFFLED, epoch });
        expect(new Map(xs.map((row, i) => [String(row), String(labels[i])]))).toEqual(own);
        orders.add(String(xs));
      }
    }
    expect(orders.size).toBe(6);
    free(set);
  });

  test.each([PLAIN, SHUFFLED, AUGMENTED])(
    '%p: the same pass gives the same batches, from another source and after others too',
    async (pass) => {
      const set = pictures(9, { size: 8 });
      const source = fromTensors(set, 4, 3, [-1, 1]);
      const first = await read(source, { ...pass, epoch: 2 });
      const other = await read(source, { ...pass, epoch: 3 });
      expect(await read(source, { ...pass, epoch: 2 })).toEqual(first);
      expect(await read(fromTensors(set, 4, 3, [-1, 1]), { ...pass, epoch: 2 })).toEqual(first);
      if (pass.shuffle) expect(other).not.toEqual(first);
      else expect(other).toEqual(first);
      free(set);
    },
  );

  test('a picture is changed in a way that does not depend on its batch', async () => {
    const set = pictures(9, { size: 8 });
    const found = await read(fromTensors(set, 4, 3, [-1, 1]), AUGMENTED);
    expect(await read(fromTensors(set, 9, 3, [-1, 1]), AUGMENTED)).toEqual({ ...found, shapes: [[9, 8, 8, 3]] });
    free(set);
  });

  test('every picture is changed in its own way, and in another one in every epoch', async () => {
    const one = pictures(1, { size: 8 });
    const set = { xs: tf.tile(one.xs, [6, 1, 1, 1]) as tf.Tensor4D, ys: oneHot([0, 0, 0, 0, 0, 0], 2) };
    const source = fromTensors(set, 6, 0, [-1, 1]);
    const seen = [rowsOf(one).xs[0]];
    for (const epoch of [0, 1, 2]) seen.push(...(await read(source, { ...AUGMENTED, epoch })).xs);
    expect(new Set(seen.map(String)).size).toBe(19);
    free(one);
    free(set);
  });

  test.each([[[-1, 1]], [[0, 1]], [[0, 255]], [[-128, 127]]] as [[number, number]][])(
    'changed pictures stay within %p, and reach both ends',
    async ([black, white]) => {
      const values = Float32Array.from({ length: 12 * 8 * 8 * 3 }, (_, i) =>
        Math.floor(i / 3) % 2 === 0 ? black : white,
      );
      const set = { xs: tf.tensor4d(values, [12, 8, 8, 3]), ys: oneHot(new Array(12).fill(0), 2) };
      const all = (await read(fromTensors(set, 12, 0, [black, white]), AUGMENTED)).xs.flat();
      expect(all.reduce((a, b) => Math.min(a, b))).toBe(black);
      expect(all.reduce((a, b) => Math.max(a, b))).toBe(white);
      free(set);
    },
  );

  /** The shift by whole pixels with mirrored edges, and the mirror image, as the augmentation says, in plain code. */
  function shifted(picture: number[], [height, width]: [number, number], key: string): number[] {
    const { x, y, flip } = drawAugmentation(key);
    const mirror = (i: number, n: number) => (i < 0 ? -i : i >= n ? 2 * n - 2 - i : i);
    const [reachY, reachX] = [Math.floor(height / 8), Math.floor(width / 8)];
    const [dy, dx] = [Math.round(y * 2 * reachY) - reachY, Math.round(x * 2 * reachX) - reachX];
    const found: number[] = [];
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const from = flip ? width - 1 - column : column;
        found.push(picture[mirror(row + dy, height) * width + mirror(from + dx, width)]);
      }
    }
    return found;
  }

  // FAILS AT PRESENT in four of them: cropAndResize rounds positions, and what is beyond the edge by a rounding is black.
  // Pictures of one channel get no saturation; light is undone by comparing with a white and a grey picture's light.
  test.each([
    [8, 8],
    [16, 9],
    [31, 17],
    [24, 40],
    [5, 7],
  ])(
    '%i × %i: shifted by whole pixels and mirrored as drawn, nothing blurred, nothing from outside',
    async (height, width) => {
      const count = 40;
      const random = seededRandom(`${height}:${width}`);
      // Far from the ends of the range, so that nothing is clipped and the light is linear.
      const values = Float32Array.from({ length: count * height * width }, () => 0.4 + 0.2 * random());
      const set = { xs: tf.tensor4d(values, [count, height, width, 1]), ys: oneHot(new Array(count).fill(0), 2) };
      const { xs } = await read(fromTensors(set, 16, 0, [0, 1]), { ...AUGMENTED, shuffle: false });
      const plain = rowsOf(set).xs;
      let worst = 0;
      xs.forEach((found, index) => {
        const key = `0:augment:0:${index}`;
        const { contrast, brightness } = drawAugmentation(key);
        shifted(plain[index], [height, width], key).forEach((value, i) => {
          worst = Math.max(worst, Math.abs(found[i] - ((value - 0.5) * contrast + 0.5 + brightness)));
        });
      });
      // The position of a pixel is right to some 4 roundings of numbers up to 50 (wasm computes it in float32), and
      // neighbours differ by up to 0.2; then three operations on numbers below 1. A pixel from outside is off by 0.3.
      expect(worst).toBeLessThan(4 * 50 * 2 ** -24 * 0.2 + 8 * 2 ** -24);
      free(set);
    },
  );

  test('colours: more or less saturated around their own grey', async () => {
    const set = { xs: tf.fill([30, 4, 4, 3], 0) as tf.Tensor4D, ys: oneHot(new Array(30).fill(0), 2) };
    const coloured = { xs: tf.tidy(() => tf.add(set.xs, tf.tensor1d([0.2, -0.1, 0.05]))) as tf.Tensor4D, ys: set.ys };
    const { xs } = await read(fromTensors(coloured, 30, 0, [-1, 1]), { ...AUGMENTED, shuffle: false });
    xs.forEach((found, index) => {
      const { saturation, contrast, brightness } = drawAugmentation(`0:augment:0:${index}`);
      const grey = 0.299 * 0.2 - 0.587 * 0.1 + 0.114 * 0.05;
      const expected = [0.2, -0.1, 0.05].map((c) => (grey + (c - grey) * saturation) * contrast + 2 * brightness);
      // Some ten float32 operations on numbers below 1.
      found.forEach((value, i) => {
        expect(Math.abs(value - expected[i % 3])).toBeLessThan(10 * 2 ** -24);
      });
    });
    tf.dispose(coloured.xs);
    free(set);
  });

  test('the user’s tensors stay, and no other tensor does, also when a pass is left early', async () => {
    const set = pictures(9, { size: 8 });
    const source = fromTensors(set, 4, 0, [-1, 1]);
    const before = tf.memory().numTensors;
    for (const pass of [PLAIN, SHUFFLED, AUGMENTED]) {
      await read(source, pass);
      for await (const { xs, ys } of source.batches(pass)) {
        tf.dispose([xs, ys]);
        break;
      }
    }
    expect(tf.memory().numTensors).toBe(before);
    expect(set.xs.isDisposed || set.ys.isDisposed).toBe(false);
    free(set);
  });

  test('what is yielded is a copy: disposing it does not touch the user’s, even of one whole batch', async () => {
    const set = pictures(4, { size: 4 });
    const before = rowsOf(set);
    await read(fromTensors(set, 4, 0, [-1, 1]), PLAIN);
    expect(rowsOf(set)).toEqual(before);
    free(set);
  });
});

describe('drawn changes', () => {
  const draws = Array.from({ length: 2000 }, (_, i) => drawAugmentation(`0:augment:0:${i}`));

  test('depend on the key alone', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(drawAugmentation(a)).toEqual(drawAugmentation(a));
        if (a !== b) expect(drawAugmentation(a)).not.toEqual(drawAugmentation(b));
      }),
      { numRuns: 50 },
    );
  });

  test('are spread around no change: flips half of the time, windows anywhere, light and colour both ways', () => {
    const mean = (of: (draw: (typeof draws)[0]) => number) =>
      draws.reduce((sum, draw) => sum + of(draw), 0) / draws.length;
    const spread = (of: (draw: (typeof draws)[0]) => number) => Math.sqrt(mean((draw) => (of(draw) - mean(of)) ** 2));
    const properties = [
      (draw: (typeof draws)[0]) => Number(draw.flip),
      ...(['x', 'y', 'brightness', 'contrast', 'saturation'] as const).map(
        (name) => (draw: (typeof draws)[0]) => draw[name],
      ),
    ];
    const centres = [0.5, 0.5, 0.5, 0, 1, 1];
    properties.forEach((of, i) => {
      // Five standard errors of the mean.
      expect(Math.abs(mean(of) - centres[i])).toBeLessThan((5 * spread(of)) / Math.sqrt(draws.length));
      expect(spread(of)).toBeGreaterThan(0.01);
    });
  });

  test('stay moderate: a picture never turns black, grey or inside out', () => {
    for (const { zoom, x, y, brightness, contrast, saturation } of draws) {
      expect(zoom).toBeGreaterThanOrEqual(1);
      expect(zoom).toBeLessThan(2);
      for (const place of [x, y]) expect(place >= 0 && place <= 1).toBe(true);
      expect(Math.abs(brightness)).toBeLessThan(0.25);
      for (const factor of [contrast, saturation]) expect(Math.abs(factor - 1)).toBeLessThan(0.5);
    }
  });

  test('NO_AUGMENTATION is the middle of them', () => {
    expect(NO_AUGMENTATION).toEqual({
      flip: false,
      zoom: 1,
      x: 0.5,
      y: 0.5,
      brightness: 0,
      contrast: 1,
      saturation: 1,
    });
  });
});
