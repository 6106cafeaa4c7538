/**
 * Why a BatchNormalization is not paired with a conv: one function per reason, tried in this order.
 */
import type { SymbolicTensor } from '@tensorflow/tfjs-layers';
import {
  axisOf,
  type BatchNormLayer,
  type ConvLayer,
  classOf,
  type GraphNode,
  isModel,
  type Layer,
  unwrapTimeDistributed,
} from '../internals';
import { channelAxisOf, type Kind, kindOf } from '../kinds';
import { isStock } from '../stock';
import { isBuiltIn } from './built-in-layers';
import type { ModelUses } from './uses';

/**
 * Why a BN was left alone.
 * - `not-after-conv`: its input does not come from a convolution (or Dense).
 * - `unknown-layer`: its input comes from a layer class that this package does not know, or that layer, or the BN itself,
 *   has a `call` of its own.
 * - `conv-activation`: the conv applies an activation itself, before the BN.
 * - `conv-is-output`: the conv's output is an output of the model, or of a nested model.
 * - `conv-other-consumer`: something else consumes the conv's output too.
 * - `shared-differently`: conv or BN is used at several places, and not always together.
 * - `axis-mismatch`: the BN normalises another axis than the conv's channels.
 * - `unsupported-config`: tfjs-layers itself cannot run the conv as it is configured.
 * - `excluded`: the option `include` returned false.
 */
export type SkipCode =
  | 'not-after-conv'
  | 'unknown-layer'
  | 'conv-activation'
  | 'conv-is-output'
  | 'conv-other-consumer'
  | 'shared-differently'
  | 'axis-mismatch'
  | 'unsupported-config'
  | 'excluded';

export interface Refusal {
  code: SkipCode;
  reason: string;
}

/** What is known of a BN before it is paired. */
export interface Candidate {
  uses: ModelUses;
  bn: BatchNormLayer;
  /** The calls of the BN. */
  bnUses: GraphNode[];
  /** The layer behind the BN's input at its first use, as it stands in the model. */
  source: Layer;
  /** The same without TimeDistributed. */
  conv: Layer;
}

type Check = (candidate: Candidate) => Refusal | null;

const refuse = (code: SkipCode, reason: string): Refusal => ({ code, reason });
const inputOf = (node: GraphNode): SymbolicTensor => node.inputTensors[0];
const quoted = ({ uses }: Candidate, layer: Layer) => `'${uses.pathOf(layer)}'`;

const notAfterConv: Check = (candidate) => {
  const { source, conv } = candidate;
  if (kindOf(conv) !== undefined) {
    return isStock(conv)
      ? null
      : refuse('unknown-layer', `${quoted(candidate, source)} is named ${classOf(conv)} but has a 'call' of its own`);
  }
  if (isModel(conv)) {
    const inner = conv.outputs[inputOf(candidate.bnUses[0]).tensorIndex]?.sourceLayer;
    const innerCore = inner && unwrapTimeDistributed(inner).layer;
    return innerCore && kindOf(innerCore) !== undefined
      ? refuse('conv-is-output', `the conv ${quoted(candidate, inner)} before it is an output of a nested model`)
      : refuse('not-after-conv', `its input is the output of the nested model ${quoted(candidate, source)}`);
  }
  const named = `${quoted(candidate, source)} (${classOf(conv)})`;
  return isBuiltIn(classOf(conv))
    ? refuse('not-after-conv', `its input comes from ${named}, not from a convolution`)
    : refuse('unknown-layer', `its input comes from ${named}, a class that this package does not know`);
};

const ownCall: Check = ({ bn }) =>
  isStock(bn)
    ? null
    : refuse('unknown-layer', "it is named BatchNormalization but has a 'call' of its own, which it keeps");

const sharedDifferently: Check = (candidate) => {
  const { bnUses, source, conv, uses } = candidate;
  const stranger = bnUses.find((use) => inputOf(use).sourceLayer !== source);
  if (stranger !== undefined) {
    const other = quoted(candidate, inputOf(stranger).sourceLayer);
    return refuse('shared-differently', `it follows ${quoted(candidate, source)} at one place and ${other} at another`);
  }
  if (bnUses.some((use) => use.outboundLayer !== bnUses[0].outboundLayer)) {
    return refuse('shared-differently', 'it is used both inside and outside of a TimeDistributed');
  }
  for (const use of uses.usesOf(conv)) {
    const consumers = use.outputTensors.flatMap((output) => uses.consumersOf(output));
    if (!consumers.some((consumer) => bnUses.includes(consumer)) && !use.outputTensors.some(uses.isOutput)) {
      const where =
        consumers.length > 0 ? `followed by ${quoted(candidate, consumers[0].outboundLayer)}` : 'not followed by it';
      return refuse('shared-differently', `${quoted(candidate, source)} is used at another place too, ${where}`);
    }
  }
  return null;
};

const convActivation: Check = (candidate) => {
  const name = (candidate.conv as ConvLayer).activation?.getClassName() ?? 'linear';
  return name === 'linear'
    ? null
    : refuse('conv-activation', `${quoted(candidate, candidate.source)} applies '${name}' itself, before it`);
};

const convIsOutput: Check = (candidate) =>
  candidate.uses.usesOf(candidate.conv).some((use) => use.outputTensors.some(candidate.uses.isOutput))
    ? refuse('conv-is-output', `the output of ${quoted(candidate, candidate.source)} is an output of the model`)
    : null;

const convOtherConsumer: Check = (candidate) => {
  const { uses, conv, source, bnUses } = candidate;
  for (const use of uses.usesOf(conv)) {
    const consumers = uses.consumersOf(use.outputTensors[0]);
    if (consumers.length > 1) {
      const other = consumers.find((consumer) => !bnUses.includes(consumer)) ?? consumers[1];
      return refuse(
        'conv-other-consumer',
        `the output of ${quoted(candidate, source)} goes to ${quoted(candidate, other.outboundLayer)} too`,
      );
    }
  }
  return null;
};

const axisMismatch: Check = (candidate) => {
  const { bn, bnUses, conv, source } = candidate;
  const rank = inputOf(bnUses[0]).shape.length;
  const expected = channelAxisOf(conv, source !== conv, rank);
  const found = axisOf(bn, rank, bnUses[0].outboundLayer !== bn);
  return found === expected
    ? null
    : refuse(
        'axis-mismatch',
        `it normalises axis ${found}, while ${quoted(candidate, source)} has its channels on axis ${expected}`,
      );
};

const unsupportedConfig: Check = (candidate) => {
  const { conv, source } = candidate;
  const why = (kindOf(conv) as Kind).broken?.(conv);
  return why == null ? null : refuse('unsupported-config', `${quoted(candidate, source)} (${classOf(conv)}): ${why}`);
};

const CHECKS: Check[] = [
  ownCall,
  notAfterConv,
  sharedDifferently,
  convActivation,
  convIsOutput,
  convOtherConsumer,
  unsupportedConfig,
  axisMismatch,
];

/** The option `include` returned false. */
export const EXCLUDED: Refusal = refuse('excluded', "the option 'include' returned false for this block");

/** The first reason why a BN is not paired with the layer before it, or null. */
export function whyNot(candidate: Candidate): Refusal | null {
  for (const check of CHECKS) {
    const refusal = check(candidate);
    if (refusal !== null) return refusal;
  }
  return null;
}
