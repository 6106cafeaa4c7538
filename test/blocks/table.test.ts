/**
 * Every kind of conv in every setting: outputs and all gradients of Tune and of Eval against the formula.
 *
 * The rows are such that every two settings of a kind meet in one of them. Statistics are random: means off 0, variances
 * from 0.01 to 10 and in some rows far below ε, γ of both signs and once exactly 0.
 *
 * Tolerance: n · 2⁻²⁴ of a number's magnitude (the sum of the absolute values of its terms), where n counts the roundings
 * that a term goes through: `../helpers/reference.ts`. Both modes are held to it, so they differ by twice that at most.
 * Where a pre-activation falls near a kink of its activation, the data are drawn again.
 */
import * as tf from '@tensorflow/tfjs-core';
import { setMode } from '../../src';
import { useBackend } from '../helpers/backends';
import { DIMENSIONS, KINDS, rowsOf } from '../helpers/block-table';
import {
  ACTIVATIONS,
  type BlockCase,
  buildModel,
  expectWithin,
  gradients,
  gradientsApart,
  kernelsOf,
  type Numbers,
  outputs,
  quantityOf,
  sample,
  worstError,
} from '../helpers/blocks';
import { type ConvSpec, type KindName, xShape } from '../helpers/reference';

const TABLE = KINDS.flatMap((kind) => rowsOf(kind).map((row, index) => ({ kind, index, ...row })));
const SAMPLES = TABLE.map(({ block }, index) => sample(block, 1 + index));

/** What tfjs 4.22.0 says where it has no gradient at all: there Eval cannot train, and Tune is held to the formula alone. */
function missingInTfjs({ spec }: BlockCase): RegExp | null {
  if (spec.kind === 'Conv3DTranspose') return /gradient function not found for Conv3DBackpropInputV2/;
  return spec.dilations.some((rate) => rate > 1) ? /dilation rates greater than 1 are not yet supported/ : null;
}

test.each(KINDS)('the table holds every setting of %s', (kind: KindName) => {
  const rows = TABLE.filter((row) => row.kind === kind).map(({ block }) => ({ ...block.spec, ...block }));
  for (const [name, values] of Object.entries(DIMENSIONS[kind])) {
    if (name === 'width') continue;
    const found = new Set(rows.map((row) => JSON.stringify(row[name as keyof (typeof rows)[number]])));
    expect([...found].sort()).toEqual(values.map((value) => JSON.stringify(value)).sort());
  }
});

