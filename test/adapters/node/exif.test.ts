import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { decodePicture } from '../../../adapters/node';
import { exifOrientation, type Orientation } from '../../../adapters/node/exif-orientation';
import { decodeShrunk } from '../../../adapters/node/shrink';
import { type ExifOptions, tiff, withApp1 } from './exif-bytes';
import { chunk, drawJpeg, drawPng } from './picture-bytes';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const ORIENTATIONS: Orientation[] = [1, 2, 3, 4, 5, 6, 7, 8];

/** Where a camera that was held that way stores the pixel (x, y) of a W × H picture: EXIF 2.3, tag 274. */
const STORED: Record<Orientation, (x: number, y: number, w: number, h: number) => [number, number]> = {
  1: (x, y) => [x, y], // row 0 is the top, column 0 the left
  2: (x, y, w) => [w - 1 - x, y], // top, right
  3: (x, y, w, h) => [w - 1 - x, h - 1 - y], // bottom, right
  4: (x, y, _, h) => [x, h - 1 - y], // bottom, left
  5: (x, y) => [y, x], // left, top
  6: (x, y, w) => [y, w - 1 - x], // right, top
  7: (x, y, w, h) => [h - 1 - y, w - 1 - x], // right, bottom
  8: (x, y, _, h) => [h - 1 - y, x], // left, bottom
};

type Rgb = [number, number, number];
const W = 48;
const H = 32;
/** A corner of each colour, none like another. */
const scene = (x: number, y: number): Rgb => [x < W / 2 ? 30 : 220, y < H / 2 ? 40 : 200, x < 16 && y < 8 ? 250 : 20];

const drawFineJpeg: typeof drawPng = (w, h, color) => drawJpeg(w, h, color, 100);

/** What such a camera stores, drawn with any encoder. */
function stored(orientation: Orientation, draw: typeof drawPng, factor = 1): Buffer {
  const pixels = new Map<string, Rgb>();
  for (let y = 0; y < H; y++) {
    for (let x = 0; x < W; x++) pixels.set(STORED[orientation](x, y, W, H).join(), scene(x, y));
  }
  const [w, h] = orientation >= 5 ? [H, W] : [W, H];
  return draw(w * factor, h * factor, (x, y) => pixels.get(`${Math.floor(x / factor)},${Math.floor(y / factor)}`)!);
}

/** A PNG with the chunk eXIf right behind its header, or at its end. */
function withChunk(png: Buffer, block: Buffer, at: 'first' | 'last' = 'first'): Buffer {
  const place = at === 'first' ? 33 : png.length - 12;
  return Buffer.concat([png.subarray(0, place), chunk('eXIf', block), png.subarray(place)]);
}

const upright = decodeShrunk(stored(1, drawPng), [H, W]);

function largestDifference(bytes: Uint8Array, size: [number, number] = [H, W]): number {
  const found = decodeShrunk(bytes, size);
  expect([found.width, found.height]).toEqual([W, H]);
  return Math.max(...Array.from({ length: W * H * 3 }, (_, i) => Math.abs(found.data[i] - upright.data[i])));
}

