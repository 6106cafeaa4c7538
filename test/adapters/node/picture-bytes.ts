import zlib from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';

type Rgba = readonly [number, number, number, number?];

/** Draws with a function of the position and encodes as PNG. */
export function drawPng(width: number, height: number, color: (x: number, y: number) => Rgba): Buffer {
  const png = new PNG({ width, height });
  png.data = Buffer.from(rgba(width, height, color));
  return PNG.sync.write(png);
}

/** Draws and encodes as baseline JPEG. */
export function drawJpeg(width: number, height: number, color: (x: number, y: number) => Rgba, quality = 95): Buffer {
  return jpeg.encode({ width, height, data: rgba(width, height, color) }, quality).data;
}

function rgba(width: number, height: number, color: (x: number, y: number) => Rgba): Uint8Array {
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [r, g, b, a = 255] = color(x, y);
      data.set([r, g, b, a], (y * width + x) * 4);
    }
  }
  return data;
}

/**
 * A PNG written chunk by chunk, for what pngjs cannot write.
 * @param rows the bytes before compression: for every row (of every pass) a filter byte and the samples.
 */
export function rawPng(
  width: number,
  height: number,
  rows: Uint8Array,
  depth: number,
  colorType: number,
  interlace: 0 | 1,
) {
  const ihdr = Buffer.alloc(13);
  ihdr.writeUInt32BE(width, 0);
  ihdr.writeUInt32BE(height, 4);
  ihdr.set([depth, colorType, 0, 0, interlace], 8);
  const chunks = [chunk('IHDR', ihdr), chunk('IDAT', zlib.deflateSync(rows)), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...chunks]);
}

export function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * An 8 × 8 JPEG of one flat colour, written by hand for what jpeg-js cannot write: any number of components, baseline
 * or progressive. Each block is its DC coefficient alone; with a quantisation step of 8 that is the value minus 128.
 * @param values one for each component, as stored.
 */
export function flatJpeg(values: number[], { progressive = false, adobe = false, precision = 8 } = {}): Buffer {
  const segment = (marker: number, body: number[]) => [
    0xff,
    marker,
    (body.length + 2) >> 8,
    (body.length + 2) & 255,
    ...body,
  ];
  const components = values.map((_, i) => i + 1);
  const lengths = (counts: Record<number, number>) => Array.from({ length: 16 }, (_, i) => counts[i + 1] ?? 0);
  const bytes = [
    ...[0xff, 0xd8],
    ...(adobe ? segment(0xee, [...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, 0]) : []),
    ...segment(0xdb, [0, ...new Array(64).fill(8)]),
    ...segment(progressive ? 0xc2 : 0xc0, [
      precision,
      0,
      8,
      0,
      8,
      values.length,
      ...components.flatMap((id) => [id, 0x11, 0]),
    ]),
    // DC: nine codes of four bits, for 0 to 8 bits of value. AC: the code 0, "nothing more in this block".
    ...segment(0xc4, [0x00, ...lengths({ 4: 9 }), 0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ...segment(0xc4, [0x10, ...lengths({ 1: 1 }), 0]),
    ...segment(0xda, [values.length, ...components.flatMap((id) => [id, 0]), 0, progressive ? 0 : 63, 0]),
  ];
  let bits = '';
  for (const value of values) {
    const dc = value - 128;
    const size = dc === 0 ? 0 : Math.floor(Math.log2(Math.abs(dc))) + 1;
    const stored = dc >= 0 ? dc : dc + 2 ** size - 1;
    bits +=
      size.toString(2).padStart(4, '0') +
      (size ? stored.toString(2).padStart(size, '0') : '') +
      (progressive ? '' : '0');
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1');
  for (let i = 0; i < bits.length; i += 8) {
    const byte = Number.parseInt(bits.slice(i, i + 8), 2);
    bytes.push(byte, ...(byte === 0xff ? [0] : []));
  }
  return Buffer.from([...bytes, 0xff, 0xd9]);
}
