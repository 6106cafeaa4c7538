/** What Tune mode makes of each layer, for the picture and its legend. */

import { isTarget, type RestorePlan } from '../../adapters/graph-model/restore/plan';
import { classOf, type Layer, unwrapTimeDistributed } from '../../src/internals';
import { kindOf } from '../../src/kinds';
import type { Analysis } from '../../src/walker/find';

/**
 * - `block`: a conv and its BN, which are tuned together.
 * - `alone`: a BN that is left alone.
 * - `bare`: a convolution or Dense without a BN that it could be paired with.
 * - `restorable`: a convolution of a GraphModel that gets its BN back.
 * - `affine`: a BN that a GraphModel had as a multiplication and an addition.
 * - `other`: everything else.
 */
export type State = 'block' | 'alone' | 'bare' | 'restorable' | 'affine' | 'other';

export const STATES: readonly { state: State; name: string; meaning: string }[] = [
  { state: 'block', name: 'Block', meaning: 'conv and BatchNorm, tuned together' },
  { state: 'restorable', name: 'Can be restored', meaning: 'its folded BatchNorm can be put back' },
  { state: 'affine', name: 'Affine', meaning: 'a BatchNorm that the graph had as Mul and Add' },
  { state: 'alone', name: 'BatchNorm left alone', meaning: 'not paired; its reason is below' },
  { state: 'bare', name: 'Conv or Dense', meaning: 'without a BatchNorm to pair it with' },
  { state: 'other', name: 'Other', meaning: 'activations, pooling, sums, inputs' },
];

/** States whose boxes have a stripe on the left. */
export const STRIPED: readonly State[] = ['block', 'restorable', 'affine'];

export interface Stated {
  state: State;
  /** A sentence, or null where there is nothing to explain. */
  reason: string | null;
}

/** States by the path of a layer; they take precedence over what the model itself says. */
export type States = ReadonlyMap<string, Stated>;

/** The state of a layer, without the TimeDistributed around it. */
export function statesOf(analysis: Analysis, given: States = new Map()): (layer: Layer, path: string) => Stated {
  const paired = new Set<Layer>();
  for (const { bn, block } of analysis.pairs) paired.add(bn).add(unwrapTimeDistributed(block.conv).layer);
  const reasons = new Map<Layer, string>(analysis.skipped.map(({ bn, refusal }) => [bn, refusal.reason]));
  return (layer, path) => {
    const override = given.get(path);
    if (override !== undefined) return override;
    if (paired.has(layer)) return { state: 'block', reason: null };
    if (classOf(layer) === 'BatchNormalization') return { state: 'alone', reason: reasons.get(layer) ?? null };
    return { state: kindOf(layer) === undefined ? 'other' : 'bare', reason: null };
  };
}

/** The states of a lifted GraphModel's convolutions: whether their BN can be put back, and why not. */
export function restoreStates({ convs }: RestorePlan): Map<string, Stated> {
  const states = new Map<string, Stated>();
  for (const conv of convs) {
    if (isTarget(conv)) states.set(conv.path, { state: 'restorable', reason: null });
    else if (conv.state === 'skipped') states.set(conv.conv, { state: 'bare', reason: conv.reason });
  }
  return states;
}
