import { Buffer } from 'node:buffer';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { decodePicture, loadPicture } from '../../../adapters/node';
import { decodeRgb } from '../../../adapters/node/decode';
import { drawJpeg, drawPng, flatJpeg, rawPng } from './picture-bytes';
import { temporaryFolder, writeFiles } from './temporary-folder';

const at = temporaryFolder();

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const rgbAt = (bytes: Uint8Array, x: number, y: number) => {
  const { width, data } = decodeRgb(bytes);
  return [...data.slice((y * width + x) * 3, (y * width + x) * 3 + 3)];
};

describe('what is decoded', () => {
  test('a PNG, exactly', () => {
    const bytes = drawPng(5, 4, (x, y) => [x * 50, y * 60, 7]);
    expect(decodeRgb(bytes)).toMatchObject({ width: 5, height: 4 });
    expect(rgbAt(bytes, 4, 3)).toEqual([200, 180, 7]);
    expect(rgbAt(bytes, 1, 2)).toEqual([50, 120, 7]);
  });

  test.each([
    [255, [200, 100, 0]],
    [0, [255, 255, 255]],
    [51, [244, 224, 204]], // 20 % of the colour over 80 % white
  ])('alpha %i is laid over white', (alpha, expected) => {
    expect(
      rgbAt(
        drawPng(2, 2, () => [200, 100, 0, alpha]),
        1,
        1,
      ),
    ).toEqual(expected);
  });

  const grey = [0, 10, 20, 0, 30, 40]; // two rows of a filter byte and two pixels
  test.each([
    ['grey', rawPng(2, 2, Uint8Array.from(grey), 8, 0, 0), [40, 40, 40]],
    ['1-bit grey', rawPng(2, 2, Uint8Array.from([0, 0b01000000, 0, 0b11000000]), 1, 0, 0), [255, 255, 255]],
    ['grey with alpha', rawPng(1, 2, Uint8Array.from([0, 10, 255, 0, 100, 0]), 8, 4, 0), [255, 255, 255]],
    ['16-bit RGB', rawPng(1, 1, Uint8Array.from([0, 255, 255, 128, 0, 0, 0]), 16, 2, 0), [255, 128, 0]],
  ])('%s PNG becomes RGB', (_, bytes, expected) => {
    const { width, height } = decodeRgb(bytes);
    expect(rgbAt(bytes, width - 1, height - 1)).toEqual(expected);
  });

  test('an interlaced PNG', () => {
    // A 2 × 2 picture has three passes that are not empty: (0,0), then (1,0), then the second row.
    const bytes = rawPng(2, 2, Uint8Array.from([0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12]), 8, 2, 1);
    expect([...decodeRgb(bytes).data.slice(0, 12)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  test('a baseline JPEG', () => {
    const [r, g, b] = rgbAt(
      drawJpeg(16, 16, (x) => (x < 8 ? [220, 40, 30] : [30, 60, 200])),
      3,
      3,
    );
    expect(Math.abs(r - 220) + Math.abs(g - 40) + Math.abs(b - 30)).toBeLessThan(12);
  });

  // Stored values and what they mean: YCbCr (neutral chroma), grey, and Adobe's inverted CMYK.
  test.each([
    ['baseline YCbCr', flatJpeg([90, 128, 128]), [90, 90, 90]],
    ['progressive YCbCr', flatJpeg([90, 128, 128], { progressive: true }), [90, 90, 90]],
    ['grey', flatJpeg([77]), [77, 77, 77]],
    ['progressive grey', flatJpeg([200], { progressive: true }), [200, 200, 200]],
    ['CMYK: no ink', flatJpeg([255, 255, 255, 255], { adobe: true }), [255, 255, 255]],
    ['CMYK: full cyan', flatJpeg([0, 255, 255, 255], { adobe: true }), [0, 255, 255]],
    ['CMYK: all black', flatJpeg([255, 255, 255, 0], { adobe: true }), [0, 0, 0]],
  ])('%s JPEG becomes RGB', (_, bytes, expected) => {
    const found = rgbAt(bytes, 4, 4);
    for (let c = 0; c < 3; c++) expect(Math.abs(found[c] - expected[c])).toBeLessThanOrEqual(1);
  });

  test('bytes within a larger buffer, and a plain Uint8Array', () => {
    const png = drawPng(3, 3, () => [1, 2, 3]);
    const padded = new Uint8Array(png.length + 20).fill(9);
    padded.set(png, 7);
    expect(rgbAt(padded.subarray(7, 7 + png.length), 2, 2)).toEqual([1, 2, 3]);
  });
});

describe('what must be refused, with a reason and without crashing or allocating', () => {
  const png = drawPng(40, 30, (x, y) => [(x * y * 7) % 256, x * 5, y * 8]);
  const jpg = drawJpeg(40, 30, (x, y) => [(x * y * 7) % 256, x * 5, y * 8]);
  const patched = (bytes: Buffer, offset: number, ...values: number[]) => {
    const copy = Buffer.from(bytes);
    copy.set(values, offset);
    return copy;
  };
  const sof = jpg.indexOf(Buffer.from([0xff, 0xc0]));
  const bomb = rawPng(4, 4, new Uint8Array(50e6), 8, 2, 1); // 50 MB of zeros in 50 kB

  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', Buffer.alloc(0), /the file is empty/],
    ['text', Buffer.from('hello, I am no picture'), /neither a JPEG nor a PNG/],
    ['a web page', Buffer.from('<!DOCTYPE html><p>404'), /text file/],
    ['WebP', Buffer.from('RIFF\x10\0\0\0WEBPVP8 '), /a WebP picture.*convert/],
    ['GIF', Buffer.from('GIF89a\x01\0\x01\0'), /a GIF picture/],
    ['HEIC', Buffer.from('\0\0\0\x18ftypheic'), /a HEIC picture/],
    ['half a PNG', png.subarray(0, png.length / 2), /damaged or cut off/],
    ['a PNG with a changed byte', patched(png, 60, png[60] ^ 1), /damaged or cut off/],
    ['a PNG cut off in its header', png.subarray(0, 20), /header is cut off/],
    [
      'a PNG that claims 50,000 × 50,000',
      patched(png, 16, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50),
      /50000 × 50000.*at most 64 million/,
    ],
    [
      'a PNG that claims 7000 × 7000 in a few bytes',
      patched(png, 16, 0, 0, 0x1b, 0x58, 0, 0, 0x1b, 0x58),
      /cannot be stored in/,
    ],
    ['a PNG without pixels', patched(png, 16, 0, 0, 0, 0), /0 × 30 pixels/],
    ['a PNG of an unknown colour type', patched(png, 25, 5), /unknown colour type 5/],
    ['an interlaced PNG that inflates without end', bomb, /damaged or cut off/],
    ['half a JPEG', jpg.subarray(0, jpg.length / 2), /damaged or cut off/],
    ['a JPEG cut off in its header', jpg.subarray(0, 30), /cut off before its size/],
    [
      'a JPEG that claims 50,000 × 50,000',
      patched(jpg, sof + 5, 0xc3, 0x50, 0xc3, 0x50),
      /50000 × 50000.*at most 64 million/,
    ],
    [
      'a JPEG that claims 7000 × 7000 in a few bytes',
      patched(jpg, sof + 5, 0x1b, 0x58, 0x1b, 0x58),
      /cannot be stored in/,
    ],
    ['a JPEG of height 0', patched(jpg, sof + 5, 0, 0), /× 0 pixels/],
    ['a lossless JPEG', patched(jpg, sof + 1, 0xc3), /lossless, hierarchical or arithmetic/],
    ['a 12-bit JPEG', flatJpeg([90], { precision: 12 }), /12 bits per sample/],
    ['CMYK without saying so', flatJpeg([1, 2, 3, 4]), /damaged.*Unsupported color mode/],
    ['two components', flatJpeg([1, 2]), /damaged.*Unsupported color mode/],
  ])('%s', (_, bytes, reason) => {
    const tensors = tf.memory().numTensors;
    const memory = process.memoryUsage().rss;
    const decode = () => decodePicture(bytes);
    expect(decode).toThrow(reason);
    expect(decode).toThrow(expect.objectContaining({ name: 'TuneModeError', code: 'invalid-data' }));
    expect(tf.memory().numTensors).toBe(tensors);
    expect(process.memoryUsage().rss - memory).toBeLessThan(100e6);
  });

  test('300 pictures with random damage: each is decoded or refused, quickly', () => {
    let state = 1;
    const random = (below: number) => {
      state = (state * 48271) % 2147483647;
      return state % below;
    };
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(round % 2 ? png : jpg);
      for (let i = 0; i <= round % 4; i++) bytes[2 + random(bytes.length - 2)] = random(256);
      const part = bytes.subarray(0, round % 3 ? bytes.length : random(bytes.length));
      const start = Date.now();
      try {
        tf.dispose(decodePicture(part, { imageSize: 8 }));
      } catch (error) {
        expect(error).toMatchObject({ name: 'TuneModeError', code: 'invalid-data' });
      }
      expect(Date.now() - start).toBeLessThan(2000);
    }
  });

  test.each<[object, RegExp]>([
    [{ imageSise: 8 }, /unknown option 'imageSise'. Valid options: 'imageSize', 'inputRange'/],
    [{ batchSize: 8 }, /unknown option 'batchSize'/],
    [{ imageSize: 0 }, /'imageSize' must be a whole number of pixels .*found 0/],
    [{ imageSize: [8, 8, 8] }, /'imageSize'.*found \[8,8,8\]/],
    [{ imageSize: '8' }, /'imageSize'.*found "8"/],
    [{ inputRange: [1, -1] }, /'inputRange' must be two finite numbers.*found \[1,-1\]/],
    [{ inputRange: [0, Number.NaN] }, /'inputRange'/],
  ])('options %j', (options, message) => {
    expect(() => decodePicture(png, options)).toThrow(message);
    expect(() => decodePicture(png, options)).toThrow(expect.objectContaining({ code: 'invalid-option' }));
  });

  test('an argument that is no bytes', () => {
    expect(() => decodePicture('a.png' as unknown as Uint8Array)).toThrow(/expected the file's bytes/);
  });
});

describe('decodePicture and loadPicture', () => {
  test('give float32 [height, width, 3] in the input range and one tensor', async () => {
    const bytes = drawPng(6, 6, (x) => (x < 3 ? [0, 0, 0] : [255, 255, 255]));
    writeFiles(at(), { 'a.PNG': bytes });
    const before = tf.memory().numTensors;
    const decoded = decodePicture(bytes, { imageSize: [4, 6] });
    const loaded = await loadPicture(at('a.PNG'), { imageSize: [4, 6], inputRange: [0, 1] });
    expect(tf.memory().numTensors).toBe(before + 2);
    expect([decoded.shape, decoded.dtype]).toEqual([[4, 6, 3], 'float32']);
    expect([...(await decoded.data())].slice(0, 18)).toEqual([...new Array(9).fill(-1), ...new Array(9).fill(1)]);
    expect([...(await loaded.data())].slice(0, 18)).toEqual([...new Array(9).fill(0), ...new Array(9).fill(1)]);
    tf.dispose([decoded, loaded]);
  });

  test('say which file is bad, and why', async () => {
    writeFiles(at(), { 'bad.jpg': 'no picture' });
    await expect(loadPicture(at('bad.jpg'))).rejects.toThrow(/bad\.jpg' is no readable picture: it is neither/);
    await expect(loadPicture(at('none.jpg'))).rejects.toMatchObject({ code: 'not-found' });
    await expect(loadPicture(at())).rejects.toThrow(/cannot be read \(EISDIR\)/);
    await expect(loadPicture('')).rejects.toMatchObject({ code: 'invalid-option' });
  });
});
