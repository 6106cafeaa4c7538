/**
 * Rows of a table such that every two values of two different dimensions meet in some row: most faults need no more than
 * two settings to show, and the full product would be thousands of rows.
 */
import { random } from './random';

type Dimensions<Row> = { [K in keyof Row]: readonly Row[K][] };

/**
 * @param valid Which rows exist at all. Pairs that no valid row holds are left out.
 * @returns A greedy selection, the same for the same seed.
 */
export function pairwise<Row extends object>(
  dimensions: Dimensions<Row>,
  valid: (row: Row) => boolean,
  seed = 1,
): Row[] {
  const { pick } = random(seed);
  const names = Object.keys(dimensions) as (keyof Row)[];
  const indexOf = (name: keyof Row, row: Row) => dimensions[name].indexOf(row[name]);
  const pairsOf = (row: Row): string[] =>
    names.flatMap((a, i) =>
      names.slice(i + 1).map((b) => pairKey(i, indexOf(a, row), names.indexOf(b), indexOf(b, row))),
    );

  const missing = new Map<string, Partial<Row>>();
  names.forEach((a, i) => {
    names.slice(i + 1).forEach((b) => {
      dimensions[a].forEach((u, ui) => {
        dimensions[b].forEach((v, vi) => {
          missing.set(pairKey(i, ui, names.indexOf(b), vi), { [a]: u, [b]: v } as Partial<Row>);
        });
      });
    });
  });

  const rows: Row[] = [];
  for (let next = missing.entries().next(); !next.done; next = missing.entries().next()) {
    const [key, pair] = next.value;
    const candidates: Row[] = [];
    for (let attempt = 0; attempt < 400 && candidates.length < 30; attempt++) {
      const free = names.map((name) => [name, pick(dimensions[name])]);
      const row = { ...Object.fromEntries(free), ...pair } as Row;
      if (valid(row)) candidates.push(row);
    }
    missing.delete(key);
    if (candidates.length === 0) continue;
    const gain = (row: Row) => pairsOf(row).filter((k) => missing.has(k)).length;
    const best = candidates.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    for (const k of pairsOf(best)) missing.delete(k);
    rows.push(best);
  }
  return rows;
}

const pairKey = (a: number, u: number, b: number, v: number) => `${a}:${u} ${b}:${v}`;
