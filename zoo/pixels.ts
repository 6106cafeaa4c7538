/** Pictures as the zoo's models take them. */
import { browser, cast, type PixelData, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../src/errors';

/** A picture: a tensor [height, width, channels] of 0…255, pixels, or an element of a page. */
export type PictureInput =
  | Tensor3D
  | PixelData
  | ImageData
  | HTMLImageElement
  | HTMLCanvasElement
  | HTMLVideoElement
  | ImageBitmap;

/**
 * A picture as a new float32 tensor [height, width, channels] of 0…255; three channels for all that is no tensor.
 * Call it inside a `tidy`, or dispose the result.
 * @throws TuneModeError `invalid-data` for what is no picture; what tf.browser.fromPixels says of an element.
 */
export function toPixels(where: string, picture: PictureInput): Tensor3D {
  if (isTensor(picture)) {
    if (picture.rank !== 3 || picture.size === 0) {
      throw new TuneModeError(
        'invalid-data',
        `${where}: expected a picture [height, width, channels]; found a tensor [${picture.shape.join(', ')}].`,
      );
    }
    return cast(picture, 'float32') as Tensor3D;
  }
  if (picture === null || typeof picture !== 'object') {
    throw new TuneModeError(
      'invalid-data',
      `${where}: expected a picture (a tensor, ImageData, an image, canvas or video element); found ${
        picture === null ? 'null' : typeof picture
      }.`,
    );
  }
  return cast(browser.fromPixels(asPixels(picture)), 'float32') as Tensor3D;
}

/** Not instanceof: a second copy of tfjs-core has its own class. */
function isTensor(picture: unknown): picture is Tensor {
  return typeof picture === 'object' && picture !== null && 'dataId' in picture && 'shape' in picture;
}

/** Outside of pages fromPixels (tfjs-core 4.22.0) takes the fields of an ImageData only with a Uint8Array. */
function asPixels<T extends object>(picture: T): T | PixelData {
  const { data, width, height } = picture as Partial<ImageData>;
  if (typeof ImageData !== 'undefined' || !(data instanceof Uint8ClampedArray)) return picture;
  return { width: width!, height: height!, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}
