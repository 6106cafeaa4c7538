/** How work is cut into parts. Cuts depend on sizes and numbers alone, so that the same parts come out in every run. */

/** `count` things from number `from` on. */
export interface Part {
  from: number;
  count: number;
}

/** At most `parts` parts of `total` things, as even as whole numbers can be; all but the last a multiple of `unit`. */
export function cut(total: number, parts: number, unit = 1): Part[] {
  const units = Math.ceil(total / unit);
  const n = Math.min(units, parts);
  const at = (i: number) => Math.min(total, Math.floor((units * i) / n) * unit);
  return Array.from({ length: n }, (_, i) => ({ from: at(i), count: at(i + 1) - at(i) }));
}

export interface Band {
  image: number;
  images: number;
  row: number;
  rows: number;
}

/** Whole images where there are enough of them for `parts` parts, and bands of rows of each image where there are not. */
export function cutImages(images: number, rows: number, parts: number): Band[] {
  if (images >= parts || rows < 2) {
    return cut(images, parts).map(({ from, count }) => ({ image: from, images: count, row: 0, rows }));
  }
  const bands = cut(rows, Math.ceil(parts / images));
  return Array.from({ length: images }, (_, image) =>
    bands.map(({ from, count }) => ({ image, images: 1, row: from, rows: count })),
  ).flat();
}