test('every two settings of Dense, whose settings all go together, meet in a row', () => {
  const dimensions = Object.entries(DIMENSIONS.Dense).filter(([name]) => name !== 'width');
  const rows = TABLE.filter(({ kind }) => kind === 'Dense').map(({ block }) => ({ ...block.spec, ...block }));
  const has = (row: (typeof rows)[number], name: string, value: unknown) =>
    JSON.stringify(row[name as keyof typeof row]) === JSON.stringify(value);
  for (const [a, ofA] of dimensions) {
    for (const [b, ofB] of dimensions.filter(([name]) => name > a)) {
      for (const u of ofA) for (const v of ofB) expect(rows.some((row) => has(row, a, u) && has(row, b, v))).toBe(true);
    }
  }
});

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(KINDS)('%s', (kind) => {
    const rows = TABLE.map((row, index) => ({ ...row, index })).filter((row) => row.kind === kind);

    test.each(rows)('$name', async ({ block, index }) => {
      const { data, expected } = SAMPLES[index];
      const within = (numbers: Numbers) => expectWithin(numbers, expected);
      const before = tf.memory().numTensors;
      const model = buildModel(block, data);
      const x = tf.tensor(data.x, xShape(block.spec));
      let leakedByEval = 0;

      const evalReport = setMode(model, 'eval');
      expect(evalReport.pairs).toHaveLength(1);
      expect(await kernelsOf(() => model.predict(x))).toContain('FusedBatchNorm');
      within(outputs(model, block, data));
      const missing = missingInTfjs(block);
      if (missing === null) {
        within(gradients(model, block, data));
      } else {
        const count = tf.memory().numTensors;
        expect(() => gradients(model, block, data)).toThrow(missing);
        leakedByEval = tf.memory().numTensors - count; // what tfjs saved for a backward pass that never ended
      }

      const report = setMode(model, 'tune', { fuseActivation: block.fuse });
      const { layer, absorbed } = ACTIVATIONS[block.activation];
      const activation = layer !== null && absorbed && block.fuse ? model.layers[3].name : null;
      expect(report.skipped).toEqual([]);
      expect(report.pairs).toEqual([{ conv: 'conv', bn: 'bn', kind, activation }]);
      expect(await kernelsOf(() => model.predict(x))).not.toContain('FusedBatchNorm');
      within(outputs(model, block, data));
      const together = gradients(model, block, data);
      expect([...together.keys()].sort()).toEqual(weightNames(block));
      within(together);
      // Asking for fewer gradients changes none of them, bit for bit.
      expect(gradientsApart(model, block, data)).toEqual(together);

      setMode(model, 'train');
      x.dispose();
      model.dispose();
      expect(tf.memory().numTensors - before).toBe(leakedByEval);
    });
  });

  // Here tfjs 4.22.0 does not compute what Keras does; Tune must compute what tfjs does.
  describe('where tfjs itself departs from the formula', () => {
    const common = { batch: 2, channels: 3, multiplier: 1, padding: 'same' as const, channelsFirst: false };
    const ODDITIES: { name: string; spec: ConvSpec }[] = [
      {
        name: 'a 3D convolution with a stride larger than its kernel is padded negatively',
        spec: {
          ...common,
          kind: 'Conv3D',
          spatial: [4, 4, 4],
          filters: 4,
          kernelSize: [1, 2, 1],
          strides: [2, 2, 2],
          dilations: [1, 1, 1],
        },
      },
      {
        name: 'the same, transposed',
        spec: {
          ...common,
          kind: 'Conv3DTranspose',
          spatial: [2, 2, 2],
          filters: 4,
          kernelSize: [1, 2, 1],
          strides: [2, 2, 2],
          dilations: [1, 1, 1],
        },
      },
      {
        name: 'DepthwiseConv2D ignores its dilationRate',
        spec: {
          ...common,
          kind: 'DepthwiseConv2D',
          spatial: [5, 5],
          filters: 3,
          kernelSize: [2, 2],
          strides: [1, 1],
          dilations: [2, 2],
        },
      },
    ];

    test.each(ODDITIES)('$name', ({ spec }) => {
      const block: BlockCase = { spec, ...PLAIN };
      const { data, expected } = sample(block, 5);
      const model = buildModel(block, data);
      const numbers = () => {
        const all = outputs(model, block, data);
        if (missingInTfjs(block) !== null && spec.kind !== 'DepthwiseConv2D') return all;
        return new Map([...all, ...gradients(model, block, data)]);
      };
      setMode(model, 'eval');
      const evalNumbers = numbers();
      setMode(model, 'tune');
      const tuneNumbers = numbers();
      expect(worstError(tuneNumbers, expected).error).toBeGreaterThan(100 * expected.tolerance);
      // Values and their terms are of the formula's size, if not the formula's: two modes, so two tolerances.
      for (const [name, values] of evalNumbers) {
        const largest = Math.max(...quantityOf(name, expected).magnitude);
        const differences = values.map((value, i) => Math.abs(value - tuneNumbers.get(name)![i]));
        expect(Math.max(...differences)).toBeLessThanOrEqual(2 * expected.tolerance * largest);
      }
      model.dispose();
    });
  });
});

const PLAIN: Omit<BlockCase, 'spec'> = {
  bias: true,
  scale: true,
  center: true,
  axis: 'negative',
  epsilon: 1e-3,
  tinyVariance: false,
  activation: 'ReLU',
  fuse: true,
};

function weightNames({ spec, bias, scale, center }: BlockCase): string[] {
  const kernels = {
    DepthwiseConv2D: ['depthwise_kernel'],
    SeparableConv2D: ['depthwise_kernel', 'pointwise_kernel'],
  };
  const names = ['x', ...(kernels[spec.kind as keyof typeof kernels] ?? ['kernel'])];
  if (bias) names.push('bias');
  if (scale) names.push('gamma');
  if (center) names.push('beta');
  return names.sort();
}
