/**
 * What a shadow takes and computes at one place of a block: the conv's own inputs, or those of what the block takes in
 * before it: a ZeroPadding2D, and, where maps are to be recomputed, the cheap blocks before it.
 *
 * A *cheap* block's output costs little to compute anew and much to keep: a depthwise conv's, or that of a pointwise conv
 * with several times as many channels as its input (an inverted bottleneck's expansion). Where the only consumer of such
 * an output is another block, that block's shadow computes both, so that the executor never holds the map between them;
 * and the backward pass computes it once more (`convOp`).
 */
import { type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { SymbolicTensor } from '@tensorflow/tfjs-layers';
import { type Block, coreOf, type Pass, paddingBefore, tunePass } from '../block';
import { type Layer, nodeOf } from '../internals';
import { isOurCall } from '../stock';
import type { ModelUses } from './uses';

export interface Wiring {
  inputs: SymbolicTensor[];
  /** The layer that the inputs go into first, whose checks they must pass. */
  first: Layer;
  /** The block's function on them, with its activation or without. */
  pass(withActivation: boolean): Pass;
}

/** A block's use whose output may be recomputed, by that output; null for every other tensor. */
export type Recomputable = (output: SymbolicTensor) => { block: Block; convOutput: SymbolicTensor } | null;

/**
 * @param convOutput The conv's output at this place.
 * @param recompute Whether the block's own output is recomputed too.
 */
export function wiringOf(
  block: Block,
  convOutput: SymbolicTensor,
  recomputable: Recomputable,
  recompute = false,
): Wiring {
  const { inputTensors } = nodeOf(convOutput);
  const padding = paddingBefore(block, inputTensors[0]);
  const inputs = padding?.inputs ?? inputTensors;
  const upstream = recomputable(inputs[0]);
  const entry = upstream && wiringOf(upstream.block, upstream.convOutput, recomputable, true);
  return {
    inputs: entry?.inputs ?? inputs,
    first: entry?.first ?? block.conv,
    pass: (withActivation) => {
      const before = entry?.pass(true);
      const tuned = tunePass(block, withActivation, { stages: padding?.stages, before, recompute });
      if (!recompute) return tuned;
      // The mode belongs to the BN, and another model may have switched this one to train since.
      const stock = stockPass(block, padding === null ? null : inputTensors[0].sourceLayer, before);
      const { bn } = coreOf(block);
      return (x, training) => (isOurCall(bn.call) ? tuned : stock)(x, training);
    },
  };
}

/** What tfjs-layers computes at the place of a block, with its activation. */
function stockPass(block: Block, padding: Layer | null, before: Pass = (x) => x): Pass {
  const layers = [padding, block.conv, block.bn, block.activation].filter((layer) => layer !== null);
  return (x, training) =>
    tidy(() => layers.reduce((values, layer) => layer.apply(values, { training }) as Tensor, before(x, training)));
}

export const NOTHING_RECOMPUTABLE: Recomputable = () => null;

/** What may be recomputed among these blocks. */
export function recomputableOf(uses: ModelUses, blocks: Block[]): Recomputable {
  // By the BN, which belongs to one block: an activation layer may end several blocks, and stand elsewhere too.
  const byBatchNorm = new Map(blocks.filter(isCheap).map((block) => [block.bn, block]));
  const isPrivate = (tensor: SymbolicTensor) => uses.consumersOf(tensor).length === 1 && !uses.isOutput(tensor);
  return (output) => {
    const last = nodeOf(output);
    const bnNode = byBatchNorm.has(last.outboundLayer) ? last : nodeOf(last.inputTensors[0]);
    const block = byBatchNorm.get(bnNode.outboundLayer);
    if (block === undefined || last.outboundLayer !== (block.activation ?? block.bn) || !isPrivate(output)) return null;
    const [consumer] = uses.consumersOf(output);
    // Through a padding that the next block takes in.
    if (consumer.outboundLayer.getClassName() === 'ZeroPadding2D' && !isPrivate(consumer.outputTensors[0])) return null;
    const [convOutput] = bnNode.inputTensors;
    return convOutput.sourceLayer === block.conv ? { block, convOutput } : null;
  };
}

function isCheap(block: Block): boolean {
  const { conv, kind, timeDistributed } = coreOf(block);
  return !timeDistributed && (kind.cheap?.(conv) ?? false);
}
