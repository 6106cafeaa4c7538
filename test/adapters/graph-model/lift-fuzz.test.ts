/**
 * Graphs that somebody has damaged: whatever it is, either a model comes out or a TuneModeError, nothing is left over, and
 * it comes to an end. A model that comes out can be run.
 */
import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { TuneModeError } from 'tfjs-tune-mode';
import { liftGraphModel } from '../../../adapters/graph-model';
import { useBackend } from '../../helpers/backends';
import { largestDifference, rounding } from '../../helpers/models';
import { graphOutputs, inputsOf, liftedOutputs, numbersOf } from './compare-graphs';
import { handlerOf, type NodeDef } from './graphs';
import { TABLE } from './table-graphs';

type Artifacts = tf.io.ModelArtifacts;
type Spec = { name: unknown; shape: unknown; dtype: unknown };

/** Values that stand in for others; no sizes that would be a large tensor. */
const junk = fc.oneof(
  fc.constantFrom<unknown>(null, undefined, true, '', 'SAME', -1, 0, 1, 2, 3, 7, 0.5, Number.NaN, [], {}, [[]]),
  fc.array(fc.integer({ min: -3, max: 9 }), { maxLength: 5 }),
  fc.array(fc.integer({ min: -3, max: 9 }).map(String), { maxLength: 5 }),
);
const attribute = fc.oneof(
  junk,
  junk.map((i) => ({ i })),
  junk.map((s) => ({ s })),
  junk.map((f) => ({ f })),
  junk.map((b) => ({ b })),
  junk.map((i) => ({ list: { i } })),
  junk.map((s) => ({ list: { s } })),
  junk.map((dim) => ({ shape: { dim } })),
  junk.map((size) => ({ shape: { dim: [{ size }, { size: 4 }] } })),
);

/** Ops that the lift knows in some way, and others. */
const OPS = [
  ...['Conv2D', 'DepthwiseConv2dNative', '_FusedConv2D', 'MatMul', 'Conv2DBackpropInput', 'FusedBatchNormV3', 'Relu'],
  ...[
    'Prelu',
    'Add',
    'AddN',
    'Mul',
    'BiasAdd',
    'Reshape',
    'Squeeze',
    'StridedSlice',
    'Split',
    'ConcatV2',
    'Pack',
    'Pad',
  ],
  ...['Mean', 'MaxPool', 'Shape', 'Identity', 'Const', 'Placeholder', 'NextIteration', 'Merge', 'Sign', '', 'toString'],
];

interface Damage {
  kind:
    | 'drop'
    | 'rename'
    | 'rewire'
    | 'op'
    | 'attribute'
    | 'unset'
    | 'spec'
    | 'shape'
    | 'extra'
    | 'bytes'
    | 'signature';
  node: number;
  other: number;
  op: string;
  value: unknown;
}

const damageFields = {
  kind: fc.constantFrom<Damage['kind'][]>(
    'drop',
    'rename',
    'rewire',
    'op',
    'attribute',
    'unset',
    'spec',
    'shape',
    'extra',
    'bytes',
    'signature',
  ),
  node: fc.nat(1000),
  other: fc.nat(1000),
  op: fc.constantFrom(...OPS),
  value: fc.oneof(attribute, junk),
};

function apply(artifacts: Artifacts, { kind, node: at, other, op, value }: Damage): void {
  const { node: nodes } = artifacts.modelTopology as { node: NodeDef[] };
  const specs = artifacts.weightSpecs as unknown as Spec[];
  const node = nodes[at % nodes.length];
  if (node === undefined || node === null) return;
  const found: unknown = nodes[other % nodes.length]?.name;
  const target = typeof found === 'string' ? found : 'nobody';
  const inputs = Array.isArray(node.input) ? node.input : [];
  const keys = Object.keys(node.attr ?? {});
  const spec = specs[at % specs.length];
  const changes: Record<Damage['kind'], () => void> = {
    drop: () => nodes.splice(at % nodes.length, 1),
    rename: () => {
      node.name = other % 3 === 0 ? (value as string) : target;
    },
    rewire: () => {
      inputs[other % Math.max(inputs.length, 1)] =
        other % 5 === 0 ? (value as string) : `${target}${at % 4 ? '' : ':1'}`;
      node.input = inputs;
    },
    op: () => {
      node.op = op;
    },
    attribute: () => {
      node.attr = { ...node.attr, [keys[other % Math.max(keys.length, 1)] ?? 'axis']: value };
    },
    unset: () => {
      if (keys.length > 0) delete node.attr[keys[other % keys.length]];
    },
    spec: () => {
      if (spec) Object.assign(spec, { [['name', 'shape', 'dtype', 'quantization'][other % 4]]: value });
    },
    // Another shape for the same number of values, or a shape of as many values less.
    shape: () => {
      if (spec && Array.isArray(spec.shape))
        spec.shape = other % 2 ? [...spec.shape].reverse() : spec.shape.flat().slice(1);
    },
    extra: () => {
      nodes.push({ name: `extra${other}`, op, input: [target], attr: {} });
    },
    bytes: () => {
      artifacts.weightData = (artifacts.weightData as ArrayBuffer).slice(0, other * 4);
    },
    signature: () => {
      artifacts.signature = (other % 2 ? { outputs: { [target]: { name: target } } } : { outputs: value }) as never;
    },
  };
  changes[kind]();
}

