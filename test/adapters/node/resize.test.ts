import { resizeCover } from '../../../adapters/node/resize';

const picture = (width: number, height: number, value: (x: number, y: number) => number) => {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const v = value(i % width, Math.floor(i / width));
    data.set([v, v, v], i * 3);
  }
  return { width, height, data };
};

/** The red channel, as rows. */
function resized(source: ReturnType<typeof picture>, height: number, width: number): number[][] {
  const out = new Float32Array(height * width * 3);
  resizeCover(source, height, width, [0, 255], out, 0);
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => out[(y * width + x) * 3]));
}

test('a picture of the right size is not touched', () => {
  const source = picture(7, 5, (x, y) => x * 30 + y);
  const out = new Float32Array(5 * 7 * 3);
  resizeCover(source, 5, 7, [0, 255], out, 0);
  expect([...out]).toEqual([...source.data]);
});

test.each([2, 3, 4])('a picture %i times as large becomes exact averages', (k) => {
  const value = (x: number, y: number) => (x * 13 + y * 29) % 256;
  const rows = resized(picture(4 * k, 3 * k, value), 3, 4);
  for (let y = 0; y < 3; y++) {
    for (let x = 0; x < 4; x++) {
      let sum = 0;
      for (let i = 0; i < k * k; i++) sum += value(x * k + (i % k), y * k + Math.floor(i / k));
      expect(rows[y][x]).toBeCloseTo(sum / (k * k), 3);
    }
  }
});

test('a ramp stays the same ramp at any scale, so nothing is shifted', () => {
  for (const size of [5, 16, 31, 64, 90, 128, 200]) {
    const source = picture(128, 128, (x) => x);
    const middle = resized(source, size, size)[Math.floor(size / 2)];
    const scale = 128 / size;
    // Away from the edges, an output pixel's centre has the source's value there.
    for (let x = 2; x < size - 2; x++) expect(middle[x]).toBeCloseTo((x + 0.5) * scale - 0.5, 2);
  }
});

test('the longer side is cut equally, the shorter one kept', () => {
  const wide = resized(
    picture(40, 10, (x) => x),
    10,
    10,
  );
  expect(wide[0]).toEqual([15, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
  const high = resized(
    picture(10, 40, (_, y) => y),
    10,
    10,
  );
  expect(high.map((row) => row[0])).toEqual([15, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
});

test('every pixel counts when shrinking: stripes of one pixel become grey', () => {
  // Leaving pixels out (plain bilinear) would give black or white here.
  for (const row of resized(
    picture(320, 320, (x) => (x % 2) * 255),
    80,
    80,
  )) {
    for (const value of row) expect(value).toBeCloseTo(127.5, 3);
  }
});

test.each([
  [1, 1],
  [1, 50],
  [50, 1],
  [3, 4000],
  [223, 225],
  [449, 447],
])('a picture of %i × %i gives numbers within its own range', (width, height) => {
  const out = new Float32Array(32 * 48 * 3).fill(Number.NaN);
  resizeCover(
    picture(width, height, (x, y) => 50 + ((x + y) % 100)),
    32,
    48,
    [0, 255],
    out,
    0,
  );
  for (const value of out) {
    expect(value).toBeGreaterThanOrEqual(50);
    expect(value).toBeLessThan(150);
  }
});

test('nothing is written outside its place', () => {
  const out = new Float32Array(2 * 2 * 3 + 4).fill(7);
  resizeCover(
    picture(9, 9, () => 255),
    2,
    2,
    [-1, 1],
    out,
    2,
  );
  expect([...out]).toEqual([7, 7, ...new Array(12).fill(1), 7, 7]);
});
