/** Runs inside the browser. */

/** A picture of smooth colours, as an element. */
export function drawn(width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d')!;
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < pixels.data.length; i++) {
    const [x, y, c] = [(i >> 2) % width, Math.floor((i >> 2) / width), i & 3];
    pixels.data[i] = c === 3 ? 255 : Math.round(127 + 120 * Math.sin(x / (9 + 3 * c)) * Math.cos(y / (11 - 2 * c)));
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