beforeAll(() => useBackend('cpu'));

/** As it comes out of a model.json. */
function damaged(row: number, damages: readonly Damage[]): Artifacts {
  const copy = changed(structuredClone(TABLE[row].artifacts), damages);
  const { weightData, ...rest } = copy;
  return { ...JSON.parse(JSON.stringify(rest)), weightData };
}

function changed(artifacts: Artifacts, damages: readonly Damage[]): Artifacts {
  for (const each of damages) apply(artifacts, each);
  return artifacts;
}

/** What has become of the graphs, so that the test cannot pass by never getting anywhere. */
const seen: Record<string, number> = {};

test('a damaged graph is lifted or refused, leaves nothing, and ends', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(TABLE.length - 1),
      fc.array(fc.record(damageFields), { minLength: 1, maxLength: 4 }),
      fc.constantFrom('cut', 'error' as const),
      async (row, damages, onUnsupported) => {
        const artifacts = damaged(row, damages);
        const before = tf.memory().numTensors;
        try {
          const lifted = await liftGraphModel(handlerOf(artifacts), { onUnsupported });
          seen.lifted = (seen.lifted ?? 0) + 1;
          const x = inputsOf(lifted);
          // Where sizes have become open, only these pictures could tell whether they fit.
          const isOpen = lifted.model.inputs.some(({ shape }) => shape.slice(1).includes(null));
          tf.tidy(() => {
            if (!isOpen) lifted.model.apply(x.length === 1 ? x[0] : x);
          });
          tf.dispose(x);
          lifted.model.dispose();
        } catch (error) {
          if (!(error instanceof TuneModeError)) throw error;
          seen[error.code] = (seen[error.code] ?? 0) + 1;
          expect(error.message).not.toMatch(
            /is not (a function|iterable|defined)|Cannot (read|convert)|of undefined|\[object/,
          );
        }
        expect(tf.memory().numTensors).toBe(before);
      },
    ),
    { numRuns: 3000, seed: 5, interruptAfterTimeLimit: 60000, markInterruptAsFailure: true },
  );
  expect(seen.lifted).toBeGreaterThan(300);
  expect(seen['invalid-model-file']).toBeGreaterThan(300);
  expect(seen.unsupported).toBeGreaterThan(100);
});

test('with other ops and other wires it gives what the GraphModel gives, wherever that runs', async () => {
  let compared = 0;
  const swap = fc.record({ ...damageFields, kind: fc.constantFrom('rewire' as const, 'op' as const) });
  await fc.assert(
    fc.asyncProperty(fc.nat(TABLE.length - 1), swap, async (row, each) => {
      const artifacts = damaged(row, [each]);
      const lifted = await liftGraphModel(handlerOf(artifacts)).catch(() => undefined);
      if (lifted === undefined) return;
      const graph = await loadGraphModel(handlerOf(artifacts)).catch(() => undefined);
      const pair = { lifted, graph: graph as GraphModel, dispose: () => {} };
      const x = inputsOf(lifted);
      const expected = graph && ranOr(undefined, () => numbersOf(() => graphOutputs(pair, x)));
      if (expected?.flat().every(Number.isFinite)) {
        compared++;
        const found = numbersOf(() => liftedOutputs(pair, x));
        expect(largestDifference(found, expected)).toBeLessThan(rounding(lifted.model));
      }
      tf.dispose(x);
      lifted.model.dispose();
      graph?.dispose();
    }),
    { numRuns: 4000, seed: 6, interruptAfterTimeLimit: 60000, markInterruptAsFailure: true },
  );
  expect(compared).toBeGreaterThan(1000);
});

function ranOr<T, E>(otherwise: E, run: () => T): T | E {
  try {
    return run();
  } catch {
    return otherwise;
  }
}
