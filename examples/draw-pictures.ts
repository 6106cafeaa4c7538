/**
 * Draws folders of little pictures: one coloured shape each, turned, scaled and placed at random on a noisy ground.
 * The same seed draws the same pictures. They stand in for your own photos wherever the examples need some.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { PNG } from 'pngjs';

/** Whether a point of the plane is inside a shape of about unit size. */
type Shape = (x: number, y: number) => boolean;

const polar = (x: number, y: number) => ({ r: Math.hypot(x, y), angle: Math.atan2(y, x) });
/** Distance from the centre to the edge of a regular polygon with unit corners, in direction `angle`. */
const polygonEdge = (corners: number, angle: number) => {
  const sector = (2 * Math.PI) / corners;
  const within = ((((angle + Math.PI / 2) % sector) + sector) % sector) - sector / 2;
  return Math.cos(sector / 2) / Math.cos(within);
};
const polygon =
  (corners: number): Shape =>
  (x, y) => {
    const { r, angle } = polar(x, y);
    return r < polygonEdge(corners, angle);
  };

export const SHAPES: Record<string, Shape> = {
  circle: (x, y) => Math.hypot(x, y) < 0.85,
  square: polygon(4),
  triangle: polygon(3),
  cross: (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.28 && Math.max(Math.abs(x), Math.abs(y)) < 0.9,
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.7) < 0.2,
  star: (x, y) => {
    const { r, angle } = polar(x, y);
    return r < 0.55 + 0.4 * Math.cos(5 * angle);
  },
  hexagon: polygon(6),
  moon: (x, y) => Math.hypot(x, y) < 0.85 && Math.hypot(x - 0.45, y) > 0.65,
};

/** Writes `folder/<shape>/<n>.png`, `count` pictures of each shape, `size` pixels square. */
export async function drawPictures(
  folder: string,
  { shapes, count, size, seed }: { shapes: string[]; count: number; size: number; seed: number },
): Promise<void> {
  const random = mulberry(seed);
  for (const shape of shapes) {
    await fs.mkdir(path.join(folder, shape), { recursive: true });
    for (let i = 0; i < count; i++) {
      await fs.writeFile(
        path.join(folder, shape, `${String(i).padStart(3, '0')}.png`),
        draw(SHAPES[shape], size, random),
      );
    }
  }
}

function draw(inside: Shape, size: number, random: () => number): Buffer {
  const between = (low: number, high: number) => low + (high - low) * random();
  const colour = () => [between(0, 255), between(0, 255), between(0, 255)];
  const [ground, slope] = [colour(), colour().map((c) => (c - 128) / 2)];
  let ink = colour();
  // Ink that cannot be told from the ground would make the label a guess.
  while (ink.reduce((sum, c, i) => sum + Math.abs(c - ground[i]), 0) < 150) ink = colour();
  const [scale, turn] = [between(0.22, 0.42) * size, between(0, 2 * Math.PI)];
  const [cx, cy] = [between(0.38, 0.62) * size, between(0.38, 0.62) * size];
  const [sin, cos] = [Math.sin(turn), Math.cos(turn)];
  const covered = (px: number, py: number) => {
    const [dx, dy] = [(px - cx) / scale, (py - cy) / scale];
    return inside(dx * cos + dy * sin, dy * cos - dx * sin) ? 1 : 0;
  };
  const png = new PNG({ width: size, height: size });
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      // Four samples a pixel for soft edges.
      const share = (covered(x, y) + covered(x + 0.5, y) + covered(x, y + 0.5) + covered(x + 0.5, y + 0.5)) / 4;
      const noise = between(-24, 24);
      for (let c = 0; c < 3; c++) {
        const value = (1 - share) * (ground[c] + slope[c] * (x / size - 0.5)) + share * ink[c] + noise;
        png.data[(y * size + x) * 4 + c] = Math.max(0, Math.min(255, Math.round(value)));
      }
      png.data[(y * size + x) * 4 + 3] = 255;
    }
  }
  return PNG.sync.write(png);
}

/** A small seeded generator of numbers in [0, 1). */
function mulberry(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
