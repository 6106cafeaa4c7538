/** Random changes to a training picture that keep what it shows: a crop, a mirror image, other light. */
import { seededRandom } from '../random';

/** How one picture is changed. The identity is `NO_AUGMENTATION`. */
export interface Augmentation {
  /** Mirror left and right. */
  flip: boolean;
  /**
   * The window that is cut out is the largest one that has the wanted shape, made smaller by this factor (≥ 1), as long
   * as it has at least as many pixels as are wanted.
   */
  zoom: number;
  /**
   * Where that window lies: 0 at the left edge of the picture, 0.5 in the middle, 1 at its right edge. Where that leaves
   * little room to move, it goes beyond the edges by `MAX_SHIFT` of its size, and the picture is mirrored there.
   */
  x: number;
  /** 0 at the top, 1 at the bottom. */
  y: number;
  /** Added to every channel, as a share of the whole range from black to white. */
  brightness: number;
  /** Every channel's distance from mid-grey is multiplied by this. */
  contrast: number;
  /** Every channel's distance from the pixel's grey value is multiplied by this. */
  saturation: number;
}

export const NO_AUGMENTATION: Augmentation = {
  flip: false,
  zoom: 1,
  x: 0.5,
  y: 0.5,
  brightness: 0,
  contrast: 1,
  saturation: 1,
};

/** The strongest changes. Moderate: the pretrained features should still recognise the picture. */
const MAX_ZOOM = 1.4;
export const MAX_SHIFT = 0.125;
const MAX_BRIGHTNESS = 0.1;
const MAX_CONTRAST = 0.2;
const MAX_SATURATION = 0.3;

/**
 * Draws the changes of one picture. They depend on the key alone, not on who draws them, nor when: the same run on
 * other threads, or resumed, sees the same pictures.
 * @param key for example `'<seed>:augment:<epoch>:<index of the picture>'`.
 */
export function drawAugmentation(key: string): Augmentation {
  const random = seededRandom(key);
  const around = (centre: number, reach: number) => centre + reach * (2 * random() - 1);
  return {
    flip: random() < 0.5,
    zoom: 1 + random() * (MAX_ZOOM - 1),
    x: random(),
    y: random(),
    brightness: around(0, MAX_BRIGHTNESS),
    contrast: around(1, MAX_CONTRAST),
    saturation: around(1, MAX_SATURATION),
  };
}
