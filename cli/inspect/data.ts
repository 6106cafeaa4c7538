/** What can be said of a saved model, as plain data. */
import type { LayersModel, Shape } from '@tensorflow/tfjs-layers';
import type { RestorePlan } from '../../adapters/graph-model/restore/plan';
import { isTarget } from '../../adapters/graph-model/restore/plan';
import { inspect, inspectDeploy } from '../../src';
import type { SkippedReport } from '../../src/report';
import type { BlockReport } from '../../src/walker/find';
import { callsOf, type InputSize } from './calls';
import { type Costs, costsOf, type ModelCosts, type Savings, savingsOf } from './costs';

/** What the files say, and the model does not know. */
export interface Source {
  /** Such as `layers-model`. */
  format: string;
  /** Bytes on disk, or null where nobody has looked. */
  size: number | null;
  /** What wrote the file, or null. */
  producer: string | null;
  /** Height and width of the pictures, for inputs that leave them open; null or absent: 224 × 224. */
  imageSize?: InputSize | null;
  /** Of a lifted GraphModel: which convolutions get their BN back. */
  restore?: RestorePlan;
}

export interface Restored {
  conv: string;
  restored: boolean;
  reason: string | null;
}

export interface InspectData {
  format: string;
  size: number | null;
  producer: string | null;
  /** `counted` is what the costs were counted with, where a size is open. */
  inputs: { name: string; shape: Shape; counted: Shape }[];
  outputs: { name: string; shape: Shape; counted: Shape }[];
  weights: { count: number; parameters: number };
  costs: Costs & Pick<ModelCosts, 'uncounted' | 'misfit'>;
  /** Pairs by the kind of their conv. */
  blocks: { kind: string; count: number }[];
  pairs: BlockReport[];
  skipped: SkippedReport[];
  deploy: { after: BlockReport[]; before: BlockReport[]; kept: SkippedReport[]; savings: Savings };
  restore?: Restored[];
}

/** @throws TuneModeError as `inspectDeploy`. */
export function inspectData(model: LayersModel, source: Source): InspectData {
  const { format, size, producer, imageSize, restore } = source;
  const calls = callsOf(model, imageSize ?? undefined);
  const { total, inputs, outputs, uncounted, misfit } = costsOf(calls);
  const { pairs, skipped } = inspect(model);
  const { after, before, kept } = inspectDeploy(model);
  return {
    format,
    size,
    producer,
    inputs,
    outputs,
    weights: {
      count: new Set(calls.calls.flatMap(({ layer }) => layer.weights)).size,
      parameters: total.parameters,
    },
    costs: { ...total, uncounted, misfit },
    blocks: blocksOf(pairs),
    pairs,
    skipped,
    deploy: { after, before, kept, savings: savingsOf(model, calls) },
    ...(restore === undefined ? {} : { restore: restoredOf(restore) }),
  };
}

function blocksOf(pairs: BlockReport[]): InspectData['blocks'] {
  const counts = new Map<string, number>();
  for (const { kind } of pairs) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, count]) => ({ kind, count })).sort((a, b) => b.count - a.count);
}

function restoredOf({ convs }: RestorePlan): Restored[] {
  return convs.map((conv) =>
    isTarget(conv)
      ? { conv: conv.path, restored: true, reason: null }
      : { conv: conv.conv, restored: false, reason: conv.reason },
  );
}