describe('a picture stored in any orientation stands upright', () => {
  test.each(ORIENTATIONS)('JPEG, orientation %i', (orientation) => {
    const jpg = stored(orientation, drawFineJpeg);
    for (const little of [true, false]) {
      expect(largestDifference(withApp1(jpg, tiff(orientation, { little })))).toBeLessThan(9);
    }
  });

  test.each(ORIENTATIONS)('PNG, orientation %i, exactly', (orientation) => {
    const png = stored(orientation, drawPng);
    expect(largestDifference(withChunk(png, tiff(orientation)))).toBe(0);
    expect(largestDifference(withChunk(png, tiff(orientation, { little: false }), 'last'))).toBe(0);
  });

  test.each(ORIENTATIONS)('shrunk first and then turned, orientation %i', (orientation) => {
    // Five times as large, wanted at a fifth of a quarter: shrunk by five, to the scene as it was drawn.
    expect(largestDifference(withChunk(stored(orientation, drawPng, 5), tiff(orientation)), [H / 2, W / 2])).toBe(0);
  });

  test('decodePicture turns before it cuts', async () => {
    // Upright 8 × 16, red above blue; stored lying on its left side, it would be cut to a red left and a blue right.
    const png = drawPng(16, 8, (x) => (x < 8 ? [255, 0, 0] : [0, 0, 255]));
    const picture = decodePicture(withChunk(png, tiff(6)), { imageSize: 8, inputRange: [0, 255] });
    const pixels = await picture.array();
    expect(pixels.map((row) => row[3])).toEqual([...Array(4).fill([255, 0, 0]), ...Array(4).fill([0, 0, 255])]);
    picture.dispose();
  });

  test.each<[string, ExifOptions]>([
    ['other entries in front', { before: 9 }],
    ['a LONG, little endian', { type: 4 }],
    ['a LONG, big endian', { type: 4, little: false }],
  ])('%s', (_, options) => {
    expect(exifOrientation(tiff(6, options))).toBe(6);
  });

  test('behind a JFIF segment', () => {
    const jpg = stored(6, drawFineJpeg);
    expect(largestDifference(withApp1(jpg, tiff(6), 'after JFIF'))).toBeLessThan(9);
  });
});

describe('what makes no sense is not heeded, and costs nobody the picture', () => {
  const patched = (block: Buffer, at: number, ...values: number[]) => {
    const copy = Buffer.from(block);
    copy.set(values, at);
    return copy;
  };
  const good = tiff(6);
  const blocks: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['one byte', good.subarray(0, 1)],
    ['cut off in the header', good.subarray(0, 6)],
    ['cut off in the entry', good.subarray(0, 17)],
    ['another byte order', patched(good, 0, 0x58, 0x58)],
    ['no 42', patched(good, 2, 43)],
    ['a directory outside', patched(good, 4, 0xff, 0xff, 0xff, 0xff)],
    ['a directory in the header', patched(good, 4, 0)],
    ['more entries than there are', patched(patched(good, 8, 0xff, 0xff), 10, 0)],
    ['orientation 0', tiff(0)],
    ['orientation 9', tiff(9)],
    ['orientation 65535', tiff(65535)],
    ['orientation as text', patched(good, 12, 2)],
    ['zeros', Buffer.alloc(200)],
  ];
  const jpg = drawJpeg(16, 8, (x) => [x * 16, 0, 0]);
  const png = drawPng(16, 8, (x) => [x * 16, 0, 0]);

  test.each(blocks)('%s', (_, block) => {
    expect(exifOrientation(block)).toBe(1);
    for (const [plain, marked] of [
      [jpg, withApp1(jpg, block)],
      [png, withChunk(png, block)],
    ]) {
      const { width, height, data } = decodeShrunk(marked, [8, 16]);
      expect([width, height]).toEqual([16, 8]);
      expect(data.slice(0, 16 * 8 * 3)).toEqual(decodeShrunk(plain, [8, 16]).data.slice(0, 16 * 8 * 3));
    }
  });

  test('a damaged block in front of a good one', () => {
    const bytes = withApp1(withApp1(jpg, good), blocks[3][1]);
    expect(decodeShrunk(bytes, [8, 16])).toMatchObject({ width: 8, height: 16 });
  });

  test('another APP1 segment, as XMP has it', () => {
    const bytes = withApp1(jpg, good);
    bytes.write('http', 6, 'latin1');
    expect(decodeShrunk(bytes, [8, 16])).toMatchObject({ width: 16, height: 8 });
  });

  test('noise', () => {
    for (let seed = 0; seed < 500; seed++) {
      const noise = Buffer.from(Array.from({ length: 60 }, (_, i) => (seed * 7919 + i * i * 31 + i * seed) & 255));
      noise.write(seed % 2 ? 'II*\0' : 'MM\0*', 0, 'latin1');
      noise.set([0, 0, 0, 8], 4);
      expect(ORIENTATIONS).toContain(exifOrientation(noise));
    }
  });
});
