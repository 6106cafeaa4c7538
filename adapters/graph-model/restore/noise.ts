/**
 * A picture of noise whose statistics are near those of photographs, for a calibration without data.
 *
 * It is a sum of waves in random directions with amplitudes ∝ 1 / |f|, as the spectrum of photographs falls (Field,
 * J. Opt. Soc. Am. A 4 (1987) 2379), half of them cosines and half square waves, since photographs have edges. The
 * channels share the waves, each with its own part of them, as the colours of photographs go together. Light and contrast
 * differ from picture to picture; what is beyond the range is cut off, as by a camera.
 */
import { seededRandom } from '../../../src/random';

const WAVES = 24;
/** Waves over the whole picture, at most. */
const FINEST = 24;
/** The standard deviation of a picture's values, in halves of the range: lowest and highest. */
const CONTRAST = [0.25, 0.75] as const;

/**
 * @param picture Filled with numbers from black to white.
 * @param size […spatial, channels].
 * @param key Other keys give other pictures.
 */
export function paint(
  picture: Float32Array,
  size: readonly number[],
  key: string,
  [black, white]: readonly [number, number],
): void {
  const random = seededRandom(key);
  const spatial = size.slice(0, -1);
  const channels = size[size.length - 1];
  const sums = new Float32Array(picture.length);
  const width = spatial[spatial.length - 1] ?? 1;
  const outer = spatial.slice(0, -1);
  const [cosines, sines] = [new Float64Array(width), new Float64Array(width)];
  for (let wave = 0; wave < WAVES; wave++) {
    const frequency = FINEST ** random();
    const direction = spatial.map(() => 2 * random() - 1);
    const length = Math.hypot(...direction) || 1;
    const steps = direction.map((part, axis) => (2 * Math.PI * frequency * part) / length / spatial[axis]);
    const phase = 2 * Math.PI * random();
    const parts = Array.from({ length: channels }, () => (1 + 0.5 * (2 * random() - 1)) / frequency);
    const step = steps[outer.length] ?? 0;
    for (let x = 0; x < width; x++) {
      cosines[x] = Math.cos(x * step);
      sines[x] = Math.sin(x * step);
    }
    const place = outer.map(() => 0);
    for (let at = 0; at < sums.length; ) {
      let angle = phase;
      for (let axis = 0; axis < place.length; axis++) angle += place[axis] * steps[axis];
      // cos(a + b) = cos a cos b − sin a sin b: a cosine for each row and column instead of one for each pixel.
      const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
      for (let x = 0; x < width; x++, at += channels) {
        const wavy = cosine * cosines[x] - sine * sines[x];
        const value = wave % 2 === 0 ? wavy : Math.sign(wavy);
        for (let c = 0; c < channels; c++) sums[at + c] += parts[c] * value;
      }
      for (let axis = place.length - 1; axis >= 0 && ++place[axis] === outer[axis]; axis--) place[axis] = 0;
    }
  }
  const square = sums.reduce((total, value) => total + value * value, 0) / sums.length;
  const contrast = CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * random();
  const light = (1 - contrast) * (2 * random() - 1);
  const [middle, half] = [(black + white) / 2, (white - black) / 2];
  sums.forEach((value, i) => {
    const lit = light + (contrast * value) / Math.sqrt(square || 1);
    picture[i] = middle + half * Math.min(1, Math.max(-1, lit));
  });
}
