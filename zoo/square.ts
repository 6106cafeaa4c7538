/**
 * The middle square of a picture, as `@teachablemachine/image` 0.8.5 cuts it: the whole picture is drawn so large that its
 * shorter side fits, and the middle of that is taken.
 */
import { image as imageOps, slice, type Tensor3D } from '@tensorflow/tfjs-core';
import { type PictureInput, toPixels } from './pixels';

/** Size and place at which a picture is drawn, in pixels of the square; in the library's own steps, whose rounding counts. */
function placed(width: number, height: number, size: number) {
  const scale = size / Math.min(width, height);
  const [drawnWidth, drawnHeight] = [Math.ceil(width * scale), Math.ceil(height * scale)];
  const left = Math.floor((drawnWidth - size) / 2);
  const top = Math.floor((drawnHeight - size) / 2);
  return { drawnWidth, drawnHeight, left, top };
}

/**
 * float32 [size, size, channels] of 0…255. Elements of a page go through a canvas, as in the library, so that the numbers
 * are the same ones; tensors and pixels are resized bilinearly.
 * @throws TuneModeError `invalid-data` for what is no picture.
 */
export function middleSquare(where: string, picture: PictureInput, size: number): Tensor3D {
  const canvas = onCanvas(picture, size);
  if (canvas !== undefined) return toPixels(where, canvas);
  const pixels = toPixels(where, picture);
  const [height, width, channels] = pixels.shape;
  const { drawnWidth, drawnHeight, left, top } = placed(width, height, size);
  // At the centres of pixels, as a canvas does it.
  const drawn = imageOps.resizeBilinear(pixels, [drawnHeight, drawnWidth], false, true);
  return slice(drawn, [top, left, 0], [size, size, channels]);
}

/** @returns undefined for what is no element. */
function onCanvas(picture: PictureInput, size: number): HTMLCanvasElement | undefined {
  const isElement = typeof HTMLElement !== 'undefined' && picture instanceof HTMLElement;
  const isBitmap = typeof ImageBitmap !== 'undefined' && picture instanceof ImageBitmap;
  if ((!isElement && !isBitmap) || typeof document === 'undefined') return undefined;
  const source = picture as HTMLImageElement | HTMLCanvasElement | HTMLVideoElement | ImageBitmap;
  const [width, height] =
    'videoWidth' in source ? [source.videoWidth, source.videoHeight] : [source.width, source.height];
  // fromPixels says what is wrong with an element that is not loaded.
  if (width === 0 || height === 0) return undefined;
  const { drawnWidth, drawnHeight, left, top } = placed(width, height, size);
  const canvas = document.createElement('canvas');
  canvas.width = size;
  canvas.height = size;
  canvas.getContext('2d')?.drawImage(source, -left, -top, drawnWidth, drawnHeight);
  return canvas;
}
