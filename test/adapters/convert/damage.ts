/** Damage at random places, as fast-check draws it, and what must hold of a conversion of what is left. */
import fs from 'node:fs';
import path from 'node:path';
import { loadGraphModel } from '@tensorflow/tfjs-converter';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import fc from 'fast-check';
import type { ConvertOptions } from '../../../adapters/convert';
import { fileIO } from '../../../adapters/node';
import { attempt, checkLimits, checkRefusal } from './attempt';

/** Values that stand in for others: of every type, at every border, and the names that objects have of themselves. */
const junk = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, '', 'same', 'x', [], {}, [[]], [null], { a: 1 }, [1, 2], 'a/../b'),
  fc.constantFrom<unknown>(-1, 0, 1, 2, 3, 5, 8, 0.5, 1e3, 1e5, 1e6, 1e9, 2 ** 31, 2 ** 53, 1e308, -1e9),
  fc.constantFrom<unknown>('__proto__', 'constructor', 'toString', '\u0000', 'ü\n\u001b[31m', 'x'.repeat(3000)),
  fc.array(fc.integer({ min: -2, max: 9 }), { maxLength: 5 }),
  fc.integer({ min: 1, max: 300 }).map((depth) => JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown),
);

const KINDS = ['replace', 'replace', 'replace', 'delete', 'duplicate', 'swap', 'wrap', 'rename'] as const;
export const jsonDamage = fc.array(
  fc.record({
    kind: fc.constantFrom(...KINDS),
    steps: fc.array(fc.nat(1000), { maxLength: 9 }),
    other: fc.nat(),
    junk,
  }),
  { minLength: 1, maxLength: 2 },
);
type JsonDamage = typeof jsonDamage extends fc.Arbitrary<infer T> ? T : never;

/** Changes a JSON value in place. */
export function damageJson(json: object, damages: JsonDamage): void {
  for (const { kind, steps, other, junk: value } of damages) {
    let at = json as Record<string, unknown>;
    for (const step of steps) {
      const inner = Object.values(at).filter((each) => each !== null && typeof each === 'object' && size(each) > 0);
      if (inner.length === 0) break;
      at = inner[step % inner.length] as Record<string, unknown>;
    }
    const keys = Object.keys(at);
    const key = keys[other % keys.length];
    const list = Array.isArray(at) ? (at as unknown[]) : undefined;
    if (kind === 'replace') at[key] = value;
    else if (kind === 'wrap') at[key] = [at[key]];
    else if (kind === 'delete' && list) list.splice(Number(key), 1);
    else if (kind === 'delete') delete at[key];
    else if (kind === 'duplicate' && list) list.splice(Number(key), 0, list[Number(key)]);
    else if (kind === 'rename' && !list) {
      at[typeof value === 'string' ? value : 'other'] = at[key];
      delete at[key];
    } else {
      const second = keys[(other >> 8) % keys.length];
      [at[key], at[second]] = [at[second], at[key]];
    }
  }
}

const size = (value: object) => Object.keys(value).length;

export const byteDamage = fc.array(
  fc.record({
    kind: fc.constantFrom('flip', 'flip', 'flip', 'set', 'cut', 'end', 'insert', 'repeat', 'number'),
    at: fc.nat(),
    length: fc.integer({ min: 1, max: 200 }),
    value: fc.nat(255),
  }),
  { minLength: 1, maxLength: 3 },
);
type ByteDamage = typeof byteDamage extends fc.Arbitrary<infer T> ? T : never;

/** A damaged copy. */
export function damageBytes(bytes: Uint8Array, damages: ByteDamage): Buffer {
  let found: Buffer = Buffer.from(bytes);
  for (const { kind, at: place, length, value } of damages) {
    const at = place % Math.max(found.length, 1);
    const [before, after] = [found.subarray(0, at), found.subarray(at)];
    if (kind === 'flip') found[at] ^= 1 << (value & 7);
    else if (kind === 'set') found.fill(value, at, Math.min(at + length, found.length));
    else if (kind === 'cut') found = Buffer.concat([before, after.subarray(length)]);
    else if (kind === 'end') found = Buffer.from(before);
    else if (kind === 'insert') found = Buffer.concat([before, Buffer.alloc(length, value), after]);
    else if (kind === 'repeat') found = Buffer.concat([before, after.subarray(0, length), after]);
    else if (found.length >= at + 4) found.writeInt32LE(value < 128 ? value : -value * 2 ** 20, at);
  }
  return found;
}

/**
 * Either a result that tfjs loads, or a refusal that can be read; in time, and with nothing left over.
 * @throws what does not hold.
 */
export async function survives(
  around: string,
  input: string,
  options: ConvertOptions & { to?: 'layers' | 'graph' },
): Promise<'converted' | 'refused'> {
  const output = path.join(around, 'out');
  const result = await attempt(around, input, output, options);
  checkLimits(result);
  if (result.report === undefined) {
    const { code, message } = checkRefusal(result.error);
    expect(message).toContain(path.basename(input));
    if (code === 'broken-invariant') expect(message).toMatch(/computes something else/);
    return 'refused';
  }
  if (options.to === 'graph') (await loadGraphModel(fileIO(output))).dispose();
  else (await loadLayersModel(fileIO(output))).dispose();
  fs.rmSync(output, { recursive: true });
  return 'converted';
}

/** How the cases went; each that did not go well with its damage. */
export async function each<T>(
  cases: fc.Arbitrary<T>,
  numRuns: number,
  run: (one: T, index: number) => Promise<'converted' | 'refused'>,
): Promise<{ converted: number; refused: number }> {
  const counts = { converted: 0, refused: 0 };
  const failures: string[] = [];
  // FUZZ_SEED and FUZZ_TIMES draw others, and more, than CI does.
  const { FUZZ_SEED = '20', FUZZ_TIMES = '1' } = process.env;
  const drawn = fc.sample(cases, { seed: Number(FUZZ_SEED), numRuns: numRuns * Number(FUZZ_TIMES) });
  for (const [index, one] of drawn.entries()) {
    try {
      counts[await run(one, index)]++;
    } catch (error) {
      const damage = JSON.stringify(one).slice(0, 300);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: jest's colours
      failures.push(`${damage}\n${(error as Error).message.replace(/\u001b\[\d+m/g, '').slice(0, 1500)}`);
    }
  }
  if (failures.length > 0) throw new Error(`${failures.length} of ${numRuns}:\n${failures.slice(0, 12).join('\n\n')}`);
  return counts;
}
