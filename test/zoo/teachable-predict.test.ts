/** Teachable Machine's `predict`: pictures as its own library takes them (`teachable.test.ts`). */
import * as tf from '@tensorflow/tfjs-core';
import { loadTeachableMachine, type PictureInput, type TeachableMachine } from 'tfjs-tune-mode/zoo';
import { writeFiles } from '../adapters/node/temporary-folder';
import { disposeLayers, refusal } from '../fine-tune/toy';
import { filesOf, teachable } from './models';
import { METADATA, picture, probabilities, teachableExport } from './teachable-files';

const { folder, local } = teachableExport();

describe('predict', () => {
  let machine: TeachableMachine;
  beforeEach(async () => {
    machine = await loadTeachableMachine(local());
  });
  afterEach(() => machine.dispose());

  /**
   * By the library's formulas, in plain numbers: the picture drawn at the size whose shorter side fits (a canvas samples
   * at the pixels' centres), its middle, x / 127 − 1.
   */
  function expected(image: tf.Tensor3D): Record<string, number> {
    const [height, width] = image.shape;
    const pixels = image.arraySync();
    const scale = 16 / Math.min(height, width);
    const samples = (side: number) => {
      const drawn = Math.ceil(side * scale);
      const first = Math.trunc((drawn - 16) / 2);
      return Array.from({ length: 16 }, (_, i) => {
        const position = Math.min(Math.max(((first + i + 0.5) * side) / drawn - 0.5, 0), side - 1);
        const before = Math.floor(position);
        return { before, after: Math.min(before + 1, side - 1), weight: position - before };
      });
    };
    const [rows, columns] = [samples(height), samples(width)];
    const mixed = (a: number, b: number, weight: number) => (1 - weight) * a + weight * b;
    const values = rows.flatMap((y) =>
      columns.flatMap((x) =>
        [0, 1, 2].map((c) => {
          const inRow = (row: number) => mixed(pixels[row][x.before][c], pixels[row][x.after][c], x.weight);
          return mixed(inRow(y.before), inRow(y.after), y.weight) / 127 - 1;
        }),
      ),
    );
    const output = tf.tidy(() => (machine.model.predict(tf.tensor4d(values, [1, 16, 16, 3])) as tf.Tensor).dataSync());
    return Object.fromEntries(METADATA.labels.map((label, i) => [label, output[i]]));
  }

  // float32 in interpolation and net: 1e-5 of a probability; a shifted crop or another range is off by 1e-2.
  const closeTo = (found: Record<string, number>, wanted: Record<string, number>) => {
    for (const label of METADATA.labels) expect(Math.abs(found[label] - wanted[label])).toBeLessThan(1e-5);
  };

  test.each([
    [16, 16],
    [16, 40],
    [41, 16],
    [37, 50],
    [8, 9],
    [1, 1],
  ])('the middle square of %d × %d, as the library takes it', async (height, width) => {
    const image = picture(height, width);
    closeTo(await probabilities(machine, image), expected(image));
    expect(image.isDisposed).toBe(false);
    image.dispose();
  });

  test('float32 tensors, ImageData and its like', async () => {
    const image = picture(20, 24);
    const wanted = expected(image);
    const floats = tf.cast(image, 'float32');
    const data = Uint8ClampedArray.from(
      tf.tidy(() =>
        tf
          .pad(
            image,
            [
              [0, 0],
              [0, 0],
              [0, 1],
            ],
            255,
          )
          .dataSync(),
      ),
    );
    closeTo(await probabilities(machine, floats), wanted);
    closeTo(await probabilities(machine, { width: 24, height: 20, data } as unknown as PictureInput), wanted);
    closeTo(await probabilities(machine, { width: 24, height: 20, data: Uint8Array.from(data) }), wanted);
    tf.dispose([image, floats]);
  });

  test('the likeliest first, as many as wanted', async () => {
    const image = picture(16, 16);
    const all = await machine.predict(image);
    expect(all.map(({ className }) => className).sort()).toEqual([...METADATA.labels].sort());
    expect(all.map(({ probability }) => probability)).toEqual(
      all.map(({ probability }) => probability).sort((a, b) => b - a),
    );
    expect(await machine.predict(image, 2)).toEqual(all.slice(0, 2));
    expect(await machine.predict(image, 9)).toEqual(all);
    image.dispose();
  });

  test.each<[string, () => unknown, number | undefined, RegExp]>([
    ['four channels', () => picture(4, 4, 4), undefined, /expected a picture with 3 channels; found 4/],
    ['grey', () => picture(4, 4, 1), undefined, /found 1/],
    ['a batch', () => tf.zeros([1, 4, 4, 3]), undefined, /found a tensor \[1, 4, 4, 3\]/],
    ['no pixels', () => tf.zeros([0, 4, 3]), undefined, /found a tensor \[0, 4, 3\]/],
    ['a path', () => 'cat.jpg', undefined, /found string/],
    ['null', () => null, undefined, /found null/],
    ['topk 0', () => picture(4, 4), 0, /'topk' must be a whole number from 1; found 0/],
    ['topk 1.5', () => picture(4, 4), 1.5, /found 1.5/],
  ])('refused: %s', async (_, image, topk, message) => {
    const given = image();
    const error = await refusal(machine.predict(given as PictureInput, topk));
    expect(error.message).toMatch(message);
    tf.dispose(given as tf.Tensor);
  });

  test('a grey model takes coloured pictures, and grey ones', async () => {
    const model = teachable(2, { channels: 1 });
    writeFiles(folder('grey'), {
      ...(await filesOf(model)),
      'metadata.json': JSON.stringify({ labels: ['a', 'b'], grayscale: true, imageSize: 16 }),
    });
    disposeLayers(model);
    const grey = await loadTeachableMachine(folder('grey'));
    const light = picture(16, 16, 1);
    // 0.2989 + 0.587 + 0.114 = 0.9999: the same to 1e-4 of the range.
    const coloured = tf.tidy(() => tf.concat([light, light, light], 2)) as tf.Tensor3D;
    const [a, b] = [await probabilities(grey, light), await probabilities(grey, coloured)];
    expect(Math.abs(a.a - b.a)).toBeLessThan(1e-3);
    tf.dispose([light, coloured]);
    grey.dispose();
  });
});
