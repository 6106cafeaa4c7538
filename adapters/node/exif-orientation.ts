/**
 * How a stored picture is to be turned to stand upright, as EXIF counts it: 1 not at all, 2 mirrored, 3 by 180°,
 * 4 upside down, 5 transposed, 6 by 90° clockwise, 7 transposed along the other diagonal, 8 by 90° anticlockwise.
 */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

const TAG = 0x0112;
const SHORT = 3;
const LONG = 4;

/**
 * Finds the orientation in an EXIF block. Written here, as exifr answers with promises alone and `decodePicture` does
 * not wait.
 * @param tiff the block from its byte order ('II' or 'MM') on.
 * @returns 1 where there is none, or nothing that makes sense: a damaged block must not cost the picture.
 */
export function exifOrientation(tiff: Uint8Array): Orientation {
  try {
    const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
    const order = view.getUint16(0);
    if (order !== 0x4949 && order !== 0x4d4d) return 1;
    const little = order === 0x4949;
    if (view.getUint16(2, little) !== 42) return 1;
    const directory = view.getUint32(4, little);
    const count = view.getUint16(directory, little);
    for (let entry = directory + 2; entry < directory + 2 + count * 12; entry += 12) {
      if (view.getUint16(entry, little) !== TAG) continue;
      const type = view.getUint16(entry + 2, little);
      const value = type === SHORT ? view.getUint16(entry + 8, little) : view.getUint32(entry + 8, little);
      const isKnown = (type === SHORT || type === LONG) && value >= 1 && value <= 8;
      return isKnown ? (value as Orientation) : 1;
    }
    return 1;
  } catch (error) {
    if (error instanceof RangeError) return 1; // an offset that points out of the block
    throw error;
  }
}
