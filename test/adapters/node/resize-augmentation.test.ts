import { resizeCover } from '../../../adapters/node/resize';
import { type Augmentation, drawAugmentation, NO_AUGMENTATION } from '../../../src/fine-tune/augmentation';
import { seededRandom } from '../../../src/random';

const SIDE = 40;
const random = seededRandom('picture');
const picture = { width: 97, height: 61, data: Uint8Array.from({ length: 97 * 61 * 3 }, () => 256 * random()) };

function resized(change?: Partial<Augmentation>, { source = picture, channels = 3 as 1 | 3, range = [-1, 1] } = {}) {
  const out = new Float32Array(SIDE * SIDE * channels).fill(Number.NaN);
  const all = change && { ...NO_AUGMENTATION, ...change };
  resizeCover(source, SIDE, SIDE, range as [number, number], out, 0, all, channels);
  return out;
}

const mirrored = (pixels: Float32Array) =>
  Float32Array.from(pixels, (_, i) => {
    const [y, x, c] = [Math.floor(i / (SIDE * 3)), Math.floor(i / 3) % SIDE, i % 3];
    return pixels[(y * SIDE + SIDE - 1 - x) * 3 + c];
  });

const ramp = (value: (x: number, y: number) => number, width = 80, height = 40) => {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const at = Math.floor(i / 3);
    return value(at % width, Math.floor(at / width));
  });
  return { width, height, data };
};

test('no change is no change, bit for bit', () => {
  expect(resized({})).toEqual(resized());
});

test('a mirrored picture is the mirror image, and twice it is itself', () => {
  const plain = resized();
  const flipped = resized({ flip: true });
  expect(flipped).not.toEqual(plain);
  expect(flipped).toEqual(mirrored(plain));
  expect(mirrored(flipped)).toEqual(plain);
});

test.each<[string, Partial<Augmentation>, number, number]>([
  ['the left edge', { x: 0 }, 0, 39],
  ['the right edge', { x: 1 }, 40, 79],
  ['the middle', {}, 20, 59],
])('the window lies at %s', (_, change, first, last) => {
  const out = resized(change, { source: ramp((x) => x), range: [0, 255] });
  expect([out[0], out[(SIDE - 1) * 3]]).toEqual([first, last]);
});

test('the window is smaller by zoom, wherever it lies', () => {
  for (const [x, y] of [
    [0, 0],
    [1, 1],
    [0.3, 0.9],
  ]) {
    const wide = resized({ zoom: 1.25, x, y }, { source: ramp((px) => px, 200, 100), range: [0, 255] });
    const high = resized({ zoom: 1.25, x, y }, { source: ramp((_, py) => py, 200, 100), range: [0, 255] });
    // 40 pixels show 80 of the source, in cells of 2; the room is 120 across and 20 down, what a shift of 1/8 needs.
    const [left, top] = [120 * x, 20 * y];
    expect(wide[20 * 3]).toBeCloseTo(left + 20.5 * 2 - 0.5, 3);
    expect(high[20 * SIDE * 3]).toBeCloseTo(top + 20.5 * 2 - 0.5, 3);
  }
});

test('a picture without pixels to spare is never enlarged: it is shifted by an eighth at most, and mirrored there', () => {
  for (const zoom of [1, 1.4]) {
    const source = ramp((x) => 2 * x, 40, 40);
    const left = resized({ zoom, x: 0 }, { source, range: [0, 255] });
    const right = resized({ zoom, x: 1 }, { source, range: [0, 255] });
    const at = (out: Float32Array, x: number) => out[x * 3];
    // Shifted by whole pixels: each value is one of the source, not a mixture.
    for (let x = 0; x < SIDE; x++) {
      expect(at(left, x)).toBe(2 * (x < 5 ? 4 - x : x - 5));
      expect(at(right, x)).toBe(2 * (x < 35 ? x + 5 : 74 - x));
    }
    expect(resized({ zoom }, { source })).toEqual(resized({}, { source }));
  }
});

test.each([
  [30, 30],
  [41, 200],
  [55, 40],
  [100, 41],
])('no window of a picture of %i × %i pixels reads outside of it', (width, height) => {
  for (const zoom of [1, 1.2, 1.4]) {
    for (const x of [0, 0.01, 0.5, 0.99, 1]) {
      const out = resized({ zoom, x, y: 1 - x }, { source: ramp(() => 200, width, height), range: [0, 255] });
      expect(out.every((value) => Math.abs(value - 200) < 1e-3)).toBe(true);
    }
  }
});

test.each<[string, Partial<Augmentation>, number]>([
  ['brightness', { brightness: 0.1 }, 100 + 25.5],
  ['contrast', { contrast: 1.2 }, 127.5 + 1.2 * (100 - 127.5)],
  ['saturation leaves grey alone', { saturation: 1.3 }, 100],
])('%s', (_, change, expected) => {
  for (const value of resized(change, { source: ramp(() => 100), range: [0, 255] })) {
    expect(value).toBeCloseTo(expected, 3);
  }
});

test('saturation keeps the luminance and moves away from grey', () => {
  const data = Uint8Array.from({ length: 40 * 40 * 3 }, (_, i) => [100, 80, 60][i % 3]);
  const [r, g, b] = resized({ saturation: 1.3 }, { source: { width: 40, height: 40, data }, range: [0, 255] });
  const grey = 0.299 * 100 + 0.587 * 80 + 0.114 * 60;
  expect(r).toBeCloseTo(grey + 1.3 * (100 - grey), 3);
  expect(0.299 * r + 0.587 * g + 0.114 * b).toBeCloseTo(grey, 3);
});

test.each([
  [-1, 1],
  [0, 1],
  [0, 255],
])('whatever is drawn stays between black and white (%d … %d), without holes', (black, white) => {
  for (let i = 0; i < 40; i++) {
    const change = { ...drawAugmentation(`0:augment:0:${i}`), brightness: i % 2 ? 0.9 : -0.9, contrast: 3 };
    for (const channels of [1, 3] as const) {
      const out = resized(change, { range: [black, white], channels });
      expect(out.every((value) => value >= black && value <= white)).toBe(true);
    }
  }
});

test('a drawn change gives the same pixels each time, and other keys give others', () => {
  const of = (key: string) => resized(drawAugmentation(key));
  expect(of('0:augment:0:0')).toEqual(of('0:augment:0:0'));
  for (const other of ['0:augment:1:0', '0:augment:0:1', '1:augment:0:0']) {
    expect(of(other)).not.toEqual(of('0:augment:0:0'));
  }
});

test('grey is the luminance, after any other change', () => {
  for (const change of [{}, drawAugmentation('grey')]) {
    const colored = resized(change, { range: [0, 255] });
    resized(change, { range: [0, 255], channels: 1 }).forEach((grey, i) => {
      const [r, g, b] = colored.slice(i * 3, i * 3 + 3);
      expect(grey).toBeCloseTo(0.299 * r + 0.587 * g + 0.114 * b, 3);
    });
  }
});

test.each([
  [3, 187],
  [9, 41],
  [627, 83],
])('sizes whose quotient rounds up (%i wide, wanted %i) read nothing beside the picture', (width, wanted) => {
  // The window was larger than the picture by a rounding error, began at pixel -1, and gave NaN.
  const out = new Float32Array(wanted * 3);
  resizeCover(
    ramp(() => 200, width, 2000),
    1,
    wanted,
    [0, 255],
    out,
    0,
  );
  expect(out.every((value) => Math.abs(value - 200) < 1e-3)).toBe(true);
});
