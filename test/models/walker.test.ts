/** Which blocks are found in a model, and why others are not. Nothing is computed here but shapes. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { type BlockReport, enableTuneMode, inspect, type SkipCode, setMode, type TuneReport } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import { batchNorms, changes, snapshot } from '../helpers/models';
import { bn, chain, conv, input, L, MODELS, relu } from './table';

beforeAll(() => useBackend('cpu'));

const written = ({ conv, bn, activation }: BlockReport) =>
  [conv, bn, ...(activation === null ? [] : [activation])].join(' + ');

/** As plain data, without the order in which blocks were met. */
const unordered = ({ pairs, skipped }: TuneReport) => ({
  pairs: pairs.map(written).sort(),
  skipped: skipped.map(({ bn, code }) => `${bn}: ${code}`).sort(),
});

describe.each(MODELS)('$name', ({ build, options, pairs, skipped }) => {
  test('pairs and skips, each BN exactly once, and says which layer stands in the way', () => {
    const model = build();
    const report = inspect(model, options);
    expect(unordered(report)).toEqual({
      pairs: [...pairs].sort(),
      skipped: skipped.map(([path, code]) => `${path}: ${code}`).sort(),
    });
    for (const [path, , mentions] of skipped) {
      const { reason } = report.skipped.find((skip) => skip.bn === path)!;
      expect(reason).toContain(mentions);
      expect(reason).not.toMatch(/undefined|\[object/);
    }
    const named = [...report.pairs, ...report.skipped].map(({ bn }) => bn);
    expect(new Set(named).size).toBe(named.length);
    expect(named).toHaveLength(batchNorms(model).length);
  });

  test('looking changes nothing', () => {
    const model = build();
    const before = snapshot(model);
    const flag = tf.env().getNumber('TOPOLOGICAL_SORT_CACHE_MAX_ENTRIES');
    inspect(model, options);
    expect(changes(before, snapshot(model))).toEqual([]);
    expect(tf.env().getNumber('TOPOLOGICAL_SORT_CACHE_MAX_ENTRIES')).toBe(flag);
    expect(inspect(model).mode).toBe('train');
  });

  test('enableTuneMode reports what inspect foretold, and every later look says the same', () => {
    const model = build();
    const foretold = inspect(model, options);
    const done = enableTuneMode(model, options);
    expect({ ...done }).toEqual({ ...foretold, mode: 'tune' });
    expect({ ...inspect(model, options) }).toEqual({ ...done });
    expect({ ...setMode(model, 'eval', options) }).toEqual({ ...foretold, mode: 'eval' });
    expect({ ...setMode(model, 'train', options) }).toEqual({ ...foretold });
  });
});

test('every code of SkipCode occurs in the table', () => {
  const codes: Record<SkipCode, true> = {
    'not-after-conv': true,
    'unknown-layer': true,
    'conv-activation': true,
    'conv-is-output': true,
    'conv-other-consumer': true,
    'shared-differently': true,
    'axis-mismatch': true,
    'unsupported-config': true,
    excluded: true,
  };
  const met = new Set(MODELS.flatMap(({ skipped }) => skipped.map(([, code]) => code)));
  expect([...met].sort()).toEqual(Object.keys(codes).sort());
});

describe('the report', () => {
  const build = () =>
    tfl.sequential({
      layers: [
        conv('first', { inputShape: [6, 6, 3] }),
        bn('norm'),
        relu('relu'),
        L.depthwiseConv2d({ kernelSize: 3, name: 'deep' }),
        bn('norm2'),
        L.separableConv2d({ kernelSize: 1, filters: 2, name: 'apart' }),
        bn('norm3'),
        bn('lonely'),
      ],
    });

  test('names the class of each conv', () => {
    expect(inspect(build()).pairs.map(({ conv, kind }) => [conv, kind])).toEqual([
      ['first', 'Conv2D'],
      ['deep', 'DepthwiseConv2D'],
      ['apart', 'SeparableConv2D'],
    ]);
  });

  test('says every name, code and reason in its text, and nothing but data in its JSON', () => {
    const report = inspect(build());
    const text = report.toString();
    for (const pair of report.pairs)
      for (const name of Object.values(pair)) if (name !== null) expect(text).toContain(name);
    for (const skip of report.skipped) for (const value of Object.values(skip)) expect(text).toContain(value);
    expect(text).toContain('mode train: 3 of 4');
    expect(JSON.parse(JSON.stringify(report))).toEqual({ ...report });
    expect(Object.keys(report).sort()).toEqual(['mode', 'pairs', 'skipped']);
  });

  test('is not changed by what is done to it, nor by an include that writes into its argument', () => {
    const model = build();
    const report = inspect(model, {
      include: (block) => {
        block.conv = 'renamed';
        return true;
      },
    });
    expect(report.pairs[0].conv).toBe('first');
    report.pairs.length = 0;
    expect(inspect(model).pairs).toHaveLength(3);
  });
});

describe('include', () => {
  test('is asked once for every block that could be paired, and for no other BN', () => {
    for (const { build } of MODELS) {
      const model = build();
      const asked: string[] = [];
      inspect(model, {
        include: (block) => {
          asked.push(written(block));
          return true;
        },
      });
      expect(asked).toEqual(inspect(model).pairs.map(written));
    }
  });
});

describe('must not', () => {
  test('mistake another layer of the same name for the one before the BN', () => {
    const x = input('in');
    const twin = chain(x, relu('same'), conv('same'), bn('same'), relu('same'));
    expect(() => tfl.model({ inputs: x, outputs: twin })).toThrow(/name/);
    // Inside different nested models equal names are legal, and the paths tell them apart.
    const inner = tfl.sequential({ name: 'same', layers: [conv('c', { inputShape: [6, 6, 3] }), bn('n')] });
    const outer = tfl.sequential({ name: 'outer', layers: [inner, conv('c'), bn('n')] });
    expect(inspect(outer).pairs.map(written)).toEqual(['same/c + same/n', 'c + n']);
  });

  test('see what a model that shares the conv does with it', () => {
    const x = input('in');
    const y = chain(x, conv('c'));
    const model = tfl.model({ inputs: x, outputs: chain(y, bn('n'), relu('r')) });
    tfl.model({ inputs: x, outputs: chain(y, L.flatten()) });
    expect(inspect(model).pairs.map(written)).toEqual(['c + n + r']);
  });

  test('pair anything in a model that is cut before the BN', () => {
    const x = input('in');
    const y = chain(x, conv('c'));
    chain(y, bn('n'));
    expect(inspect(tfl.model({ inputs: x, outputs: y }))).toMatchObject({ pairs: [], skipped: [] });
  });
});
