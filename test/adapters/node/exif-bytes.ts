/** EXIF blocks written by hand. */
export interface ExifOptions {
  little?: boolean;
  /** 3: SHORT, 4: LONG. */
  type?: number;
  /** Entries in front of the orientation. */
  before?: number;
}

/** The TIFF block with one directory, in which the orientation is the last entry. */
export function tiff(orientation: number, { little = true, type = 3, before = 0 }: ExifOptions = {}): Buffer {
  const bytes = Buffer.alloc(8 + 2 + 12 * (before + 1) + 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  bytes.write(little ? 'II' : 'MM', 0, 'latin1');
  view.setUint16(2, 42, little);
  view.setUint32(4, 8, little);
  view.setUint16(8, before + 1, little);
  for (let i = 0; i < before; i++) view.setUint16(10 + 12 * i, 0x0100 + i, little);
  const entry = 10 + 12 * before;
  view.setUint16(entry, 0x0112, little);
  view.setUint16(entry + 2, type, little);
  view.setUint32(entry + 4, 1, little);
  if (type === 3) view.setUint16(entry + 8, orientation, little);
  else view.setUint32(entry + 8, orientation, little);
  return bytes;
}

/** A JPEG with this block as an APP1 segment, behind the start marker or behind what JFIF puts there. */
export function withApp1(jpg: Buffer, block: Buffer, at: 'first' | 'after JFIF' = 'first'): Buffer {
  const body = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), block]);
  const head = Buffer.from([0xff, 0xe1, (body.length + 2) >> 8, (body.length + 2) & 255]);
  const place = at === 'first' ? 2 : 4 + jpg.readUInt16BE(4);
  return Buffer.concat([jpg.subarray(0, place), head, body, jpg.subarray(place)]);
}
